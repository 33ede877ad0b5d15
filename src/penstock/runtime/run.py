"""One delivery in this worker's hands, and what the user's code sees of it."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from penstock.core.codec import Envelope
from penstock.core.job import Delivery, plain_text
from penstock.core.options import seconds, utc
from penstock.core.retry import Retry
from penstock.core.spec import TaskSpec
from penstock.errors import LeaseLost, PenstockError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack, ExitStack


class Ask(Enum):
    """Why a run that has begun is asked to end."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    LOST = "lost"
    STOP = "stop"


_MOST_ENDS: Final = 1_000


class ChildEnds:
    """How child processes ended that ran jobs which come back: the latest thousand."""

    def __init__(self) -> None:
        self._how: dict[str, str] = {}

    def note(self, job_id: str, how: str) -> None:
        """A child process ended while it ran this job."""
        self._how.pop(job_id, None)
        self._how[job_id] = how
        if len(self._how) > _MOST_ENDS:
            del self._how[next(iter(self._how))]

    def take(self, job_id: str) -> str | None:
        """How it ended, where this worker has seen that; it is forgotten."""
        return self._how.pop(job_id, None)


class Home(NamedTuple):
    """What the process that runs a job offers it.

    Attributes:
        max_result: Bytes of the largest result that is stored.
        shell: How a command that reaches this application begins: ``penstock -A tasks:app``.
        tell: Takes a delivery's newest progress, as JSON, from any thread; it is sent with the next beat.
        keep_errors: Whether ``run.error`` is wanted, for hooks. Otherwise an error, with all that its frames hold, is
            let go as soon as it is written down.
        child_ends: How the child process ended that ran a job last, by the job's id, for what is said if it is poison.
    """

    max_result: int
    shell: str
    tell: Callable[[Delivery, bytes], None]
    keep_errors: bool = False
    child_ends: ChildEnds | None = None


def shell_of(app_reference: str) -> str:
    """How a command for the application at ``module:attribute`` begins; without one, for whatever is configured."""
    return f"penstock -A {app_reference}" if app_reference else "penstock"


class Run(msgspec.Struct, eq=False):
    """A delivery from its arrival in the worker to its settlement.

    Attributes:
        retry: The policy that holds for this job: its task's, with the numbers that the call gave.
        timeout_s: Seconds that it may take; None for no bound.
        mono_taken: When it came in, monotonic seconds.
        mono_started: When the user's function began; 0 while it has not.
        ask: Why it was asked to end, None while it was not.
        deserted: No middleware waits for its function any more, which goes on.
        noticed: The function looked at ``cancelled()`` after it was asked.
        warned: The log says that it does not heed its timeout, or that it was cancelled.
        stopping: The worker is draining.
        progress: The newest progress, as JSON.
        pool: The resources of the process that runs it.
        handle: What its lane needs to reach it: a task, a child, a crossing.
        scope: The resources that were opened for this job alone.
        error: What the attempt failed with, where ``home.keep_errors``.
    """

    delivery: Delivery
    envelope: Envelope
    spec: TaskSpec
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    home: Home
    retry: Retry
    timeout_s: float | None
    mono_taken: float = 0.0
    mono_started: float = 0.0
    ask: Ask | None = None
    deserted: bool = False
    noticed: bool = False
    warned: bool = False
    stopping: bool = False
    progress: bytes | None = None
    pool: Any = None
    handle: Any = None
    scope: Scope | None = None
    error: BaseException | None = None

    @property
    def result_ttl_s(self) -> float:
        """Seconds that its result is kept."""
        return self.spec.result_ttl_s if self.envelope.ttl_s is None else self.envelope.ttl_s


def run_of(delivery: Delivery, envelope: Envelope, spec: TaskSpec, home: Home, mono_now: float) -> Run:
    """A run of ``delivery``.

    Raises:
        InvalidArguments: The arguments do not fit the task.
        ConfigError: The job's own options make no sense.
        TypeError: It has options that this version does not know.
    """
    args, kwargs = spec.arguments.decode(envelope.args, envelope.kwargs)
    own, own_s = envelope.retry, envelope.timeout_s
    # A body may hold anything, and a time that no broker can hold would fail there, again and again.
    if envelope.ttl_s is not None:
        seconds("ttl_s", envelope.ttl_s)
    return Run(
        delivery,
        envelope,
        spec,
        args,
        kwargs,
        home,
        spec.retry if own is None or spec.at_most_once else _merged(spec.retry, own),
        spec.timeout_s if own_s is None else seconds("timeout_s", own_s),
        mono_now,
    )


