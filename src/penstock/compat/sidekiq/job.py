"""``Job``, the base of class tasks."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Final, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from penstock.compat.sidekiq.options import (
    CLASS_OPTIONS,
    SIDEKIQ_ATTRIBUTES,
    Interval,
    JobOptions,
    SetOptions,
    When,
    refuse,
)
from penstock.compat.sidekiq.registration import registered
from penstock.compat.sidekiq.setter import Row, Setter, run_here
from penstock.errors import ConfigError, PenstockError
from penstock.handle import JobHandle
from penstock.runtime.run import CurrentJob, current_job
from penstock.task import Task

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Performs(Protocol[P, R_co]):
    """What type checkers read the parameters and the result from: anything with a ``perform``."""

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The task's own code."""
        ...


class AsyncPerforms(Protocol[P, R_co]):
    """The same with an ``async def perform``."""

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """The task's own code."""
        ...


class Job:
    """The base of class tasks: ``class EmailWorker(Job, app=app, queue="mail", retry=5)`` with a ``perform``.

    The class line takes the options of ``JobOptions``. A class without ``perform``, or whose ``perform`` is abstract,
    is a base for others, which inherit its options; one that has it is registered as a task. Each run gets a new
    instance, made without arguments.

    Raises:
        ConfigError: The class has no application, ``perform`` cannot be a task, or an option cannot work.
    """

    _penstock_options: ClassVar[Mapping[str, Any]] = {}
    _penstock_task: ClassVar[Task[..., Any, Any] | None] = None

    def __init_subclass__(cls, **options: Unpack[JobOptions]) -> None:
        super().__init_subclass__()
        where = f"class {cls.__name__}"
        for option in options:
            refuse(where, option, CLASS_OPTIONS)
        for attribute, instead in SIDEKIQ_ATTRIBUTES.items():
            if attribute in vars(cls):
                raise ConfigError(f"{where}: no {attribute} here; {instead.format(name=cls.__name__)}")
        for name in _SPELLINGS:
            if inspect.getattr_static(cls, name) is not vars(Job)[name]:
                raise ConfigError(
                    f"{where}: {name} is the base's own and cannot be another; give yours another name and call "
                    f"{name} from there"
                )
        cls._penstock_options = options
        perform = inspect.getattr_static(cls, "perform", None)
        if perform is None or getattr(perform, "__isabstractmethod__", False):
            cls._penstock_task = None
        else:
            cls._penstock_task = registered(cls, perform, cls._merged_options())

    @classmethod
    def _merged_options(cls) -> dict[str, Any]:
        """What the class line says and, behind it, those of its bases; a name is nobody else's."""
        options: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, Job):
                options |= base._penstock_options
        options.pop("name", None)
        return options | {
            option: value for option, value in cls._penstock_options.items() if option == "name"
        }

    # --- inside a run

    @property
    def jid(self) -> str:
        """The id of the job that runs here.

        Raises:
            PenstockError: Outside a job.
        """
        return self._job_for("jid").id

    @property
    def job(self) -> CurrentJob:
        """The job that runs here: ``current_job()``.

        Raises:
            PenstockError: Outside a job.
        """
        return self._job_for("job")

    def _job_for(self, attribute: str) -> CurrentJob:
        try:
            return current_job()
        except PenstockError:
            name = type(self).__name__
            raise PenstockError(
                f"{name}.{attribute} was read outside a job: perform_inline and a call of perform make none. Enqueue "
                f"with {name}.perform_async(...) and let a worker run it, or do without {attribute} there"
            ) from None

    # --- run or enqueue

    @classmethod
    def perform_inline(cls: type[Performs[P, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs ``perform`` of a new instance here and now; of an ``async def`` it gives the coroutine.

        ``jid`` and ``job`` are not there then: no job is made.

        Raises:
            InvalidArguments: The arguments do not fit ``perform``, or one that a worker would inject was left out.
            PayloadTooLarge: They could not be enqueued.
        """
        return cast("R", run_here(_task_of(cls), args, kwargs))

    perform_sync = perform_inline

    @overload
    @classmethod
    def perform_async(cls: type[AsyncPerforms[P, R]], *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    @overload
    @classmethod
    def perform_async(cls: type[Performs[P, R]], *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    @classmethod
    def perform_async(cls, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Enqueues a call; returns once the broker has accepted it.

        Raises:
            InvalidArguments: The arguments do not fit ``perform``.
            PayloadTooLarge: The body is above ``max_body``.
            BrokerUnavailable: No answer in time.
            BrokerRejected: The broker refused.
        """
        return Setter(_task_of(cls)).perform_async(*args, **kwargs)

    @overload
    @classmethod
    async def aperform_async(
        cls: type[AsyncPerforms[P, R]], *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    @classmethod
    async def aperform_async(
        cls: type[Performs[P, R]], *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @classmethod
    async def aperform_async(cls, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """``perform_async`` for async callers: never blocks the loop; concurrent calls share round trips."""
        return await Setter(_task_of(cls)).aperform_async(*args, **kwargs)

    @overload
    @classmethod
    def perform_in(
        cls: type[AsyncPerforms[P, R]], wait: Interval, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    @classmethod
    def perform_in(
        cls: type[Performs[P, R]], wait: Interval, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @classmethod
    def perform_in(cls, wait: Interval, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Enqueues a call that is due after ``wait``, in seconds or a timedelta, by the broker's clock.

        Raises:
            ConfigError: No such interval; a Unix timestamp is for ``perform_at``.
        """
        return Setter(_task_of(cls)).perform_in(wait, *args, **kwargs)

    @overload
    @classmethod
    async def aperform_in(
        cls: type[AsyncPerforms[P, R]], wait: Interval, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    @classmethod
    async def aperform_in(
        cls: type[Performs[P, R]], wait: Interval, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @classmethod
    async def aperform_in(cls, wait: Interval, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """``perform_in`` for async callers."""
        return await Setter(_task_of(cls)).aperform_in(wait, *args, **kwargs)

    @overload
    @classmethod
    def perform_at(
        cls: type[AsyncPerforms[P, R]], when: When, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    @classmethod
    def perform_at(
        cls: type[Performs[P, R]], when: When, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @classmethod
    def perform_at(cls, when: When, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Enqueues a call that is due at ``when``: an aware datetime, or a Unix timestamp in seconds.

        Raises:
            ConfigError: No such moment: a naive datetime, or a number that is an interval or counts milliseconds.
        """
        return Setter(_task_of(cls)).perform_at(when, *args, **kwargs)

    @overload
    @classmethod
    async def aperform_at(
        cls: type[AsyncPerforms[P, R]], when: When, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    @classmethod
    async def aperform_at(
        cls: type[Performs[P, R]], when: When, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @classmethod
    async def aperform_at(cls, when: When, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """``perform_at`` for async callers."""
        return await Setter(_task_of(cls)).aperform_at(when, *args, **kwargs)

    @overload
    @classmethod
    def perform_bulk(cls: type[AsyncPerforms[..., R]], rows: Iterable[Row]) -> list[JobHandle[R]]: ...
    @overload
    @classmethod
    def perform_bulk(cls: type[Performs[..., R]], rows: Iterable[Row]) -> list[JobHandle[R]]: ...
    @classmethod
    def perform_bulk(cls, rows: Iterable[Row]) -> list[JobHandle[Any]]:
        """Enqueues a call for each row, streamed in slices, each all or nothing where the broker can.

        Args:
            rows: A tuple of positional or a dict of keyword arguments for each job; checked when it runs, not by types.

        Raises:
            InvalidArguments: A row does not fit; the text has its number, from 0, and what is stored before it.
        """
        return Setter(_task_of(cls)).perform_bulk(rows)

    @overload
    @classmethod
    async def aperform_bulk(cls: type[AsyncPerforms[..., R]], rows: Iterable[Row]) -> list[JobHandle[R]]: ...
    @overload
    @classmethod
    async def aperform_bulk(cls: type[Performs[..., R]], rows: Iterable[Row]) -> list[JobHandle[R]]: ...
    @classmethod
    async def aperform_bulk(cls, rows: Iterable[Row]) -> list[JobHandle[Any]]:
        """``perform_bulk`` for async callers."""
        return await Setter(_task_of(cls)).aperform_bulk(rows)

    @overload
    @classmethod
    def set(cls: type[AsyncPerforms[P, R]], **options: Unpack[SetOptions]) -> Setter[P, R]: ...
    @overload
    @classmethod
    def set(cls: type[Performs[P, R]], **options: Unpack[SetOptions]) -> Setter[P, R]: ...
    @classmethod
    def set(cls, **options: Unpack[SetOptions]) -> Setter[..., Any]:
        """The class with options for the calls that follow: ``EmailWorker.set(queue="bulk").perform_async(...)``.

        Raises:
            ConfigError: An option does not exist or makes no sense.
        """
        return Setter(_task_of(cls)).set(**options)


class _Spelled:
    """Says what a name of plain tasks, or of another library's, is called here. To ``hasattr`` it is not there."""

    def __init__(self, name: str, instead: str) -> None:
        self._name = name
        self._instead = instead

    def __get__(self, instance: Job | None, owner: type[Job]) -> object:
        try:  # a class may have it from another of its bases
            return getattr(super(Job, owner if instance is None else instance), self._name)
        except AttributeError:
            raise AttributeError(
                f"{owner.__name__}.{self._name}: a class task has no {self._name}; say "
                f"{owner.__name__}.{self._instead}",
                name=self._name,
                obj=None,  # or a traceback would guess another of these names
            ) from None


# Not written in the class: type checkers are to refuse them.
for _name, _instead in {
    "delay": "perform_async(...)",
    "adelay": "aperform_async(...)",
    "apply_async": "perform_async(...), or perform_in(SECONDS, ...), or set(...).perform_async(...)",
    "delay_many": "perform_bulk([...])",
    "adelay_many": "aperform_bulk([...])",
    "options": "set(...).perform_async(...)",
    "perform_later": "perform_async(...)",
    "perform_now": "perform_inline(...)",
}.items():
    setattr(Job, _name, _Spelled(_name, _instead))


_SPELLINGS: Final = tuple(
    name for name, value in vars(Job).items() if isinstance(value, classmethod) and name[0] != "_"
)

Worker = Job
"""``Job`` under its older name."""


def _task_of(cls: type[Any]) -> Task[..., Any, Any]:
    task: Task[..., Any, Any] | None = cls._penstock_task
    if task is None:
        raise ConfigError(
            f"{cls.__name__} is a base for class tasks: it has no perform of its own to enqueue"
        )
    return task
