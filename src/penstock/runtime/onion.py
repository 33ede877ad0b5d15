"""Middleware: the application's own code around each job, one layer within the other, the function in the middle.

The layers are coroutines and run on one event loop, also where the function does not; ``crossing.py`` takes a call from
that loop to the function's thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

from penstock.core.settlement import Settlement
from penstock.errors import ConfigError, PenstockError
from penstock.runtime.outcome import failed, succeeded
from penstock.runtime.resources import ResourcePool, aclose_scope, aclosed_after, close_scope
from penstock.runtime.run import CurrentJob, Run, current

Call: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]
"""What a middleware gets as ``call``: runs the rest, which is the next middleware or the task, and gives its result."""

Middleware: TypeAlias = Callable[[CurrentJob, Call], Awaitable[Any]]
"""``async def middleware(job, call)``; what it returns is the job's result, what it raises the job's error."""


def name_of(function: object) -> str:
    """``module.function``, for messages."""
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def is_async(function: object) -> bool:
    """Whether a call gives a coroutine: an ``async def``, or an object of which ``__call__`` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - not whether it can be called, but what kind it is
    )


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # built in, without a signature to look at
        return True
    return True


def check_middleware(function: object) -> None:
    """Refuses what cannot be a middleware.

    Raises:
        ConfigError: It is no ``async def``, or cannot be called with a job and ``call``.
    """
    if not callable(function):
        raise ConfigError(f"@app.middleware: {function!r} is no function; write: async def NAME(job, call)")
    name = name_of(function)
    wanted = f"write: async def {name.rpartition('.')[2]}(job, call): ... return await call()"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigError(
            f"middleware {name} has a yield: the task runs where a middleware awaits call(); {wanted}"
        )
    if not is_async(function):
        raise ConfigError(
            f"middleware {name} is not async, though it may stand around plain functions; {wanted}"
        )
    if not takes(function, 2):
        raise ConfigError(
            f"middleware {name}{inspect.signature(function)} is called with two arguments; {wanted}"
        )


class _Layer:
    """The rest of one job's onion, as one middleware sees it: ``call``.

    Attributes:
        task: The asyncio task that runs it, None before it has begun.
        left: ``call()`` was called and has not ended.
    """

    __slots__ = ("_called", "_ended", "_job_ended", "_middleware", "_outer", "_rest", "task")

    def __init__(
        self, middleware: Middleware, outer: asyncio.Task[Any] | None, rest: Callable[[], Awaitable[Any]]
    ) -> None:
        self._middleware = middleware
        self._outer = outer
        self._rest = rest
        self._called = self._ended = self._job_ended = False
        self.task: asyncio.Task[Any] | None = None

    def __call__(self) -> Coroutine[Any, Any, Any]:
        if self._called:
            raise PenstockError(
                f"middleware {name_of(self._middleware)} called call() twice: a task runs once in each attempt; "
                "retry=... on the task, or RetryLater, runs it again"
            )
        self._called = True
        return self._go()

    async def _go(self) -> Any:
        if self._job_ended:
            raise self.error()
        self.task = asyncio.current_task()
        try:
            return await self._rest()
        except (SystemExit, KeyboardInterrupt) as error:
            if self.task is self._outer:
                raise
            # The middleware runs it in an asyncio task of its own (wait_for does): from there these would end the loop.
            raise PenstockError(f"the task, or middleware around it, raised {error!r}") from error
        finally:
            self._ended = True

    @property
    def left(self) -> bool:
        return self._called and not self._ended

    def end(self) -> None:
        """The job has ended: what has not begun must not begin any more."""
        self._job_ended = True
        if self.task is not None and not self._ended and self.task is not asyncio.current_task():
            self.task.cancel()

    def error(self) -> PenstockError:
        return PenstockError(
            f"middleware {name_of(self._middleware)} called call() and ended before it: await call(), so that the job "
            "ends after its task"
        )


class Onion:
    """All the middleware of an application.

    Args:
        middlewares: The first is the outermost.
    """

    def __init__(self, middlewares: Sequence[Middleware]) -> None:
        self._middlewares = tuple(middlewares)

    async def around(self, run: Run, function: Callable[[], Awaitable[Any]]) -> Any:
        """Runs ``function`` inside all layers; gives what the outermost returns.

        Raises:
            PenstockError: A middleware ended before the ``call()`` that it had begun.
            BaseException: What the outermost raises.
        """
        job = CurrentJob(run)
        outer = asyncio.current_task()
        rest = function
        layers: list[_Layer] = []
        for middleware in reversed(self._middlewares):
            layer = _Layer(middleware, outer, rest)
            layers.append(layer)
            rest = partial(middleware, job, layer)
        try:
            value = await rest()
        except BaseException:
            await _end(layers)
            raise
        left = await _end(layers)
        if left is not None:
            raise left.error()
        return value


async def _end(layers: Sequence[_Layer]) -> _Layer | None:
    """Ends what the layers left behind, and gives the outermost that did."""
    left = [layer for layer in layers if layer.left]
    if not left:
        return None
    for layer in left:
        layer.end()
    here = asyncio.current_task()
    tasks = {layer.task for layer in left if layer.task is not None and layer.task is not here}
    if tasks:
        await asyncio.wait(tasks)
    return left[-1]


async def aperform(onion: Onion, run: Run, pool: ResourcePool) -> Settlement:
    """``lanes.acall`` with middleware around the coroutine function."""
    current.set(run)
    run.pool = pool
    try:
        value = await onion.around(run, partial(_acall, run, pool))
        if run.scope is not None:  # opened by a middleware
            await aclose_scope(run, None)
    except BaseException as error:
        return failed(run, await aclosed_after(run, error))
    return succeeded(run, value)


async def _acall(run: Run, pool: ResourcePool) -> Any:
    """The function itself. Its resources close inside the onion, and see its own error or success."""
    try:
        if run.spec.arguments.injected:
            await pool.afill(run)
        value = await run.spec.function(*run.args, **run.kwargs)
    except BaseException as error:
        await aclose_scope(run, error)
        run.scope = None
        raise
    await aclose_scope(run, None)
    run.scope = None
    return value


def call_inside(run: Run, pool: ResourcePool) -> Any:
    """``_acall`` for a plain function."""
    try:
        if run.spec.arguments.injected:
            pool.fill(run)
        value = run.spec.function(*run.args, **run.kwargs)
    except BaseException as error:
        close_scope(run, error)
        run.scope = None
        raise
    close_scope(run, None)
    run.scope = None
    return value
