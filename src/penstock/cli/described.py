"""A job as the command line shows it. The fields of ``--json`` are documented: they are only ever added to.

The arguments are not among them: they may be anybody's address or key.
"""

from __future__ import annotations

import msgspec

from penstock.cli.tables import iso
from penstock.core.job import JobRecord
from penstock.listing import Call, call_of


class ErrorShown(msgspec.Struct):
    """An error: its type's name and its text."""

    type: str
    message: str


class JobShown(msgspec.Struct):
    """A job in ``--json``. Moments are RFC 3339 in UTC, by the broker's clock; null is unknown or not yet.

    Attributes:
        id: With its queue: ``mail:0193...``.
        queue: Where it waits or ran.
        task: The task's name; null where the body cannot be decoded.
        state: A ``JobState``.
        priority: 0 to 9.
        attempt: Runs that ended in an error.
        crashes: Losses with their worker after it had started.
        enqueued_at: When it was made, by its producer's clock.
        due_at: When a scheduled job is due.
        expires_at: After which it is not started any more.
        ended_at: When it ended.
        worker: Who holds it.
        cancel_requested: Somebody asked to cancel it while it ran.
        cause: Why it is dead.
        error: Its last error.
        tags: Its tags.
    """

    id: str
    queue: str
    task: str | None
    state: str
    priority: int
    attempt: int
    crashes: int
    enqueued_at: str | None
    due_at: str | None
    expires_at: str | None
    ended_at: str | None
    worker: str | None
    cancel_requested: bool
    cause: str | None
    error: ErrorShown | None
    tags: list[str]


def shown(record: JobRecord, call: Call | None = None) -> JobShown:
    """A job for ``--json``."""
    call = call or call_of(record)
    error = record.error
    return JobShown(
        id=record.id,
        queue=record.queue,
        task=call.task,
        state=str(record.state),
        priority=record.priority,
        attempt=record.attempt,
        crashes=record.crashes,
        enqueued_at=iso(call.enqueued_at),
        due_at=iso(record.due_at) if record.state == "scheduled" else None,
        expires_at=iso(record.expires_at),
        ended_at=iso(record.ended_at),
        worker=record.consumer or None,
        cancel_requested=record.cancel_requested,
        cause=record.cause or None,
        error=None if error is None else ErrorShown(error.type, error.message),
        tags=call.tags,
    )
