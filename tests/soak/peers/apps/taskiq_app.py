"""Taskiq: a stream with acknowledgements as it stands; for safety claimed again after seconds; or a list."""

from __future__ import annotations

import datetime
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from taskiq import AsyncBroker, TaskiqScheduler
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource, RedisStreamBroker

from tests.soak.peers.apps import told, work

# By default 10 minutes, and the lock of who looks for them is never released by a worker that is killed.
SHORT: dict[str, Any] = {"idle_timeout": told.TIMEOUT_S * 1000, "unacknowledged_lock_timeout": 5.0}
broker: AsyncBroker
if os.environ.get("PEERS_SETTING") == "list":
    broker = ListQueueBroker(told.REDIS_URL)
else:
    broker = RedisStreamBroker(told.REDIS_URL, **(SHORT if told.SHORT else {}))
source = ListRedisScheduleSource(told.REDIS_URL)
scheduler = TaskiqScheduler(broker, [source])


@broker.task
async def job(key: str, seconds: float) -> None:
    await work.async_job(key, seconds)


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    await broker.startup()
    await source.startup()
    yield
    await broker.shutdown()


async def enqueue(key: str, seconds: float, delay_s: float) -> None:
    if delay_s:
        when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=delay_s)
        await job.schedule_by_time(source, when, key, seconds)
    else:
        await job.kiq(key, seconds)
