"""Calls the hooks: plain functions on threads of their own, coroutines on the user's loop, all bounded in time.

What failed waits in one line and is told to a few at a time, beside the slots of the jobs. A hook that does not end
keeps its place among those few, and when they are all kept, what fails is told to nobody; nothing else suffers.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple

from penstock.core.settlement import Again, Dead, Settlement
from penstock.core.spec import TaskSpec
from penstock.errors import PenstockError
from penstock.runtime.hooks import FAILURES, Hook, events_of, failed_job
from penstock.runtime.onion import is_async, name_of
from penstock.runtime.outcome import trim
from penstock.runtime.run import Run
from penstock.runtime.user_loop import UserLoop

log: logging.Logger = logging.getLogger("penstock.worker")

# Failures that are told at once, and the threads for that.
AT_ONCE: Final = 8
MOST_WAITING: Final = 1_000
# How long one call for a failure may take.
WITHIN_S: Final = 30.0
# How long failures, and then the hooks of the worker's end, may hold up that end; and when it is hurried.
END_WITHIN_S: Final = 5.0
HURRIED_WITHIN_S: Final = 1.0
COMPLAIN_EVERY_S: Final = 10.0


class _Call:
    """One call of a hook, on its way to where it runs and back. Made on the I/O loop.

    Attributes:
        ended: Gives what the hook raised, or None.
    """

    def __init__(self, hook: Hook, told: tuple[Any, ...]) -> None:
        self._hook = hook
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._given_up = False
        self.ended: asyncio.Future[BaseException | None] = self._loop.create_future()

    def run(self) -> None:
        """On a thread."""
        try:
            contextvars.Context().run(self._hook, *self._told)
        except BaseException as error:  # SystemExit too: the thread is for other hooks as well
            self._end(error)
        else:
            self._end(None)

    def begin(self) -> None:
        """On the user's loop."""
        if self._given_up:
            self._end(None)
            return
        loop = asyncio.get_running_loop()
        self._task = task = loop.create_task(self._arun(), context=contextvars.Context())
        task.add_done_callback(lambda _: self._end(None))  # where it was cancelled before it began

    async def _arun(self) -> None:
        try:
            await self._hook(*self._told)
        except BaseException as error:  # SystemExit would end the loop
            self._end(error)

    def cancel(self) -> None:
        """On the user's loop: it has taken too long."""
        self._given_up = True
        if self._task is not None:
            self._task.cancel()

    def _end(self, error: BaseException | None) -> None:
        if error is not None:
            trim(error)
        with contextlib.suppress(RuntimeError):  # the worker has ended
            self._loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: BaseException | None) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


class _Failure(NamedTuple):
    """What is told, and to whom: each hook with its event."""

    told: tuple[Any, ...]
    hooks: Sequence[tuple[str, Hook]]


