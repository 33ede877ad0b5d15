"""What the tests of the Redis broker share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import redis

from penstock import brokers
from penstock.brokers.redis import open_broker
from penstock.brokers.redis.broker import RedisBroker
from penstock.brokers.redis.consumer import RedisConsumer
from penstock.core.job import Delivery, Job, Origin
from penstock.core.settlement import Done
from penstock.ports.broker import WorkerCard

LEASE_S = 600.0
MAX_BYTES = 4 << 20


def some_jobs(count: int, queue: str = "q", **options: Any) -> list[Job]:
    return [Job(f"{queue}:{token_hex(16)}", queue, b'{"v":1}', **options) for _ in range(count)]


def origin() -> Origin:
    return Origin(token_hex(16), 1)


@asynccontextmanager
async def opened(url: str, namespace: str = "test") -> AsyncIterator[RedisBroker]:
    broker = open_broker(brokers.address(url, namespace))
    try:
        await broker.open()
        yield broker
    finally:
        await broker.close()


async def new_consumer(broker: RedisBroker, *queues: str) -> RedisConsumer:
    return await broker.consumer(queues or ("q",), window=1000, lease_s=LEASE_S, card=WorkerCard("w", "app"))


async def take(consumer: RedisConsumer, limit: int = 200, wait_s: float = 0.0) -> list[Delivery]:
    return list((await consumer.fetch(limit, MAX_BYTES, wait_s)).deliveries)


async def drain(consumer: RedisConsumer) -> int:
    """Fetches and settles until nothing is left; returns how many there were."""
    count = 0
    while deliveries := await take(consumer):
        assert list(await consumer.settle([Done(each) for each in deliveries], count + 1)) == []
        count += len(deliveries)
    return count


async def until_waiting(url: str, count: int) -> None:
    """Returns once so many connections wait for a wake token."""
    with redis.Redis.from_url(url) as client:
        while client.info("clients")["blocked_clients"] < count:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
