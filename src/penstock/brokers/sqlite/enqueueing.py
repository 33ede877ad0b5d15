"""Storing jobs: one transaction, each queue's numbered call in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.brokers.sqlite import waking
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.driver import ids
from penstock.brokers.sqlite.settling import delete
from penstock.brokers.sqlite.statements import statements
from penstock.core.job import Enqueued, Job, Origin
from penstock.core.lifecycle import KEEP_NUMBER_S

_SQL: Final = statements("enqueue")


def enqueue(database: Database, now: float, jobs: Sequence[Job], origin: Origin) -> list[Enqueued]:
    """See ``Broker.enqueue``."""
    first = jobs[0].queue if jobs else ""
    if all(job.queue == first for job in jobs):
        return _enqueue_line(database, now, first, jobs, origin) if jobs else []
    by_queue: dict[str, list[Job]] = {}
    for job in jobs:
        by_queue.setdefault(job.queue, []).append(job)
    answers = {
        queue: iter(_enqueue_line(database, now, queue, part, origin)) for queue, part in by_queue.items()
    }
    return [next(answers[job.queue]) for job in jobs]


def _enqueue_line(
    database: Database, now: float, name: str, jobs: Sequence[Job], origin: Origin
) -> list[Enqueued]:
    queue = database.add_queue(name)
    last = database.one(_SQL["last_call"], (origin.producer, queue, now - KEEP_NUMBER_S))
    if last is not None and origin.number <= last[0]:
        # One that came late was stored when it was new.
        return _answer(jobs, last[1] if origin.number == last[0] else None)
    left_out = _store(database, now, queue, jobs)
    database.execute(_SQL["note_call"], (origin.producer, queue, origin.number, left_out, now))
    return _answer(jobs, left_out)


def _answer(jobs: Sequence[Job], left_out: bytes | None) -> list[Enqueued]:
    if left_out is None:
        return [Enqueued(job.id, True) for job in jobs]
    return [Enqueued(job.id, not out) for job, out in zip(jobs, left_out, strict=True)]


def _store(database: Database, now: float, queue: int, jobs: Sequence[Job]) -> bytes | None:
    """Stores what is not there yet; a byte for each job, 1 where it was, or None where none was."""
    first = database.draw(len(jobs))
    rows = [_row(first + place, queue, job, now) for place, job in enumerate(jobs)]
    soonest = min(row[5] for row in rows)
    known = database.one(_SQL["next_due"], (queue,)) if soonest > now else None
    left_out: bytes | None = None
    if not _add(database, rows):
        _forget(database, now, queue, jobs)
        database.many(_SQL["add_job"], rows)
        stored = {key for (key,) in database.rows(_SQL["added"], (first, first + len(jobs) - 1))}
        left_out = bytes(row[0] not in stored for row in rows)
        rows = [row for row in rows if row[0] in stored]
    bodies = [(row[0], jobs[row[0] - first].body) for row in rows]
    database.many(_SQL["add_body"], bodies)
    moved = database.moved(queue)
    ready = sum(row[3] == "ready" for row in rows)
    moved.ready += ready
    moved.scheduled += len(rows) - ready
    moved.enqueued_total += len(rows)
    if ready or (rows and soonest > now and (known is None or soonest < known[0])):
        waking.wake_one(database, queue)
    return left_out


def _row(key: int, queue: int, job: Job, now: float) -> tuple[int, int, str, str, int, float, float | None]:
    due_at = job.due_at if job.due_at is not None else now + job.delay_s
    expires_at = job.expires_at
    if expires_at is None and job.expires_s is not None:
        expires_at = now + job.expires_s
    return key, queue, job.id, "scheduled" if due_at > now else "ready", job.priority, due_at, expires_at


def _add(database: Database, rows: Sequence[tuple[object, ...]]) -> bool:
    """Adds jobs whose ids are all new; else adds some of them and says so."""
    before = database.connection.total_changes()
    database.many(_SQL["add_job"], rows)
    return database.connection.total_changes() - before == len(rows)


def _forget(database: Database, now: float, queue: int, jobs: Sequence[Job]) -> None:
    """Forgets outcomes of these ids whose time is up and that nobody has pruned yet."""
    wanted = ids(job.id for job in jobs)
    over = [key for (key,) in database.rows(_SQL["forgotten"], (queue, now, wanted))]
    if over:
        delete(database, over)
