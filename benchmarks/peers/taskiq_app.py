"""Taskiq on Redis streams: acknowledged when a job has run; no results. Its fastest broker is a list without acks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from taskiq import AsyncBroker
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers import marks, settings

broker: AsyncBroker
if settings.SETTING.startswith("best, no acks"):
    broker = ListQueueBroker(settings.REDIS_URL)
elif settings.SETTING.startswith("best"):
    broker = RedisStreamBroker(settings.REDIS_URL, xread_count=1000)
else:
    broker = RedisStreamBroker(settings.REDIS_URL)
if settings.SETTING == "results":
    broker = broker.with_result_backend(RedisAsyncResultBackend(settings.REDIS_URL))


@broker.task
async def noop(number: int) -> int:
    return marks.noop(number)


@broker.task
async def nap(number: int, seconds: float) -> int:
    return await marks.async_nap(number, seconds)


TASKS = {"noop": noop, "nap": nap}


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


async def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        await task.kiq(number, *more)
