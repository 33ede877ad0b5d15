"""An operator's acts: retrying, cancelling, deleting, giving orders."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import Final

from penstock.brokers.sqlite import settling, waking
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.settling import Steps
from penstock.brokers.sqlite.statements import statements
from penstock.core.job import check_queue_name, queue_of
from penstock.errors import ConfigError
from penstock.ports.inspector import Cancelling, Change, Deleting, Retried

_SQL: Final = statements("inspect")


def change(database: Database, now: float, ids: Sequence[str], change: Change) -> list[str]:
    """See ``Inspector.change``."""
    steps = Steps()
    changed = [id for id in ids if _change_one(database, now, id, change, steps)]
    settling.write(database, steps)
    return changed


def _change_one(database: Database, now: float, id: str, change: Change, steps: Steps) -> bool:
    try:
        queue = database.queue(queue_of(id))
    except ConfigError:  # nothing is stored under what is no id
        return False
    row = database.one(_SQL["find"], (queue, id, now))
    if queue is None or row is None:
        return False
    key, state = row
    match change:
        case Retried():
            return _retry(database, now, queue, key, state, steps)
        case Cancelling(ttl_s=ttl_s):
            return _cancel(database, now, queue, key, state, ttl_s, steps)
        case Deleting():
            if state == "running":
                return False
            _leave(database, queue, state)
            settling.delete(database, [key])
            return True


def _retry(database: Database, now: float, queue: int, key: int, state: str, steps: Steps) -> bool:
    if state in {"failed", "quarantined"}:
        statement = _SQL["retry_dead"]
    elif state == "scheduled":
        statement = _SQL["retry_scheduled"]
    else:
        return False
    database.execute(statement, (database.draw(1), now, key))
    _leave(database, queue, state)
    database.moved(queue).ready += 1
    steps.stirred.add(queue)
    return True


def _cancel(
    database: Database, now: float, queue: int, key: int, state: str, ttl_s: float, steps: Steps
) -> bool:
    if state == "running":
        database.execute(_SQL["ask_to_cancel"], (ttl_s, key))
        return True
    if state not in {"ready", "scheduled"}:
        return False
    _leave(database, queue, state)
    settling.cancel(now, key, ttl_s, steps)
    return True


def _leave(database: Database, queue: int, state: str) -> None:
    """Counts that a job is no longer in ``state``."""
    moved = database.moved(queue)
    match state:
        case "ready":
            moved.ready -= 1
        case "scheduled":
            moved.scheduled -= 1
        case "failed":
            moved.failed -= 1
        case "quarantined":
            moved.quarantined -= 1
        case _:  # the other ends are not counted
            return


def pause(database: Database, queues: Sequence[str], paused: bool) -> list[str]:
    """See ``Inspector.pause`` and ``Inspector.resume``; the queues of which that is news."""
    changed: list[str] = []
    for name in [check_queue_name(name) for name in dict.fromkeys(queues)]:
        queue = database.add_queue(name)
        database.execute(_SQL["pause"], (queue, int(paused)))
        if database.connection.changes():
            changed.append(name)
            waking.wake_one(database, queue)
    return changed


def command(database: Database, now: float, worker: str, verb: str, expires_s: float) -> str:
    """See ``Inspector.command``."""
    id = token_hex(8)
    database.execute(_SQL["command"], (database.namespace, id, worker, verb, now + expires_s))
    return id
