"""What tasks share: opened once in each worker process on first use, closed when it stops; or once for each job."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast

from penstock.core.spec import TaskSpec
from penstock.errors import ConfigError, PenstockError
from penstock.runtime.run import Run, Scope, current

T = TypeVar("T")
ScopeName: TypeAlias = Literal["process", "job"]
"""How long a resource is kept, as ``scope=`` of a resource takes it."""

log: logging.Logger = logging.getLogger("penstock.worker")


class Resource(Generic[T]):
    """A declared resource; made by ``@app.resource``.

    Args:
        function: A generator function, sync or async, without parameters, that yields the value once.
        scope: ``"process"`` or ``"job"``.

    Raises:
        ConfigError: It is not such a function, or the scope is unknown.
    """

    def __init__(
        self, function: Callable[[], Iterator[T] | AsyncIterator[T]], scope: ScopeName = "process"
    ) -> None:
        self.name: str = getattr(function, "__qualname__", repr(function))
        self.is_async: bool = inspect.isasyncgenfunction(function)
        if not self.is_async and not inspect.isgeneratorfunction(function):
            raise ConfigError(f"resource {self.name}: a generator function that yields its value once")
        if inspect.signature(function).parameters:
            raise ConfigError(f"resource {self.name}: takes no parameters; read the environment inside")
        if scope not in {"process", "job"}:
            raise ConfigError(f'resource {self.name}: scope={scope!r}; use "process" or "job"')
        self.scope: ScopeName = scope
        self._function = function

    is_resource = True
    """Told apart by the core, which knows parameters and not resources."""

    def __repr__(self) -> str:
        return f"<Resource {self.name}>"

    def open_sync(self, stack: ExitStack) -> T:
        """Opens a sync one and leaves its closing to ``stack``."""
        function = cast(Callable[[], Generator[T, None, None]], self._function)
        return stack.enter_context(contextmanager(function)())

    async def open_async(self, stack: AsyncExitStack) -> T:
        """Opens an async one and leaves its closing to ``stack``."""
        function = cast(Callable[[], AsyncGenerator[T, None]], self._function)
        return await stack.enter_async_context(asynccontextmanager(function)())

    def get(self) -> T:
        """The value, inside a job that was given it, or where it is sync; typed as what the resource yields.

        Raises:
            PenstockError: Called outside a job, or for an async resource that this job did not declare.
        """
        run = current.get(None)
        if run is None:
            raise PenstockError(f"{self.name}.get() was called outside a job")
        if run.scope is None:
            run.scope = Scope()
        values = run.scope.values
        if self in values:
            return cast(T, values[self])
        pool: ResourcePool = run.pool
        if self.is_async:
            if self.scope == "process" and self in pool.values:
                return cast(T, pool.values[self])
            raise PenstockError(
                f"{self.name}.get(): an async resource is opened by being declared: "
                f"add a parameter Annotated[..., {self.name}] = INJECTED to {run.spec.name}"
            )
        return cast(T, pool.sync_value(self, run))


def check(spec: TaskSpec) -> None:
    """Refuses a task that asks for a resource which its lane cannot have.

    Raises:
        ConfigError: It does.
    """
    for name, resource in spec.arguments.injected.items():
        if not isinstance(resource, Resource):
            raise ConfigError(
                f"task {spec.name}: parameter {name!r} = INJECTED: annotate it with a resource made by @app.resource"
            )
        if resource.is_async and not spec.is_async:
            raise ConfigError(
                f"task {spec.name}: resource {resource.name} is async and lives on the event loop; "
                "make the task async def, or the resource a plain generator"
            )


class ResourcePool:
    """The open resources of one process, and those of its running jobs."""

    def __init__(self) -> None:
        self.values: dict[object, Any] = {}
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._astack = AsyncExitStack()
        self._opening: dict[object, asyncio.Lock] = {}

    def fill(self, run: Run) -> None:
        """Gives a run on a thread, or in a child, its injected arguments."""
        for name, resource in run.spec.arguments.injected.items():
            run.kwargs[name] = self.sync_value(resource, run)

    async def afill(self, run: Run) -> None:
        """Gives a coroutine its injected arguments."""
        for name, resource in run.spec.arguments.injected.items():
            run.kwargs[name] = await self._async_value(resource, run)

    def sync_value(self, resource: Resource[Any], run: Run) -> Any:
        """The value of a sync resource for this run, opened where it is not open yet."""
        if resource.scope == "job":
            run.scope = run.scope or Scope()
            if resource not in run.scope.values:
                run.scope.stack = run.scope.stack or ExitStack()
                run.scope.values[resource] = resource.open_sync(run.scope.stack)
            return run.scope.values[resource]
        with self._lock:
            if resource not in self.values:
                self.values[resource] = resource.open_sync(self._stack)
            return self.values[resource]

    async def _async_value(self, resource: Resource[Any], run: Run) -> Any:
        if not resource.is_async:
            return self.sync_value(resource, run)
        if resource.scope == "job":
            run.scope = run.scope or Scope()
            if resource not in run.scope.values:
                run.scope.astack = run.scope.astack or AsyncExitStack()
                run.scope.values[resource] = await resource.open_async(run.scope.astack)
            return run.scope.values[resource]
        async with self._opening.setdefault(resource, asyncio.Lock()):
            if resource not in self.values:
                self.values[resource] = await resource.open_async(self._astack)
            return self.values[resource]

    def close(self) -> None:
        """Closes the sync resources, last opened first; one that fails is logged and keeps none from being closed."""
        with self._lock:
            try:
                self._stack.close()
            except BaseException:
                log.exception("a resource failed while it was closed")

    async def aclose(self) -> None:
        """Closes the async ones, on the loop that they live on; see ``close``."""
        try:
            await self._astack.aclose()
        except BaseException:
            log.exception("an async resource failed while it was closed")


def close_scope(run: Run, error: BaseException | None) -> None:
    """Closes what was opened for this job alone; the resource sees the job's error, as a ``with`` would show it."""
    scope = run.scope
    if scope is not None and scope.stack is not None:
        stack, scope.stack = scope.stack, None
        stack.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


async def aclose_scope(run: Run, error: BaseException | None) -> None:
    """``close_scope`` for a coroutine."""
    scope = run.scope
    if scope is not None and scope.astack is not None:
        astack, scope.astack = scope.astack, None
        await astack.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)
    close_scope(run, error)


def closed_after(run: Run, error: BaseException) -> BaseException:
    """Closes a failed job's own resources; an error of theirs is the one to report, with the job's as its context."""
    try:
        close_scope(run, error)
    except BaseException as closing:
        return closing
    return error


async def aclosed_after(run: Run, error: BaseException) -> BaseException:
    """``closed_after`` for a coroutine."""
    if run.scope is None:
        return error
    try:
        await aclose_scope(run, error)
    except BaseException as closing:
        return closing
    return error
