"""How jobs are run: as coroutines on the user's loop, or on threads; child processes are in ``process_lane.py``.

A lane takes runs from the I/O loop, calls the user's function, and hands each settlement to ``finish``, from any
thread. It never talks to the broker.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Final, Protocol

from penstock.core.settlement import Settlement
from penstock.runtime.outcome import failed, not_begun, succeeded
from penstock.runtime.resources import ResourcePool, aclose_scope, aclosed_after, close_scope, closed_after
from penstock.runtime.run import Ask, Run, current

log: logging.Logger = logging.getLogger("penstock.worker")

Finish = Callable[[Settlement], None]
Perform = Callable[[Run, ResourcePool], Settlement]
AsyncPerform = Callable[[Run, ResourcePool], Awaitable[Settlement]]

# How long starting coroutines may keep the user's loop from everything else that runs on it.
_START_SLICE_S: Final = 0.005


class LaneRunner(Protocol):
    """What the executor asks of a lane. All methods are called on the I/O loop."""

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits here; True also for a moment after the last has ended."""
        ...

    def submit(self, runs: Iterable[Run]) -> None:
        """Takes runs, to be started in their order as slots come free."""
        ...

    def ask(self, run: Run) -> None:
        """Makes a run that has begun end, as far as the lane can; ``run.ask`` says why."""
        ...

    def recall(self, mono_before: float) -> list[Run]:
        """Gives back the runs that came in before that moment and have not begun."""
        ...

    def stopping(self) -> None:
        """The worker drains; each run in hand has been told."""
        ...

    def close(self) -> None:
        """Ends the lane; what still runs is left to itself."""
        ...


def call(run: Run, pool: ResourcePool) -> Settlement:
    """Runs a plain function here and now; its outcome is a value. Used on threads and in children."""
    current.set(run)
    run.pool = pool
    spec = run.spec
    try:
        if spec.arguments.injected:
            pool.fill(run)
        value = spec.function(*run.args, **run.kwargs)
        if run.scope is not None:
            close_scope(run, None)
    except BaseException as error:  # a job that raises SystemExit has failed; it does not end the worker
        return failed(run, closed_after(run, error))
    return succeeded(run, value)


async def acall(run: Run, pool: ResourcePool) -> Settlement:
    """``call`` for a coroutine function."""
    current.set(run)
    run.pool = pool
    spec = run.spec
    try:
        if spec.arguments.injected:
            await pool.afill(run)
        value = await spec.function(*run.args, **run.kwargs)
        if run.scope is not None:
            await aclose_scope(run, None)
    except BaseException as error:  # as in call(): whatever a job raises is the job's outcome
        return failed(run, await aclosed_after(run, error))
    return succeeded(run, value)


class ThreadLane:
    """Plain functions on threads of our own.

    Runs wait in one deque, oldest first. A thread takes the next until there is none, then sleeps until the bell rings.
    It rings for one at a time, who wakes the next if there is more: where jobs are short the first has done them all
    before the second stirs, and to wake fifty for nothing costs more than the jobs.

    Args:
        size: How many threads; each is started when it is first needed.
        perform: Runs one job on its thread; ``call``, or what puts middleware around it.
    """

    def __init__(self, size: int, pool: ResourcePool, finish: Finish, perform: Perform = call) -> None:
        self._size = size
        self._pool = pool
        self._perform = perform
        self._finish = finish
        self._backlog: deque[Run] = deque()
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sleepers = 0
        # One of them has been woken, and has not stirred yet.
        self._waking = False
        self._closed = False
        self._threads: list[threading.Thread] = []

    @property
    def busy(self) -> bool:
        """See ``LaneRunner``."""
        return bool(self._backlog) or self._sleepers < len(self._threads)

    def submit(self, runs: Iterable[Run]) -> None:
        """See ``LaneRunner``."""
        self._backlog.extend(runs)
        # A thread that runs finds the next one by itself, but that may take long.
        missing = len(self._backlog) - self._sleepers
        self._wake_one()
        for _ in range(min(missing, self._size - len(self._threads))):
            self._add_thread()

    def _wake_one(self) -> None:
        with self._lock:
            if self._waking or not self._sleepers or not self._backlog:
                return
            self._waking = True
        self._bell.put(True)

    def _add_thread(self) -> None:
        name = f"penstock-thread-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def ask(self, run: Run) -> None:
        """A thread cannot be made to end: its function sees ``current_job().cancelled()``. Middleware around it can."""
        if run.handle is not None:
            run.handle.ask()

    def recall(self, mono_before: float) -> list[Run]:
        """See ``LaneRunner``."""
        runs: list[Run] = []
        try:
            while self._backlog[0].mono_taken <= mono_before:
                runs.append(self._backlog.popleft())
        except IndexError:  # no more, or a thread was quicker
            pass
        return runs

    def stopping(self) -> None:
        """See ``LaneRunner``."""

    def close(self) -> None:
        """See ``LaneRunner``."""
        self._closed = True
        for _ in self._threads:
            self._bell.put(True)

    def _work(self) -> None:
        take, pool, finish, begin = self._backlog.popleft, self._pool, self._finish, contextvars.Context
        perform = self._perform
        while not self._closed:
            try:
                run = take()
            except IndexError:
                self._sleep()
                continue
            if run.ask is not None:
                finish(not_begun(run))
                continue
            run.mono_started = monotonic()
            finish(begin().run(perform, run, pool))
            del run

    def _sleep(self) -> None:
        """Until the bell rings. It looks once more under the lock that counts it, so that no run is overlooked."""
        with self._lock:
            if self._backlog or self._closed:
                return
            self._sleepers += 1
        self._bell.get()
        with self._lock:
            self._sleepers -= 1
            self._waking = False
        if len(self._backlog) > 1:
            self._wake_one()