class Teller:
    """Calls the hooks of one worker. All methods are called on the I/O loop.

    Args:
        hooks: The hooks by event.
        registry: The tasks by name.
        user_loop: Where coroutines run.
    """

    def __init__(
        self, hooks: Mapping[str, Sequence[Hook]], registry: Mapping[str, TaskSpec], user_loop: UserLoop
    ) -> None:
        self._hooks = {event: tuple(functions) for event, functions in hooks.items() if functions}
        self._registry = registry
        self._user_loop = user_loop
        self._waiting: deque[_Failure] = deque()
        self._telling: set[asyncio.Task[None]] = set()
        self._stuck = 0
        self._changed = asyncio.Event()
        self._dropped = 0
        self._mono_complained = 0.0
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._on_threads = 0

    @property
    def on_failed(self) -> Callable[[Settlement, Run | None], None] | None:
        """Takes what failed; None where no hook wants to know."""
        return self._failed if any(event in self._hooks for event in FAILURES) else None

    # --- the worker

    async def start(self, stop: asyncio.Event) -> bool:
        """Calls the hooks of the worker's start, one after the other; False when ``stop`` was set meanwhile.

        Raises:
            PenstockError: One failed.
        """
        stopped = asyncio.ensure_future(stop.wait())
        try:
            for hook in self._hooks.get("worker_start", ()):
                call = self._begin(hook, ())
                if not await self._has_ended(hook, call, stopped):
                    self._give_up(hook, call)
                    return False
                error = call.ended.result()
                if error is not None:
                    log.error(
                        "worker_start: %s failed, so the worker does not start",
                        name_of(hook),
                        exc_info=error,
                    )
                    raise PenstockError(
                        f"worker_start: {name_of(hook)} failed, so the worker does not start: "
                        f"{type(error).__name__}: {error}"
                    ) from error
        finally:
            stopped.cancel()
        return not stop.is_set()

    async def _has_ended(self, hook: Hook, call: _Call, stopped: asyncio.Future[Any]) -> bool:
        """Waits for a hook of the worker's start, and says so where it takes long; False when the worker is stopped."""
        both: list[asyncio.Future[Any]] = [call.ended, stopped]
        while not any(each.done() for each in both):
            done, _ = await asyncio.wait(both, timeout=COMPLAIN_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                log.warning("worker_start: %s has not ended yet; nothing is fetched before", name_of(hook))
        return call.ended.done()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Waits a while for what is told, then calls the hooks of the worker's end; it is bounded in time."""
        await self._tell_the_rest(HURRIED_WITHIN_S if hurry.is_set() else END_WITHIN_S)
        mono_until = monotonic() + (HURRIED_WITHIN_S if hurry.is_set() else END_WITHIN_S)
        for hook in self._hooks.get("worker_stop", ()):
            call = self._begin(hook, ())
            await asyncio.wait([call.ended], timeout=max(mono_until - monotonic(), 0.0))
            if call.ended.done():
                self._say("worker_stop", hook, call.ended.result())
            else:
                log.error("worker_stop: %s did not end in time and is left to itself", name_of(hook))
                self._give_up(hook, call)
        for _ in self._threads:
            self._calls.put(None)

    # --- failures

    def _failed(self, settlement: Settlement, run: Run | None) -> None:
        """Tells of a settlement, if it is a failure. Never raises: the worker's jobs wait behind this."""
        if not isinstance(settlement, Again | Dead):
            return
        try:
            self._line_up(settlement, run)
        except BaseException:  # whatever odd bodies and odd exceptions do: SystemExit would end the I/O loop
            log.exception("job %s: no hook was told of its failure; a bug in Penstock, please report it",
                          settlement.delivery.id)  # fmt: skip

    def _line_up(self, settlement: Again | Dead, run: Run | None) -> None:
        hooks = [(event, hook) for event in events_of(settlement) for hook in self._hooks.get(event, ())]
        if not hooks:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._drop()
            return
        self._waiting.append(_Failure(failed_job(settlement, run, self._registry), hooks))
        self._go_on()

    def _drop(self) -> None:
        self._dropped += 1
        now = monotonic()
        if not self._mono_complained or now - self._mono_complained >= COMPLAIN_EVERY_S:
            self._mono_complained = now
            log.error("%d failure(s) were told to no hook: %d wait already, and %d of %d places are held by hooks that "
                      "do not end", self._dropped, len(self._waiting), self._stuck, AT_ONCE)  # fmt: skip

    def _go_on(self) -> None:
        while self._waiting and len(self._telling) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._tell(self._waiting.popleft()))
            self._telling.add(task)
            task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        self._go_on()
        self._changed.set()

    async def _tell(self, failure: _Failure) -> None:
        for number, (event, hook) in enumerate(failure.hooks, 1):
            call = self._begin(hook, failure.told)
            await asyncio.wait([call.ended], timeout=WITHIN_S)
            if not call.ended.done():
                log.error("%s: %s has not ended in %g s; until it does it holds one of %d places for hooks",
                          event, name_of(hook), WITHIN_S, AT_ONCE)  # fmt: skip
                if failure.hooks[number:]:
                    self._waiting.appendleft(failure._replace(hooks=failure.hooks[number:]))
                    self._go_on()
                await self._stays(hook, call)
                return
            self._say(event, hook, call.ended.result())

    async def _stays(self, hook: Hook, call: _Call) -> None:
        self._give_up(hook, call)
        self._stuck += 1
        self._changed.set()
        try:
            await call.ended
        finally:
            self._stuck -= 1

    async def _tell_the_rest(self, within_s: float) -> None:
        mono_until = monotonic() + within_s
        while len(self._telling) > self._stuck or (self._waiting and self._stuck < AT_ONCE):
            left_s = mono_until - monotonic()
            if left_s <= 0:
                break
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
        untold = len(self._waiting) + len(self._telling) - self._stuck
        if untold:
            log.warning("%d failure(s) could not be told to all hooks before the worker's end", untold)
        self._waiting.clear()
        tasks = list(self._telling)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- one call

    def _begin(self, hook: Hook, told: tuple[Any, ...]) -> _Call:
        call = _Call(hook, told)
        if is_async(hook):
            self._user_loop.post(call.begin)
            return call
        self._on_threads += 1
        call.ended.add_done_callback(self._thread_is_free)
        if self._on_threads > len(self._threads):
            name = f"penstock-hook-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._calls.put(call)
        return call

    def _thread_is_free(self, _: object) -> None:
        self._on_threads -= 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
            del call  # what its frames hold is let go

    def _give_up(self, hook: Hook, call: _Call) -> None:
        if is_async(hook):
            self._user_loop.post(call.cancel)

    def _say(self, event: str, hook: Hook, error: BaseException | None) -> None:
        if error is not None:
            log.error("%s: %s failed", event, name_of(hook), exc_info=error)
