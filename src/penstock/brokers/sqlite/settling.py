"""Carrying out settlements: what is still held is looked up once, then each outcome is one statement for its jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.brokers.sqlite import waking
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.driver import keys
from penstock.brokers.sqlite.statements import statements
from penstock.core.codec import encode_error
from penstock.core.job import DEFERRED, Delivery, JobError
from penstock.core.lifecycle import KEEP_DEAD_S
from penstock.core.settlement import Again, Cancelled, Dead, Defer, Done, Quarantine, Release, Settlement

_SQL: Final = statements("settle")


class Held(NamedTuple):
    """A job that a consumer holds."""

    key: int
    token: int
    queue: int
    cancel_ttl_s: float | None


class Steps(msgspec.Struct):
    """What is to be written, gathered by statement; each list holds its bindings, but for the places in a line."""

    delete: list[int] = []
    end: list[tuple[Any, ...]] = []
    cancel: list[tuple[Any, ...]] = []
    put_off: list[tuple[Any, ...]] = []
    back: list[tuple[Any, ...]] = []
    front: list[tuple[Any, ...]] = []
    # Queues in which somebody who waits may find something, or something sooner.
    stirred: set[int] = set()


def find_keys(database: Database, deliveries: Sequence[Delivery], known: Mapping[int, int]) -> list[int]:
    """The keys of the deliveries' jobs: as the consumer remembers them, else looked up; 0 where there is none."""
    found: list[int] = []
    for delivery in deliveries:
        key = known.get(delivery.token)
        if key is None:
            row = database.one(_SQL["find"], (database.namespace, delivery.queue, delivery.id))
            key = row[0] if row is not None else 0
        found.append(key)
    return found


def held(database: Database, consumer: int, jobs: Sequence[int]) -> dict[int, Held]:
    """Those of ``jobs`` that ``consumer`` holds, by key."""
    return {row[0]: Held(*row) for row in _rows_held(database, consumer, jobs)}


def _rows_held(database: Database, consumer: int, jobs: Sequence[int]) -> list[tuple[Any, ...]]:
    """As ``Held``, which is only made where it is looked into: most jobs are just let go."""
    return database.rows(_SQL["held"], (consumer, keys(jobs)))


def settle(
    database: Database, now: float, consumer: int, settlements: Sequence[Settlement], known: Mapping[int, int]
) -> list[int]:
    """Carries out ``settlements``; the tokens of those that were lost."""
    found = find_keys(database, [settlement.delivery for settlement in settlements], known)
    holding = {row[0]: row for row in _rows_held(database, consumer, found)}
    lost: list[int] = []
    settled: set[int] = set()
    steps = Steps()
    for settlement, key in zip(settlements, found, strict=True):
        row = holding.get(key)
        if row is None or row[1] != settlement.delivery.token:
            lost.append(settlement.delivery.token)
        elif key not in settled:  # one that is named twice in a call is settled by the first
            settled.add(key)
            moved = database.moved(row[2])
            moved.running -= 1
            if type(settlement) is Done and settlement.ttl_s <= 0.0:  # most are this
                moved.succeeded_total += 1
                steps.delete.append(key)
            else:
                _gather(database, now, settlement, Held(*row), steps)
    write(database, steps)
    return lost


def _gather(database: Database, now: float, settlement: Settlement, job: Held, steps: Steps) -> None:
    moved = database.moved(job.queue)
    match settlement:
        case Done(result=result, ttl_s=ttl_s):
            moved.succeeded_total += 1
            steps.end.append(("succeeded", now, now + ttl_s, "", None, result, 0, job.key))
        case Again(delay_s=delay_s, error=error):
            _put_off(database, now, job, steps, (now + delay_s, encode_error(error), 1, 0))
        case Defer(delay_s=delay_s, reason=reason, streak=streak):
            error = JobError(DEFERRED, reason)
            _put_off(database, now, job, steps, (now + delay_s, encode_error(error), 0, streak))
        case Dead(error=error, cause=cause, spent=spent):
            moved.failed += 1
            moved.failed_total += 1
            forget_at = now + KEEP_DEAD_S
            steps.end.append(
                ("failed", now, forget_at, cause.value, encode_error(error), None, int(spent), job.key)
            )
        case Quarantine(reason=reason):
            moved.quarantined += 1
            error = JobError("Quarantined", reason)
            steps.end.append(
                ("quarantined", now, now + KEEP_DEAD_S, "", encode_error(error), None, 0, job.key)
            )
        case Cancelled(ttl_s=ttl_s):
            cancel(now, job.key, ttl_s, steps)
        case Release(front=front, crashed=crashed):
            give_back(
                database, now, job, steps, front=front, crashes=int(crashed), suspect=1 if crashed else None
            )


def _put_off(
    database: Database, now: float, job: Held, steps: Steps, how: tuple[float, bytes, int, int]
) -> None:
    if job.cancel_ttl_s is not None:
        cancel(now, job.key, job.cancel_ttl_s, steps, spent=how[2])
        return
    database.moved(job.queue).scheduled += 1
    steps.put_off.append((*how, job.key))
    steps.stirred.add(job.queue)


def give_back(
    database: Database,
    now: float,
    job: Held,
    steps: Steps,
    *,
    front: bool,
    crashes: int = 0,
    suspect: int | None = None,
) -> None:
    """A job that was held goes back into its line; its ``crashes`` are added, ``suspect`` None leaves it as it is."""
    if job.cancel_ttl_s is not None:
        cancel(now, job.key, job.cancel_ttl_s, steps, crashes=crashes)
        return
    database.moved(job.queue).ready += 1
    (steps.front if front else steps.back).append((crashes, suspect, job.key))
    steps.stirred.add(job.queue)


def cancel(now: float, key: int, ttl_s: float, steps: Steps, *, spent: int = 0, crashes: int = 0) -> None:
    """A job ends as cancelled; the state is kept ``ttl_s``."""
    if ttl_s <= 0:
        steps.delete.append(key)
    else:
        steps.cancel.append((now, now + ttl_s, spent, crashes, key))


def write(database: Database, steps: Steps) -> None:
    """Carries out ``steps``."""
    if steps.delete:
        delete(database, steps.delete)
    if steps.end:
        database.many(_SQL["end"], steps.end)
    if steps.cancel:
        database.many(_SQL["cancel"], steps.cancel)
    if steps.put_off:
        first = database.draw(len(steps.put_off))
        database.many(_SQL["put_off"], _placed(first, steps.put_off))
    if steps.back:
        database.many(_SQL["give_back"], _placed(database.draw(len(steps.back)), steps.back))
    if steps.front:
        first = database.draw_front(len(steps.front))
        database.many(_SQL["give_back"], _placed(first, steps.front))
    waking.tell_ended(database, [*steps.delete, *(row[-1] for row in (*steps.end, *steps.cancel))])
    for queue in steps.stirred:
        waking.wake_one(database, queue)


def delete(database: Database, jobs: Sequence[int]) -> None:
    """Removes jobs without a trace."""
    database.execute(_SQL["delete"], (keys(jobs),))
    database.execute(_SQL["delete_bodies"], (keys(jobs),))


def _placed(first: int, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(place, *row) for place, row in enumerate(rows, first)]
