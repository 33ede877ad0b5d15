"""A task as its callers hold it: the plain function, and the ways to enqueue it, typed from its own signature."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Never, ParamSpec, TypedDict, TypeVar

import msgspec

from penstock.core.arguments import Arguments
from penstock.core.codec import VERSION, Envelope, encode_envelope
from penstock.core.job import Enqueued, Job, check_job_name, check_queue_name
from penstock.core.options import is_text, moment, seconds
from penstock.core.options import priority as check_priority
from penstock.core.retry import Retry, describe
from penstock.core.spec import Lane, TaskSpec, check_tags, refuse_option
from penstock.errors import ConfigError, InvalidArguments, PayloadTooLarge
from penstock.handle import JobHandle
from penstock.ids import new_id
from penstock.producer import SLICE, slices

if TYPE_CHECKING:
    from penstock.app import Penstock

P = ParamSpec("P")
# A job gives its result and never takes one, so a task of int is one of object too. Its parameters are exact: checkers
# know no other ParamSpec.
R_co = TypeVar("R_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)


class SendOptions(TypedDict, total=False):
    """What ``options=`` of ``app.send`` takes: the names of ``task.options(...)``, as it means them. None is unsaid.

    Attributes:
        countdown: Seconds (or a timedelta) until it is due, by the broker's clock.
        eta: The aware moment at which it is due.
        queue: Another queue.
        priority: 0 to 9; higher runs first.
        expires: Seconds, a timedelta or an aware moment after which it is no longer started.
        job_id: An id of your own, unique in its queue while the job is stored.
        retry: A ``Retry``, of which only the numbers travel with a job, or a number of attempts (False is one).
        headers: Strings that travel with the job.
        tags: Words to find it by.
    """

    countdown: float | timedelta | None
    eta: datetime | None
    queue: str | None
    priority: int | None
    expires: float | timedelta | datetime | None
    job_id: str | None
    retry: Retry | int | bool | None
    headers: Mapping[str, str] | None
    tags: Sequence[str] | None


_CALL_OPTIONS: Final = tuple(SendOptions.__annotations__)
_NOTHING: Final[dict[str, str]] = {}
_NO_TAGS: Final[list[str]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What one call says otherwise than its task. All None: nothing."""

    queue: str | None = None
    priority: int | None = None
    delay_s: float = 0.0
    due_at: float | None = None
    expires_s: float | None = None
    expires_at: float | None = None
    job_id: str | None = None
    retry: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    tags: tuple[str, ...] = ()


def call_options(  # noqa: C901 - one case for each option reads best in one place
    before: CallOptions, given: Mapping[str, Any]
) -> CallOptions:
    """``before`` with the options that ``task.options(...)`` was given, each checked.

    Raises:
        ConfigError: One is not known, makes no sense, or excludes another.
    """
    changes: dict[str, Any] = {}
    if given.get("countdown") is not None and given.get("eta") is not None:
        raise ConfigError("options: countdown and eta exclude each other")
    for name, value in given.items():
        if value is None:
            continue
        match name:
            case "countdown":
                changes |= {"delay_s": seconds("countdown", value), "due_at": None}
            case "eta":
                changes |= {"due_at": moment("eta", value), "delay_s": 0.0}
            case "expires" if isinstance(value, datetime):
                changes |= {"expires_at": moment("expires", value), "expires_s": None}
            case "expires":
                changes |= {"expires_s": _expiry(value), "expires_at": None}
            case "queue":
                changes["queue"] = check_queue_name(value)
            case "priority":
                changes["priority"] = check_priority(value)
            case "job_id":
                changes["job_id"] = check_job_name(value)
            case "retry":
                changes["retry"] = describe(value)
            case "headers":
                changes["headers"] = _headers(value)
            case "tags":
                changes["tags"] = check_tags(value)
            case _:
                refuse_option("options", name, _CALL_OPTIONS)
    return replace(before, **changes)


def _expiry(value: float | timedelta) -> float:
    expires_s = seconds("expires", value)
    if not expires_s:
        raise ConfigError("expires: above 0 s, or no worker could start it in time; leave it away for never")
    return expires_s


def _headers(value: Mapping[str, str]) -> dict[str, str]:
    if not all(is_text(part) for pair in value.items() for part in pair):
        raise ConfigError(
            "options: headers are a mapping of strings to strings (of Unicode, without surrogates)"
        )
    return dict(value)


