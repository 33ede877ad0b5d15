"""Hooks: functions of the application that are told what happens in a worker. What may be one, and what it is told.

``telling.py`` calls them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from penstock.core.codec import Envelope, Undecodable, decode_envelope
from penstock.core.options import utc
from penstock.core.settlement import Again, Cause, Dead, Settlement
from penstock.core.spec import TaskSpec
from penstock.errors import ConfigError, JobFailed
from penstock.runtime.onion import name_of, takes
from penstock.runtime.outcome import TimedOut
from penstock.runtime.run import EPOCH, CurrentJob, Run

Hook: TypeAlias = Callable[..., Any]

# The names of what each is called with.
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker_start": (),
    "worker_stop": (),
    "attempt_failed": ("job", "error"),
    "job_failed": ("job", "error"),
}
FAILURES: Final = ("attempt_failed", "job_failed")
# Of the causes of death, those where no attempt of this worker failed.
_WITHOUT_ATTEMPT: Final = frozenset({Cause.POISON, Cause.LOST, Cause.ARGUMENTS, Cause.UNKNOWN_TASK})


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """A job of which an attempt failed, or all; a value, which may be kept.

    Attributes:
        id: The job's id.
        task: The task's name; empty where the job's body cannot be read.
        queue: The queue that it was fetched from.
        attempt: Which attempt this was, from 1.
        max_attempts: How many there may be; 0 where no worker here knows the task.
        headers: What the producer sent along.
        tags: The words that its call gave to find it by.
        args: The positional arguments; empty where they do not fit the task.
        kwargs: The keyword arguments, without what is injected.
        enqueued_at: When it was enqueued, by the producer's clock, in UTC; ``1970-01-01 00:00`` where the body names no
            such moment.
        cause: Why it failed, as ``JobFailed.cause`` has it: ``error``, ``timeout``, ``rejected``, ``result``,
            ``poison``, ``arguments``, ``unknown_task`` or ``lost``.
        retry_in: Seconds until the next attempt; None where there is none, and the job is in the dead set.
    """

    id: str
    task: str
    queue: str
    attempt: int
    max_attempts: int
    headers: Mapping[str, str]
    tags: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    enqueued_at: datetime
    cause: str
    retry_in: float | None


def check_hook(event: str, function: object) -> None:
    """Refuses what cannot be a hook of this event.

    Raises:
        ConfigError: There is no such event, or the function cannot be called with what the event tells.
    """
    check_event(event)
    if not callable(function):
        raise ConfigError(f"@app.on({event!r}): {function!r} is no function")
    name, told = name_of(function), ", ".join(EVENTS[event])
    wanted = f"write: def {name.rpartition('.')[2]}({told})"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"hook {name} has a yield, so that nothing would run; {wanted}")
    if not takes(function, len(EVENTS[event])):
        raise ConfigError(
            f"hook {name}{inspect.signature(function)} is called with ({told}) by {event}; {wanted}, or async def"
        )


def check_event(event: str) -> None:
    """Refuses an event that there is not.

    Raises:
        ConfigError: There is no such event.
    """
    if event not in EVENTS:
        raise ConfigError(f"@app.on({event!r}): there is no such event; there are: {', '.join(EVENTS)}")


def events_of(settlement: Again | Dead) -> tuple[str, ...]:
    """What a settlement is for hooks."""
    if isinstance(settlement, Again):
        return ("attempt_failed",)
    return ("job_failed",) if settlement.cause in _WITHOUT_ATTEMPT else FAILURES


def failed_job(
    settlement: Again | Dead, run: Run | None, registry: Mapping[str, TaskSpec]
) -> tuple[FailedJob, Exception]:
    """What hooks are told of a settlement; ``run`` is None where it never became one."""
    delivery = settlement.delivery
    envelope = _envelope(settlement) if run is None else run.envelope
    spec = registry.get(envelope.task)
    kept = None
    if run is not None:
        kept, run.error = run.error, None  # its frames are let go with the hooks' call
    cause = _cause(settlement, kept)
    job = FailedJob(
        id=delivery.id,
        task=envelope.task,
        queue=delivery.queue,
        attempt=delivery.attempt + 1,
        max_attempts=run.retry.attempts if run is not None else 0 if spec is None else spec.retry.attempts,
        headers=envelope.headers,
        tags=tuple(envelope.tags),
        args=() if run is None else run.args,
        kwargs={} if run is None else dict(CurrentJob(run).kwargs),
        enqueued_at=utc(envelope.at) or EPOCH,
        cause=cause,
        retry_in=settlement.delay_s if isinstance(settlement, Again) else None,
    )
    return job, _error(settlement, kept, cause)


def _envelope(settlement: Settlement) -> Envelope:
    try:
        return decode_envelope(settlement.delivery.body)
    except Undecodable:
        return Envelope(0, "")


def _cause(settlement: Again | Dead, kept: BaseException | None) -> str:
    if isinstance(settlement, Dead):
        return settlement.cause.value
    late = isinstance(kept, TimedOut) or settlement.error.type == TimedOut.__name__
    return (Cause.TIMEOUT if late else Cause.ERROR).value


def _error(settlement: Again | Dead, kept: BaseException | None, cause: str) -> Exception:
    """The exception itself where it was raised in this process, else what is known of it, as ``result()`` raises it."""
    if isinstance(kept, Exception):
        return kept
    data = settlement.error
    error = JobFailed(
        f"{data.type}: {data.message}",
        cause=cause,
        error_type=data.type,
        error_message=data.message,
        remote_traceback=data.traceback,
    )
    error.__cause__ = kept
    return error
