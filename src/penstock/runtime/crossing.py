"""A plain function inside middleware: the coroutines run on an event loop, the function on the thread that waits.

    thread                                  event loop
    begin ------------------------------->  the onion, a task of its own
    the function, in that context  <------  call() is awaited
    its outcome ------------------------->  call() gives it
    the job's outcome  <------------------  the onion has ended

So the slot, the timeout and the fate of a thread that cannot be stopped are what they are without middleware.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from penstock.core.settlement import Release, Settlement
from penstock.runtime.onion import Onion, call_inside
from penstock.runtime.outcome import failed, succeeded
from penstock.runtime.resources import ResourcePool, close_scope, closed_after
from penstock.runtime.run import Run, current

# A run that was asked to end while its function ran: so long its middleware has, once the function is back.
AFTER_S: Final = 5.0

Post = Callable[[Callable[[], object]], object]


class Outcome(NamedTuple):
    """How the function, or the onion, ended; data on its way between a thread and a loop."""

    value: Any
    error: BaseException | None

    def get(self) -> Any:
        """The value; raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


Said = contextvars.Context | Outcome


class Crossing:
    """One job of which the function runs on another thread than its middleware; it is the run's ``handle``.

    Args:
        onion: The middleware.
        post: Calls something on the event loop, soon, from any thread.
        say: Takes what the loop says to the thread: the context to run the function in, then the outcome.
    """

    def __init__(self, onion: Onion, run: Run, post: Post, say: Callable[[Said], None]) -> None:
        self._onion = onion
        self._run = run
        self._post = post
        self._say = say
        # These belong to the loop.
        self._task: asyncio.Task[Outcome] | None = None
        self._back: asyncio.Future[Outcome] | None = None
        self._inside = False

    # --- the thread

    def perform(self, pool: ResourcePool, hear: Callable[[], Said]) -> Settlement:
        """Runs the job; ``hear`` waits for what the loop says."""
        run = self._run
        run.pool = pool
        try:
            self._post(self._begin)
            while isinstance(said := hear(), contextvars.Context):
                outcome = self._call(said, pool)
                self._post(partial(self._returned, outcome))
                del outcome
        except RuntimeError:  # the loop is closed: the worker gave this run up at the end of its grace
            return Release(run.delivery)
        try:
            value = said.get()
            if run.scope is not None:  # opened by a middleware
                close_scope(run, None)
        except BaseException as error:  # as without middleware: whatever a job raises is the job's outcome
            return failed(run, closed_after(run, error))
        return succeeded(run, value)

    def _call(self, context: contextvars.Context, pool: ResourcePool) -> Outcome:
        try:
            return Outcome(context.run(call_inside, self._run, pool), None)
        except BaseException as error:
            return Outcome(None, error)

    # --- the loop

    def _begin(self) -> None:
        context = contextvars.Context()
        context.run(current.set, self._run)
        task = asyncio.get_running_loop().create_task(self._around(), context=context)
        self._task = task
        task.add_done_callback(self._ended)
        if self._run.ask is not None:
            task.cancel()

    async def _around(self) -> Outcome:
        try:
            return Outcome(await self._onion.around(self._run, self._function), None)
        except BaseException as error:  # SystemExit too, which would end the loop
            return Outcome(None, error)

    async def _function(self) -> Any:
        """What the innermost ``call()`` awaits."""
        self._back = asyncio.get_running_loop().create_future()
        self._inside = True
        self._say(contextvars.copy_context())
        try:
            return (await self._back).get()
        finally:
            if self._inside:  # a middleware gave it up, by a timeout of its own
                self._run.deserted = True

    def _returned(self, outcome: Outcome) -> None:
        self._inside = False
        if self._back is not None and not self._back.done():
            self._back.set_result(outcome)
        if self._run.ask is not None:
            asyncio.get_running_loop().call_later(AFTER_S, self.cancel)

    def _ended(self, task: asyncio.Task[Outcome]) -> None:
        # Cancelled before it began.
        self._say(Outcome(None, asyncio.CancelledError()) if task.cancelled() else task.result())

    def cancel(self) -> None:
        """On the loop: cancels the middleware, unless the function runs.

        That cannot be stopped, and still uses what the middleware has opened for it.
        """
        if self._task is not None and not self._inside:
            self._task.cancel()

    # --- the I/O loop

    def ask(self) -> None:
        """The run was asked to end. From any thread."""
        try:
            self._post(self.cancel)
        except RuntimeError:  # the loop is closed, and its tasks are cancelled
            return


def perform(onion: Onion, post: Post, run: Run, pool: ResourcePool) -> Settlement:
    """``lanes.call`` with middleware around the function, on a thread of the thread lane."""
    said: queue.SimpleQueue[Said] = queue.SimpleQueue()
    run.handle = crossing = Crossing(onion, run, post, said.put)
    return crossing.perform(pool, said.get)