class Task(Generic[P, R_co, C_co]):
    """A registered function: ``P`` are its parameters, ``R_co`` is the job's result, ``C_co`` what a plain call gives.

    Attributes:
        name: ``module.function``, or the name it was given.
        spec: How the worker runs it.
    """

    def __init__(self, app: Penstock, spec: TaskSpec, options: CallOptions | None = None) -> None:
        self._app = app
        self._options = options or CallOptions()
        self.spec = spec
        self.name: str = spec.name
        self.__name__: str = getattr(spec.function, "__name__", spec.name)
        self.__doc__ = spec.function.__doc__
        self.__module__ = spec.function.__module__
        self.__wrapped__: Callable[..., Any] = spec.function

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C_co:
        """Runs the function here and now.

        Raises:
            InvalidArguments: A parameter that a worker would fill in from a resource was left out.
        """
        if self.spec.arguments.injected:
            self._want_injected(args, kwargs)
        return self.spec.function(*args, **kwargs)  # type: ignore[no-any-return]  # C_co is what the function gives

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """Enqueues a call; returns once the broker has accepted it.

        Raises:
            InvalidArguments: The arguments do not fit the signature.
            PayloadTooLarge: The body is above ``max_body``.
            BrokerUnavailable: No answer in time.
            BrokerRejected: The broker refused.
        """
        job = self.job(args, kwargs)
        return JobHandle(self._app, job.id, self.spec, self._app.enqueue([job])[0].added)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """``delay`` for async callers: never blocks the loop; concurrent calls share round trips."""
        job = self.job(args, kwargs)
        return JobHandle(self._app, job.id, self.spec, (await self._app.aenqueue([job]))[0].added)

    def delay_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> list[JobHandle[R_co]]:
        """Enqueues many calls, streamed in slices, each all or nothing where the broker can.

        Args:
            calls: A tuple of positional or a dict of keyword arguments for each job.
            progress: Is called after each slice with how many rows the broker has accepted so far.

        Raises:
            InvalidArguments: A row's arguments do not fit; the text has its number, from 0, and how many rows before
                it are stored: those of the slices that had gone.
            PayloadTooLarge: A row's body is above ``max_body``; told in the same way.
            BrokerUnavailable: No answer in time; the slices before are stored.
            BrokerRejected: The broker refused; the slices before are stored, and of the last 500 jobs maybe some.
        """
        handles: list[JobHandle[R_co]] = []

        def took(answers: Sequence[Enqueued]) -> None:
            handles.extend([JobHandle(self._app, answer.id, self.spec, answer.added) for answer in answers])
            if progress is not None:
                progress(len(handles))

        self.store_many(calls, took)
        return handles

    async def adelay_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> list[JobHandle[R_co]]:
        """``delay_many`` for async callers; ``progress`` is a plain function too."""
        handles: list[JobHandle[R_co]] = []
        for part in slices(self._jobs(calls)):
            answers = await self._app.aenqueue(part)
            handles += [JobHandle(self._app, answer.id, self.spec, answer.added) for answer in answers]
            if progress is not None:
                progress(len(handles))
        return handles

    def store_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        took: Callable[[Sequence[Enqueued]], None],
    ) -> None:
        """``delay_many`` for who keeps no handles: ``took`` is given the answers of each slice."""
        self._app.enqueue_parts(slices(self._jobs(calls)), took)

    def options(
        self,
        *,
        countdown: float | timedelta | None = None,
        eta: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
        expires: float | timedelta | datetime | None = None,
        job_id: str | None = None,
        retry: Retry | int | bool | None = None,
        headers: Mapping[str, str] | None = None,
        tags: Sequence[str] | None = None,
        **unknown: Never,
    ) -> Task[P, R_co, C_co]:
        """A copy of the task whose calls are enqueued otherwise.

        Args:
            countdown: Seconds (or a timedelta) until it is due, by the broker's clock.
            eta: The aware moment at which it is due.
            queue: Another queue.
            priority: 0 to 9; higher runs first.
            expires: Seconds, a timedelta or an aware moment after which it is no longer started.
            job_id: An id of your own, unique in its queue while the job is stored.
            retry: A ``Retry``, whose numbers replace all of the task's, or a number of attempts (False is one), which
                leaves the other numbers as they are. Error types and functions belong to the task.
            headers: Strings that travel with the job.
            tags: Words to find it by.
            unknown: Nothing; whatever else is named is refused, by a type checker too.

        Raises:
            ConfigError: A value makes no sense.
        """
        given = {
            "countdown": countdown,
            "eta": eta,
            "queue": queue,
            "priority": priority,
            "expires": expires,
            "job_id": job_id,
            "retry": retry,
            "headers": headers,
            "tags": tags,
            **unknown,
        }
        return Task(self._app, self.spec, call_options(self._options, given))

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: float | timedelta | None = None,
        eta: datetime | None = None,
        expires: float | timedelta | datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
        task_id: str | None = None,
        **unknown: Never,
    ) -> JobHandle[R_co]:
        """Celery's spelling of ``options(...).delay(...)``; ``task_id`` is ``job_id``."""
        if isinstance(args, str | bytes) or not isinstance(args, Sequence):
            raise InvalidArguments(
                f"{self.name}: apply_async takes its arguments as a tuple, (value,) for one, not {type(args).__name__}"
            )
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise InvalidArguments(
                f"{self.name}: apply_async takes named arguments as a dict, not {type(kwargs).__name__}"
            )
        task = self.options(
            countdown=countdown,
            eta=eta,
            expires=expires,
            queue=queue,
            priority=priority,
            job_id=task_id,
            **unknown,
        )
        job = task.job(args, kwargs or {})
        return JobHandle(self._app, job.id, self.spec, self._app.enqueue([job])[0].added)

    # --- inside

    def _want_injected(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuses a plain call that would hand the function the place holder instead of what a worker injects."""
        arguments = self.spec.arguments
        try:
            given = arguments.signature.bind_partial(*args, **kwargs).arguments
        except TypeError:
            return  # the function says it better
        missing = [name for name in arguments.injected if name not in given]
        if missing:
            raise InvalidArguments(
                f"{self.name}: a worker injects {', '.join(missing)}; a plain call must pass "
                f"{', '.join(f'{name}=...' for name in missing)}"
            )

    def _jobs(self, calls: Iterable[Sequence[Any] | Mapping[str, Any]]) -> Iterator[Job]:
        if self._options.job_id is not None:
            raise ConfigError("options(job_id=...) names one job; delay_many makes many")
        for row, call in enumerate(calls):
            try:
                job = self._job_of(call)
            except (InvalidArguments, PayloadTooLarge) as error:
                raise type(error)(f"row {row}: {error}; {_stored_before(row)}") from None
            yield job

    def _job_of(self, call: Sequence[Any] | Mapping[str, Any]) -> Job:
        if type(call) is tuple:  # the common case; an abstract class takes ten times as long to ask
            return self.job(call, _NOTHING)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(call, Mapping):
            return self.job((), call)
        if isinstance(call, Sequence) and not isinstance(call, str | bytes):
            return self.job(call, _NOTHING)
        raise InvalidArguments(
            f"{self.name}: delay_many takes a tuple or a dict for each job, not {type(call).__name__}"
        )

    def job(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
        """The job that a call makes: checked, encoded, with a new id.

        Raises:
            InvalidArguments: The arguments do not fit.
            PayloadTooLarge: The body is above ``max_body``.
        """
        raw, raw_named = self.spec.arguments.encode(args, kwargs)
        return build_job(self._app, self.spec, self._options, raw, raw_named)


def by_name(app: Penstock, name: str) -> Task[..., Any, Any]:
    """The task of this name: as the application declares it, else one that takes whatever JSON keeps."""
    return Task(
        app, app.tasks.get(name) or TaskSpec(name, _anything, Lane.THREAD, False, Arguments(_anything, name))
    )


def _anything(*args: Any, **kwargs: Any) -> Any:
    """What a task looks like to a producer that has no code of it: anything that JSON keeps."""


def _stored_before(row: int) -> str:
    """What of a ``delay_many`` is stored when this row, from 0, stops it: the slices that had gone."""
    stored = row - row % SLICE
    if not stored:
        return "no row is stored"
    return f"the first {stored:,} rows are stored, no other"


def build_job(
    app: Penstock, spec: TaskSpec, options: CallOptions, args: msgspec.Raw, kwargs: msgspec.Raw
) -> Job:
    """Puts encoded arguments into an envelope and the envelope into a job.

    Raises:
        ConfigError: The task runs at most once and this call would retry it.
        PayloadTooLarge: The body is above ``max_body``.
    """
    if spec.at_most_once and options.retry is not None and options.retry["attempts"] > 1:
        raise ConfigError(f'{spec.name}: delivery="at_most_once" runs a job once; remove retry=')
    tags = spec.tags + options.tags
    body = encode_envelope(
        Envelope(
            VERSION,
            spec.name,
            args,
            kwargs,
            time.time(),
            options.headers or _NOTHING,
            list(tags) if tags else _NO_TAGS,
            None,
            options.retry,
        )
    )
    if len(body) > app.max_body:
        raise PayloadTooLarge(
            f"{spec.name}: the job's body is {len(body):,} bytes, above max_body={app.max_body:,}; "
            "store the data elsewhere and pass its key, or raise max_body"
        )
    queue = options.queue or spec.queue or app.default_queue
    expires_s = options.expires_s
    if expires_s is None and options.expires_at is None:
        expires_s = spec.expires_s
    return Job(
        f"{queue}:{options.job_id or new_id()}",
        queue,
        body,
        spec.priority if options.priority is None else options.priority,
        options.delay_s,
        options.due_at,
        expires_s,
        options.expires_at,
        options.job_id is not None,
    )