def _merged(retry: Retry, own: Mapping[str, float | int | None]) -> Retry:
    """The task's policy with the numbers that the call gave; its code (on, never, delay) stays the task's."""
    numbers: dict[str, Any] = dict(own)
    delay = None if {"base", "cap", "jitter"} & set(numbers) else retry.delay
    return replace(retry, delay=delay, **numbers)


class Scope:
    """Resources opened for one job, closed when it ends."""

    __slots__ = ("astack", "stack", "values")

    def __init__(self) -> None:
        self.values: dict[object, Any] = {}
        self.stack: ExitStack | None = None
        self.astack: AsyncExitStack | None = None


# For a body that does not say when it was enqueued.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
current: ContextVar[Run] = ContextVar("penstock_run")
_NOTE_LENGTH: Final = 500
_encode = msgspec.json.Encoder().encode


class CurrentJob:
    """The job that runs here. Get it from ``current_job()``; valid while the job runs."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"<CurrentJob {self.id} {self.task} attempt {self.attempt} of {self.max_attempts}>"

    @property
    def id(self) -> str:
        """The job's id, e.g. ``mail:0193...``."""
        return self._run.delivery.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self._run.spec.name

    @property
    def queue(self) -> str:
        """The queue that it was fetched from."""
        return self._run.delivery.queue

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._run.delivery.attempt + 1

    @property
    def max_attempts(self) -> int:
        """How many attempts there may be."""
        return self._run.retry.attempts

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued, by the producer's clock, in UTC.

        It is ``1970-01-01 00:00`` where the job's body, which any program may have written, names no such moment.
        """
        return utc(self._run.envelope.at) or EPOCH

    @property
    def deadline_at(self) -> datetime | None:
        """When this run's timeout is over, in UTC; None where it has none."""
        run = self._run
        if run.timeout_s is None:
            return None
        from time import monotonic, time

        left_s = run.timeout_s - (monotonic() - run.mono_started)
        return datetime.fromtimestamp(time() + left_s, UTC)

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of the call, as the task gets them. They are for looking at."""
        return self._run.args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments of the call, as the task gets them, without what is injected."""
        run = self._run
        injected = run.spec.arguments.injected
        if not injected:
            return MappingProxyType(run.kwargs)
        return MappingProxyType({name: value for name, value in run.kwargs.items() if name not in injected})

    @property
    def headers(self) -> Mapping[str, str]:
        """What the producer sent along."""
        return self._run.envelope.headers

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Says how far the job is. Never blocks: the newest value goes out with the worker's next beat.

        Args:
            done: How much is done.
            total: Of how much, where that is known.
            note: A few words; 500 characters are kept.

        Raises:
            ValueError: A number is not finite.
            LeaseLost: The job belongs to another worker by now; let it end this run.
        """
        if not math.isfinite(done) or not math.isfinite(total or 0.0):
            raise ValueError("progress: finite numbers")
        if self._run.ask is Ask.LOST:
            raise LeaseLost(f"job {self.id} belongs to another worker now (the lease was over): what this run does "
                            "is not recorded, so end it")  # fmt: skip
        data = _encode({"done": done, "total": total, "note": plain_text(note[:_NOTE_LENGTH])})
        self._run.progress = data
        self._run.home.tell(self._run.delivery, data)

    def cancelled(self) -> bool:
        """Whether the job was asked to end: cancelled, out of time, or lost to another worker.

        Also whether its middleware waits for it no more, as after ``asyncio.wait_for(call(), 5)``.
        """
        asked = self._run.ask is not None
        if asked:
            self._run.noticed = True
        return asked or self._run.deserted

    def stopping(self) -> bool:
        """Whether the worker is draining: what can be cut short should be."""
        return self._run.stopping


def current_job() -> CurrentJob:
    """The job that runs here.

    Raises:
        PenstockError: Called outside a job.
    """
    try:
        return CurrentJob(current.get())
    except LookupError:
        raise PenstockError("current_job() was called outside a job") from None
