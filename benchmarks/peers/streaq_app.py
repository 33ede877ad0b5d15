"""streaq: coroutines, pickled, on Redis streams, acknowledged when a job has run, results kept for 5 minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from streaq import Worker

from benchmarks.peers import marks, settings

BEST = settings.SETTING.startswith("best")
MORE: dict[str, Any] = {}
if BEST:
    MORE = {
        "concurrency": settings.CONCURRENCY,
        "prefetch": 4 * settings.CONCURRENCY,
        "anyio_kwargs": {"use_uvloop": True},
    }
worker: Worker[None] = Worker(redis_url=settings.REDIS_URL, **MORE)
# `silent` leaves out two lines in the log for each job.
TASK: dict[str, Any] = {"ttl": 0, "silent": True} if BEST else {}


@worker.task(**TASK)
async def noop(number: int) -> int:
    return marks.noop(number)


@worker.task(**TASK)
async def nap(number: int, seconds: float) -> int:
    return await marks.async_nap(number, seconds)


TASKS = {"noop": noop, "nap": nap}


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    async with worker:
        yield


async def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        await task.enqueue(number, *more)


async def enqueue_many(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    await worker.enqueue_many([task.enqueue(number, *more) for number in numbers])
