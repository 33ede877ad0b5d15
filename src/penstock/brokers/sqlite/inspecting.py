"""Looking at what is stored: records, counts, slices."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.statements import statements
from penstock.core.codec import decode_error
from penstock.core.job import JobRecord, queue_of
from penstock.core.lifecycle import JobState
from penstock.errors import ConfigError
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import Page, QueueCounts

_SQL: Final = statements("inspect")
_cards: Final = msgspec.json.Decoder(WorkerCard)

# Before everything: numbers begin at 1, moments after 1970; a place at the front is below 0, a priority at most 10.
_BEGINNINGS: Final[dict[JobState, tuple[float, int]]] = {
    JobState.READY: (11, 0),
    JobState.SCHEDULED: (-1.0, 0),
    JobState.RUNNING: (-1, 0),
    JobState.FAILED: (-1.0, 0),
    JobState.QUARANTINED: (-1.0, 0),
}


def queues(database: Database) -> list[QueueCounts]:
    """See ``Inspector.queues``."""
    rows = database.rows(_SQL["queues"], (database.namespace,))
    # SQLite knows no booleans.
    told: list[list[Any]] = [[*row[:-1], bool(row[-1])] for row in rows]
    return [QueueCounts(*row) for row in told]


class Found(NamedTuple):
    """A job's record, and its key in the file."""

    record: JobRecord
    key: int


def find(database: Database, now: float, id: str) -> Found | None:
    """A job; None where none of this id is stored."""
    try:
        queue = queue_of(id)
    except ConfigError:  # nothing is stored under what is no id
        return None
    row = database.one(_SQL["get"], (database.namespace, queue, id, now))
    return Found(_record(row), row[-1]) if row is not None else None


def _record(row: Any) -> JobRecord:
    (
        id, queue, state, body, priority, attempt, crashes, token, due_at, expires_at, ended_at,
        consumer, cancel_ttl_s, cause, error, result, progress, _,
    ) = row  # fmt: skip
    return JobRecord(
        id=id,
        queue=queue,
        state=JobState(state),
        body=body,
        priority=priority,
        attempt=attempt,
        crashes=crashes,
        token=token,
        due_at=due_at,
        expires_at=expires_at or 0.0,
        ended_at=ended_at,
        consumer=consumer or "",
        cancel_requested=cancel_ttl_s is not None,
        cause=cause,
        error=decode_error(error) if error is not None else None,
        result=result,
        progress=progress,
    )


def scan(database: Database, queue: str, state: JobState, cursor: str | None, limit: int) -> Page:
    """See ``Inspector.scan``; the cursor is where the last job seen stands in its index."""
    key = database.queue(queue)
    if key is None or state not in _BEGINNINGS or limit <= 0:
        return Page([], None)
    behind = _BEGINNINGS[state] if cursor is None else msgspec.json.decode(cursor, type=tuple[float, int])
    rows = database.rows(_SQL[state.value], (key, *behind, limit))
    records = [_record(database.one(_SQL["record"], (job,))) for job, _, _ in rows]
    more = len(rows) == limit
    return Page(records, msgspec.json.encode(rows[-1][1:]).decode() if more else None)


def workers(database: Database, now: float) -> list[WorkerCard]:
    """See ``Inspector.workers``."""
    rows = database.rows(_SQL["workers"], (database.namespace, now))
    return [_cards.decode(card) for (card,) in rows]


def answer(database: Database, command: str) -> str | None:
    """See ``Inspector.answer``."""
    row = database.one(_SQL["answer"], (database.namespace, command))
    return row[0] if row is not None else None
