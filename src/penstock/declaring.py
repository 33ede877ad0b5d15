"""What an application declares: its tasks, resources, middleware and hooks."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from penstock.core.retry import Retry
from penstock.core.spec import TASK_OPTIONS, DeliveryName, LaneName, TaskSpec, declare
from penstock.errors import ConfigError
from penstock.naming import task_name
from penstock.runtime.hooks import EVENTS, FailedJob, Hook, check_event, check_hook
from penstock.runtime.onion import Middleware, check_middleware
from penstock.runtime.resources import Resource, ScopeName, check
from penstock.task import Task

if TYPE_CHECKING:
    from penstock.app import Penstock

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
M = TypeVar("M", bound=Middleware)
W = TypeVar("W", bound=Callable[[], Any])
F = TypeVar("F", bound=Callable[[FailedJob, Exception], Any])


class Declarations:
    """The decorators of ``Penstock``, and what they have registered.

    Attributes:
        tasks: By their names.
        middlewares: The first is the outermost.
        hooks: By event, in the order of their registration.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, TaskSpec] = {}
        self.middlewares: list[Middleware] = []
        self.hooks: dict[str, list[Hook]] = {event: [] for event in EVENTS}
        self._lock = threading.Lock()

    @overload
    def task(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        queue: str | None = None,
        lane: LaneName | None = None,
        retry: Retry | int | bool | None = None,
        timeout: float | timedelta | None = None,
        expires: float | timedelta | None = None,
        priority: int = 0,
        result_ttl: float | timedelta = 3600,
        delivery: DeliveryName = "at_least_once",
        tags: Sequence[str] = (),
    ) -> _TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Registers a function as a task: ``@app.task`` or ``@app.task(...)``.

        Args:
            function: The function, where the decorator has no options.
            options: ``name`` (default: ``module.function``), ``queue``, ``lane`` (``"loop"``, ``"thread"`` or
                ``"process"``; by default the first for ``async def`` and the second for ``def``), ``retry`` (a
                ``Retry``, a number of attempts, or False), ``timeout`` and ``expires`` (seconds or a timedelta),
                ``priority`` (0 to 9), ``result_ttl`` (seconds; 0 keeps nothing), ``delivery`` (``"at_least_once"`` or
                ``"at_most_once"``), ``tags``.

        Raises:
            ConfigError: An option cannot work, a parameter cannot be carried, or the name is taken.
        """
        if function is not None:
            return self._register(function, options)
        return partial(self._register, options=options)

    def _register(self, function: Callable[..., Any], options: dict[str, Any]) -> Task[..., Any, Any]:
        name = options.pop("name", None) or task_name(function)
        known = set(TASK_OPTIONS) - {"name"}
        unknown = {option: value for option, value in options.items() if option not in known}
        spec = declare(
            function, name=name, unknown=unknown, **{k: v for k, v in options.items() if k in known}
        )
        check(spec)
        with self._lock:
            taken = self.tasks.get(name)
            if taken is not None:
                where = f"{taken.function.__module__}.{taken.function.__qualname__}"
                other = f"{function.__module__}.{function.__qualname__}"
                raise ConfigError(
                    f"two tasks are named {name!r}: {where} and {other}; give one of them name=..."
                )
            self.tasks[name] = spec
        return Task(cast("Penstock", self), spec)

    @overload
    def resource(self, function: Callable[[], AsyncIterator[T]], /) -> Resource[T]: ...
    @overload
    def resource(self, function: Callable[[], Iterator[T]], /) -> Resource[T]: ...
    @overload
    def resource(self, *, scope: ScopeName = "process") -> _ResourceDecorator: ...
    def resource(self, function: Callable[[], Any] | None = None, *, scope: ScopeName = "process") -> Any:
        """Declares something that tasks share: a generator function that yields it once.

        Args:
            function: The generator function, sync or async, without parameters.
            scope: ``"process"`` opens it once in each worker process on first use and closes it when that stops;
                ``"job"`` opens one for each job.

        Raises:
            ConfigError: It is not such a function.
        """
        if function is not None:
            return Resource(function, scope)

        def declare_resource(function: Callable[[], Any]) -> Resource[Any]:
            return Resource(function, scope)

        return declare_resource

    def middleware(self, function: M, /) -> M:
        """Registers an ``async def`` that runs around each job: ``@app.middleware``.

        It is called with the job (a ``CurrentJob``) and ``call``, an async callable without arguments that runs the
        rest and gives the task's result. What it returns is the job's result, and what it raises the job's error. The
        first registered is the outermost. It is for plain functions too, and runs on the worker's event loop then.

        Args:
            function: ``async def NAME(job, call)``.

        Raises:
            ConfigError: It is not such a function.
        """
        check_middleware(function)
        self.middlewares.append(function)
        return function

    @overload
    def on(self, event: Literal["worker_start", "worker_stop"], /) -> Callable[[W], W]: ...
    @overload
    def on(self, event: Literal["attempt_failed", "job_failed"], /) -> Callable[[F], F]: ...
    def on(self, event: str, /) -> Any:
        """Registers a function that a worker calls when something happens: ``@app.on("job_failed")``.

        ``worker_start`` and ``worker_stop`` are called with nothing, in each worker process: before its first fetch,
        where an error keeps the worker from starting, and after its last job. ``attempt_failed`` and ``job_failed`` are
        called with the job (a ``FailedJob``) and the error, outside the job's slot. Plain functions run on threads of
        their own, coroutines on the worker's event loop.

        Raises:
            ConfigError: There is no such event, or the function cannot be called so.
        """
        check_event(event)

        def register(function: Any) -> Any:
            check_hook(event, function)
            self.hooks[event].append(function)
            return function

        return register


class _TaskDecorator:
    """The type of ``app.task(...)``: keeps the function's own signature."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R, R]: ...
    def __call__(self, function: Any, /) -> Any: ...


class _ResourceDecorator:
    """The type of ``app.resource(scope=...)``."""

    @overload
    def __call__(self, function: Callable[[], AsyncIterator[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, function: Callable[[], Iterator[T]], /) -> Resource[T]: ...
    def __call__(self, function: Any, /) -> Any: ...
