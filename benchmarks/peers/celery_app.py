"""Celery: JSON, acknowledged early, no results, as it stands out of the box.

The best setting follows its guide to optimising: many messages fetched ahead for short tasks, no gossip and mingle.
"""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery, group

from benchmarks.peers import marks, settings

app = Celery("peers", broker=settings.REDIS_URL)
if settings.SETTING == "results":
    app.conf.result_backend = settings.REDIS_URL
if settings.SETTING.startswith("best"):
    app.conf.worker_prefetch_multiplier = 64
if settings.SETTING == "late":
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True


@app.task
def noop(number: int) -> int:
    return marks.noop(number)


@app.task
def nap(number: int, seconds: float) -> int:
    return marks.nap(number, seconds)


TASKS = {"noop": noop, "nap": nap}


def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        task.delay(number, *more)


def enqueue_many(kind: str, numbers: Sequence[int]) -> None:
    """The nearest that there is: a group sends its messages one after another."""
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    group(task.s(number, *more) for number in numbers).delay()