class LoopLane:
    """Coroutines on the user's loop, which is made, on the main thread, when the first of them comes.

    Args:
        size: How many run at once.
        need_loop: Asks for the user's loop to be started; it calls ``attach`` when it runs.
        perform: Runs one job; ``acall``, or what puts middleware around it.
    """

    def __init__(
        self,
        size: int,
        pool: ResourcePool,
        finish: Finish,
        need_loop: Callable[[], None],
        perform: AsyncPerform = acall,
    ) -> None:
        self._size = size
        self._pool = pool
        self._perform = perform
        self._finish = finish
        self._need_loop: Callable[[], None] | None = need_loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._backlog: deque[Run] = deque()
        self._running = 0
        # Each is counted by one thread alone: what came, or was given back, by the I/O loop; what ended, by the user's.
        self._came = 0
        self._ended = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """See ``LaneRunner``."""
        return self._came != self._ended

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The user's loop runs; called on it."""
        self._loop = loop
        self._start()

    def submit(self, runs: Iterable[Run]) -> None:
        """See ``LaneRunner``."""
        more = list(runs)
        self._came += len(more)
        self._backlog.extend(more)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._start)
        elif self._need_loop is not None:
            need_loop, self._need_loop = self._need_loop, None
            need_loop()

    def ask(self, run: Run) -> None:
        """Cancels the coroutine."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel, run)

    def _cancel(self, run: Run) -> None:
        task = run.handle
        if task is not None and not task.done():
            task.cancel()

    def recall(self, mono_before: float) -> list[Run]:
        """See ``LaneRunner``."""
        runs: list[Run] = []
        try:
            while self._backlog[0].mono_taken <= mono_before:
                runs.append(self._backlog.popleft())
        except IndexError:  # no more, or the user's loop was quicker
            pass
        self._came -= len(runs)
        return runs

    def stopping(self) -> None:
        """See ``LaneRunner``."""

    def close(self) -> None:
        """See ``LaneRunner``; the loop itself is ended by whoever runs it."""

    def _start(self) -> None:
        loop = self._loop
        assert loop is not None
        mono_until = monotonic() + _START_SLICE_S
        while self._running < self._size:
            try:
                run = self._backlog.popleft()
            except IndexError:
                return
            run.mono_started = now = monotonic()
            # Behind that: whoever asks sets and looks the other way round, so one of the two sees the other.
            if run.ask is not None:
                self._ended += 1
                self._finish(not_begun(run))
                continue
            self._running += 1
            self._begin(run, loop)
            if now > mono_until:
                loop.call_soon(self._start)
                return

    def _begin(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        coroutine, context = self._run(run), contextvars.Context()
        # Eager where Python can: a coroutine that never waits ends here, without a turn of the loop.
        if sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
        else:  # pragma: no cover - measured on a newer one
            task = loop.create_task(coroutine, context=context)
        if not task.done():
            run.handle = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, run: Run) -> None:
        timer = None
        if run.timeout_s is not None:
            assert self._loop is not None
            timer = self._loop.call_later(run.timeout_s, self._time_out, run)
        settlement = await self._perform(run, self._pool)
        if timer is not None:
            timer.cancel()
        self._running -= 1
        self._ended += 1
        self._finish(settlement)
        if self._backlog and self._loop is not None:
            self._loop.call_soon(self._start)

    def _time_out(self, run: Run) -> None:
        if run.ask is None:
            run.ask = Ask.TIMEOUT
            self._cancel(run)
