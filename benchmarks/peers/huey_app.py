"""Huey on Redis: threads, pickled, taken off the list before a job runs, results kept until they are read."""

from __future__ import annotations

from collections.abc import Sequence

from huey import RedisHuey

from benchmarks.peers import marks, settings

huey = RedisHuey("peers", url=settings.REDIS_URL, results=not settings.SETTING.startswith("best"))


@huey.task()
def noop(number: int) -> int:
    return marks.noop(number)


@huey.task()
def nap(number: int, seconds: float) -> int:
    return marks.nap(number, seconds)


TASKS = {"noop": noop, "nap": nap}


def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        task(number, *more)


def enqueue_many(kind: str, numbers: Sequence[int]) -> None:
    """The nearest that there is: a map sends its messages one after another."""
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    task.map((number, *more) for number in numbers)
