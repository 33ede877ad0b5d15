"""Chooses whom to wake: rows say who waits, so that the transaction that has something for them decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.driver import keys
from penstock.brokers.sqlite.statements import statements

_SQL: Final = statements("waking")


def work(consumer: int) -> str:
    """The message to a consumer that there may be jobs for it."""
    return f"w{consumer}"


def end(job: int) -> str:
    """The message that a job has ended."""
    return f"e{job}"


def wake_one(database: Database, queue: int, besides: int = 0) -> None:
    """Wakes one consumer that waits for ``queue``; it wakes the next one itself where it leaves jobs behind.

    Args:
        database: In a transaction; the bell is rung after its commit.
        queue: Where there is something to claim, or will be sooner than those who wait know.
        besides: The key of a consumer that knows of it.
    """
    _take_out_silent(database)
    rows = database.rows(_SQL["waiting"], (queue, besides))
    database.ringer.later([(bell, work(consumer)) for bell, consumer in rows])


def wait(database: Database, queues: Sequence[int], consumer: int, bell: str) -> None:
    """Notes that a consumer found nothing and waits."""
    database.many(_SQL["wait"], [(queue, consumer, bell) for queue in queues])


def stop_waiting(database: Database, consumer: int) -> None:
    """Notes that a consumer does not wait any more."""
    database.execute(_SQL["stop_waiting"], (consumer,))


def tell_ended(database: Database, jobs: Sequence[int]) -> None:
    """Tells who waits for the end of ``jobs``."""
    if not jobs or database.one(_SQL["any_watching"]) is None:
        return
    _take_out_silent(database)
    for bell, job in database.rows(_SQL["watching"], (keys(jobs),)):
        database.ringer.later([(bell, end(job))])
    database.execute(_SQL["stop_watching"], (keys(jobs),))


def watch(database: Database, job: int, bell: str, until: float) -> None:
    """Asks for ``end(job)`` at ``bell``; what nobody waits for any more goes by its ``until``."""
    database.execute(_SQL["watch"], (job, bell, until))


def _take_out_silent(database: Database) -> None:
    silent = [(bell,) for bell in database.ringer.silent]
    if silent:
        database.many(_SQL["silent_waiting"], silent)
        database.many(_SQL["silent_watching"], silent)
        database.ringer.silent.clear()
