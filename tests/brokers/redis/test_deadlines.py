"""A server that does not answer: everybody gets a typed error after a bounded time, and goes on when it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from penstock import brokers
from penstock.brokers.redis import open_blocking, open_broker
from penstock.brokers.redis.url import ANSWER_S, CONNECT_S
from penstock.core.settlement import Done
from penstock.errors import BrokerUnavailable
from tests.brokers.redis.bench import LEASE_S, drain, new_consumer, opened, origin, some_jobs, take
from tests.servers import RedisServer

StartRedis = Callable[..., RedisServer]

# What a call may take beyond its deadline on a busy machine.
SLACK_S = 3.0


async def fails_in_time(call: Awaitable[object]) -> None:
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        await call
    assert time.monotonic() - began < 2 * (CONNECT_S + ANSWER_S) + SLACK_S


def test_a_frozen_server_is_given_up_and_used_again(start_redis: StartRedis) -> None:
    server = start_redis()

    async def run() -> None:
        async with opened(server.url) as broker:
            await broker.enqueue(some_jobs(30), origin())
            consumer = await new_consumer(broker)
            held = await take(consumer, 10)
            producer = open_blocking(brokers.address(server.url, "test"))
            jobs, call = some_jobs(10), origin()
            server.pause()
            await asyncio.gather(
                fails_in_time(take(consumer, 10)),
                fails_in_time(consumer.settle([Done(each) for each in held], 1)),
                fails_in_time(consumer.beat(LEASE_S)),
                fails_in_time(broker.enqueue(jobs, call)),
                *(fails_in_time(broker.enqueue(some_jobs(1), origin())) for _ in range(5)),
                fails_in_time(broker.queues()),
                fails_in_time(asyncio.to_thread(producer.enqueue, some_jobs(1), origin())),
                # A new connection is taken by the kernel and then not answered.
                fails_in_time(open_broker(brokers.address(server.url)).open()),
            )
            server.resume()
            # What stands in the frozen server's buffers runs now, beside what is said anew.
            assert list(await consumer.settle([Done(each) for each in held], 1)) == []
            assert all(answer.added for answer in await broker.enqueue(jobs, call))
            assert (await consumer.beat(LEASE_S)).lost == frozenset()
            assert 30 <= await drain_numbered(consumer) <= 36
            (counts,) = await broker.queues()
            assert (counts.ready, counts.running) == (0, 0)
            producer.close()

    async def drain_numbered(consumer: object) -> int:
        count = 0
        while deliveries := await take(consumer):  # type: ignore[arg-type]  # a consumer
            count += len(deliveries)
            assert list(await consumer.settle([Done(each) for each in deliveries], 10 + count)) == []  # type: ignore[attr-defined]
        return count

    asyncio.run(run())


def test_a_restarted_server_is_found_again(start_redis: StartRedis) -> None:
    server = start_redis(appendonly=True, appendfsync="always")

    async def run() -> None:
        async with opened(server.url) as broker:
            consumer = await new_consumer(broker)
            producer = open_blocking(brokers.address(server.url, "test"))
            producer.enqueue(some_jobs(10), origin())
            assert len(await take(consumer, 5)) == 5
            waiting = asyncio.create_task(take(await new_consumer(broker, "empty"), wait_s=30))
            await asyncio.sleep(0)
            server.kill()
            with pytest.raises(BrokerUnavailable):
                await waiting
            with pytest.raises(BrokerUnavailable):
                await take(consumer)
            server.start()
            assert len(await take(consumer)) == 5
            # Quiet meanwhile, so that it need not fail to find out.
            await asyncio.sleep(0.6)
            producer.enqueue(some_jobs(1), origin())
            assert await drain(consumer) == 1
            producer.close()

    asyncio.run(run())


def test_a_cancelled_fetch_is_not_answered_to_somebody_else(start_redis: StartRedis) -> None:
    server = start_redis()

    async def run() -> None:
        async with opened(server.url) as broker:
            consumer = await new_consumer(broker)
            await broker.enqueue(some_jobs(50), origin())
            seen: list[str] = []
            for round_ in range(200):
                fetching = asyncio.create_task(take(consumer, 1))
                for _ in range(round_ % 7):
                    await asyncio.sleep(0)
                fetching.cancel()
                try:
                    seen += [each.id for each in await fetching]
                except asyncio.CancelledError:
                    continue
            seen += [each.id for each in await take(consumer)]
            assert len(seen) == len(set(seen)) == 50
            await consumer.close()

    asyncio.run(run())
