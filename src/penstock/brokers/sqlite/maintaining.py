"""Maintenance: what is due, lost, expired or over, a limited number of jobs a round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.brokers.sqlite import claiming, settling
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.settling import Held, Steps
from penstock.brokers.sqlite.statements import statements
from penstock.core.lifecycle import KEEP_DEAD_JOBS, KEEP_NUMBER_S
from penstock.ports.broker import Maintained

_SQL: Final = statements("maintain")


def maintain(database: Database, now: float, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
    """See ``Broker.maintain``."""
    promoted = reclaimed = expired = pruned = dropped = 0
    waiting_s = 0.0
    for name in queues:
        queue = database.add_queue(name)
        expired += _expire(database, now, queue, limit - expired)
        promoted += claiming.promote(database, now, queue, limit - promoted)
        wait_s, dead = _witness(database, now, queue, lease_s)
        waiting_s = max(waiting_s, wait_s)
        if not wait_s:
            reclaimed += _reclaim(database, now, queue, limit - reclaimed)
        some, dead_ones = _prune(database, now, queue, dead, limit - pruned)
        pruned += some
        dropped += dead_ones
    _prune_the_rest(database, now, limit)
    database.trim_after_commit()
    more = limit in (promoted, reclaimed, expired, pruned)
    return Maintained(promoted, reclaimed, expired, pruned, dropped, more, waiting_s)


def _expire(database: Database, now: float, queue: int, limit: int) -> int:
    rows = database.rows(_SQL["expired"], (queue, now, limit))
    if rows:
        moved = database.moved(queue)
        ready = sum(state == "ready" for _, state in rows)
        moved.ready -= ready
        moved.scheduled -= len(rows) - ready
        claiming.expire(database, now, [key for key, _ in rows])
    return len(rows)


def _witness(database: Database, now: float, queue: int, lease_s: float) -> tuple[float, int]:
    """Notes that maintenance looks now; seconds for which it shall still reclaim nothing, and how many are dead.

    After a gap (a pause, a restart) or a step backwards nobody can tell who is dead: every lease may be over because
    nobody could beat. A step backwards is taken off the leases as well: who is dead would else live that much longer.
    """
    seen_at, patient_until, dead = database.one(_SQL["witness"], (queue,))
    if seen_at is None or not 0 <= now - seen_at <= lease_s / 2:
        patient_until = now + lease_s
    if seen_at is not None and seen_at > now:
        database.execute(_SQL["shorten_leases"], (database.namespace, now + lease_s, seen_at - now))
    database.execute(_SQL["note_witness"], (queue, now, patient_until))
    return max(0.0, patient_until - now), dead


def _reclaim(database: Database, now: float, queue: int, limit: int) -> int:
    rows = database.rows(_SQL["lost"], (queue, now, limit))[::-1]
    if not rows:
        return 0
    first = database.draw(len(rows))
    database.many(_SQL["raise_token"], [(first + place, row[0]) for place, row in enumerate(rows)])
    moved = database.moved(queue)
    moved.running -= len(rows)
    moved.lost_total += len(rows)
    steps = Steps()
    for key, token, cancel_ttl_s, started in rows:
        job = Held(key, token, queue, cancel_ttl_s)
        settling.give_back(database, now, job, steps, front=True, crashes=started, suspect=1)
    settling.write(database, steps)
    return len(rows)


def _prune(database: Database, now: float, queue: int, dead: int, limit: int) -> tuple[int, int]:
    """How many were forgotten, and how many of them were dead or quarantined."""
    rows = database.rows(_SQL["over"], (queue, now, limit))
    surplus = min(dead - KEEP_DEAD_JOBS, limit - len(rows))
    if surplus > 0:
        over = {key for key, _ in rows}
        oldest = database.rows(_SQL["oldest_dead"], (queue, surplus))
        rows += [row for row in oldest if row[0] not in over]
    if rows:
        moved = database.moved(queue)
        moved.failed -= sum(state == "failed" for _, state in rows)
        moved.quarantined -= sum(state == "quarantined" for _, state in rows)
        settling.delete(database, [key for key, _ in rows])
    return len(rows), sum(state in {"failed", "quarantined"} for _, state in rows)


def _prune_the_rest(database: Database, now: float, limit: int) -> None:
    database.execute(_SQL["old_producers"], (now - KEEP_NUMBER_S, limit))
    database.execute(_SQL["end_leases"], (now,))
    database.execute(_SQL["old_consumers"], (now - KEEP_NUMBER_S,))
    database.execute(_SQL["old_commands"], (now,))
    database.execute(_SQL["old_waiting"], (now,))
    database.execute(_SQL["old_watching"], (now,))
