"""Dramatiq on Redis: acknowledged when a job has run, and moved to its dead letters after retries; no results."""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers import marks, settings

broker = RedisBroker(url=settings.REDIS_URL)
STORED = settings.SETTING == "results"
if STORED:
    broker.add_middleware(Results(backend=RedisBackend(url=settings.REDIS_URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(**({"store_results": True} if STORED else {}))
def noop(number: int) -> int | None:
    done = marks.noop(number)
    # It warns of a result that is not stored.
    return done if STORED else None


@dramatiq.actor
def nap(number: int, seconds: float) -> None:
    marks.nap(number, seconds)


TASKS = {"noop": noop, "nap": nap}


def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        task.send(number, *more)


def enqueue_many(kind: str, numbers: Sequence[int]) -> None:
    """The nearest that there is: a group sends its messages one after another."""
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    dramatiq.group([task.message(number, *more) for number in numbers], broker=broker).run()
