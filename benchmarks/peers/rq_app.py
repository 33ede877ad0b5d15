"""RQ: a process forked for every job, pickled, results kept 500 s, as it stands out of the box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.peers import marks, settings

RESULT_TTL: dict[str, Any] = {"result_ttl": 0} if settings.SETTING.startswith("best") else {}
_queue: list[Queue] = []


def noop(number: int) -> int:
    return marks.noop(number)


def nap(number: int, seconds: float) -> int:
    return marks.nap(number, seconds)


TASKS = {"noop": noop, "nap": nap}


def _connected() -> Queue:
    if not _queue:
        _queue.append(Queue(connection=Redis.from_url(settings.REDIS_URL)))
    return _queue[0]


def enqueue(kind: str, numbers: Sequence[int]) -> None:
    queue, task, more = _connected(), TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        queue.enqueue(task, args=(number, *more), **RESULT_TTL)


def enqueue_many(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    _connected().enqueue_many(
        [Queue.prepare_data(task, args=(number, *more), **RESULT_TTL) for number in numbers]
    )
