"""Claiming jobs: in the order of the queues, then priority, then age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.brokers.sqlite import waking
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.driver import keys
from penstock.brokers.sqlite.statements import statements
from penstock.core.job import Delivery
from penstock.core.lifecycle import KEEP_EXPIRED_S

_SQL: Final = statements("fetch")
# A line may begin with any number of expired jobs; one transaction ends so many, and the next fetch goes on.
_EXPIRED_AT_ONCE: Final = 1_000


class Want(msgspec.Struct):
    """What a fetch asks for.

    Attributes:
        key: The consumer's.
        queues: In their order.
        limit: The most to claim.
        max_bytes: The most that the bodies may have.
        suspects: The most of them that may be suspects.
        bell: Where the consumer waits, where it is to wait.
    """

    key: int
    queues: Sequence[str]
    limit: int
    max_bytes: int
    suspects: int
    bell: str | None = None


class Claimed(msgspec.Struct):
    """What a fetch got: deliveries, the keys of their jobs by token, when more is due, and whether to go on at once."""

    deliveries: list[Delivery]
    keys: dict[int, int]
    due_at: float | None = None
    again: bool = False


def look(database: Database, queues: Sequence[str], suspects: bool) -> tuple[bool, float | None]:
    """Whether there is something to claim, maybe a suspect, and when the next job is due. Reads only."""
    ready, due_at = False, None
    for name in queues:
        row = database.one(_SQL["look"], (database.namespace, name, suspects))
        if row is not None:
            ready = ready or bool(row[0])
            due_at = _sooner(due_at, row[1])
    return ready, due_at


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def claim(database: Database, now: float, want: Want) -> Claimed:
    """Claims what ``want`` asks for; where there is nothing, notes that its consumer waits."""
    claimed = Claimed([], {})
    left = want.max_bytes
    queues = [(name, key) for name in want.queues if (key := database.queue(name)) is not None]
    paused = {key for (key,) in database.rows(_SQL["paused"], (database.namespace,))}
    for name, queue in queues:
        if queue in paused:
            continue
        promote(database, now, queue, want.limit)
        for line in ("suspects", "ready"):
            room = want.limit - len(claimed.deliveries)
            if line == "suspects":
                room = min(room, want.suspects - sum(each.suspect for each in claimed.deliveries))
            if room > 0 and left >= 0 and not claimed.again:
                left = _claim_line(database, now, want, _Line(name, queue, _SQL[line], room), left, claimed)
        row = database.one(_SQL["next_due"], (queue,))
        claimed.due_at = _sooner(claimed.due_at, row[0] if row is not None else None)
    if claimed.deliveries:
        waking.stop_waiting(database, want.key)
        pass_on(database, want.queues, want.key)
    elif want.bell is not None and not claimed.again:
        waking.wait(database, [queue for _, queue in queues], want.key, want.bell)
    return claimed


def promote(database: Database, now: float, queue: int, limit: int) -> int:
    """Puts up to ``limit`` jobs that are due behind what is ready; how many."""
    due = [key for (key,) in database.rows(_SQL["due"], (queue, now, limit))]
    if due:
        first = database.draw(len(due))
        database.many(_SQL["promote"], [(first + place, key) for place, key in enumerate(due)])
        moved = database.moved(queue)
        moved.scheduled -= len(due)
        moved.ready += len(due)
    return len(due)


class _Line(NamedTuple):
    """A line to claim from: its queue, what selects its head, and how many to take of it."""

    name: str
    queue: int
    head: str
    room: int


def _claim_line(database: Database, now: float, want: Want, line: _Line, left: int, claimed: Claimed) -> int:
    """Claims from one line; how many bytes there is still room for, below 0 where the next job did not fit."""
    taken: list[tuple[Any, ...]] = []
    expired: list[int] = []
    rows = database.execute(line.head, (line.queue, line.room + _EXPIRED_AT_ONCE))
    for row in rows:
        if row[8] is not None and row[8] <= now:
            expired.append(row[0])
            if len(expired) == _EXPIRED_AT_ONCE:
                claimed.again = True
                break
            continue
        size = len(row[9])
        if size > left and (taken or claimed.deliveries):
            left = -1
            break
        left -= size
        taken.append(row)
        if len(taken) == line.room:
            break
    rows.close()
    if expired:
        expire(database, now, expired)
        database.moved(line.queue).ready -= len(expired)
    if taken:
        _deliver(database, want, line, taken, claimed)
    return left


def _deliver(database: Database, want: Want, line: _Line, rows: Sequence[Any], claimed: Claimed) -> None:
    first = database.draw(len(rows))
    database.execute(_SQL["claim"], (first, want.key, keys(row[0] for row in rows)))
    for token, row in enumerate(rows, first):
        key, id, attempt, crashes, streak, suspect, priority, retried_at, _, body = row
        claimed.deliveries.append(
            Delivery(
                id, line.name, body, token, attempt, crashes, streak, bool(suspect), priority, retried_at
            )
        )
        claimed.keys[token] = key
    moved = database.moved(line.queue)
    moved.ready -= len(rows)
    moved.running += len(rows)


def expire(database: Database, now: float, jobs: Sequence[int]) -> None:
    """Ends jobs that were not started in time; the caller counts where they stood."""
    database.many(_SQL["expire"], [(now, now + KEEP_EXPIRED_S, key) for key in jobs])
    waking.tell_ended(database, jobs)


def pass_on(database: Database, queues: Sequence[str], besides: int) -> None:
    """Wakes another consumer for each queue that has something to claim."""
    for name in queues:
        queue = database.queue(name)
        if queue is not None and database.one(_SQL["left"], (queue,)) is not None:
            waking.wake_one(database, queue, besides)
