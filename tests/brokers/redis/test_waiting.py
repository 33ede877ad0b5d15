"""Idle consumers: who is woken, how soon, and that nobody sleeps beside work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from penstock import brokers
from penstock.brokers.redis import inbox, open_blocking
from penstock.brokers.redis.broker import RedisBroker
from penstock.brokers.redis.consumer import RedisConsumer
from penstock.brokers.redis.keys import QUEUES
from penstock.brokers.redis.scripts import Command
from penstock.core.job import Delivery
from penstock.core.settlement import Done, Release
from penstock.errors import BrokerUnavailable
from tests.brokers.redis.bench import MAX_BYTES, new_consumer, opened, origin, some_jobs, take, until_waiting
from tests.servers import RedisServer

# Far below the second after which everybody looks anyway, far above what a wake-up takes on a busy machine.
SOON_S = 0.5


async def idle(broker: RedisBroker, url: str, count: int, *queues: str) -> list[RedisConsumer]:
    """Consumers that have looked and found nothing."""
    consumers = [await new_consumer(broker, *queues) for _ in range(count)]
    for consumer in consumers:
        assert await take(consumer) == []
    return consumers


def waiting(consumer: RedisConsumer, limit: int = 200) -> asyncio.Task[list[Delivery]]:
    return asyncio.create_task(take(consumer, limit, wait_s=10))


def test_one_job_wakes_one_consumer_at_once(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            consumers = await idle(broker, redis_url, 3)
            tasks = [waiting(consumer) for consumer in consumers]
            await until_waiting(redis_url, 3)
            began = time.monotonic()
            await broker.enqueue(some_jobs(1), origin())
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert time.monotonic() - began < SOON_S
            assert [len(task.result()) for task in done] == [1]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    asyncio.run(run())


def test_a_fetch_that_leaves_jobs_behind_wakes_the_next(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            consumers = await idle(broker, redis_url, 5)
            tasks = [waiting(consumer, 20) for consumer in consumers]
            await until_waiting(redis_url, 5)
            began = time.monotonic()
            await broker.enqueue(some_jobs(100), origin())
            assert [len(each) for each in await asyncio.gather(*tasks)] == [20] * 5
            assert time.monotonic() - began < SOON_S

    asyncio.run(run())


def test_a_consumer_that_was_cancelled_with_a_token_leaves_nobody_asleep(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            for round_ in range(30):
                first, second = await idle(broker, redis_url, 2)
                tasks = [waiting(first), waiting(second)]
                await until_waiting(redis_url, 2)
                await broker.enqueue(some_jobs(1), origin())
                for _ in range(round_ % 5):
                    await asyncio.sleep(0)
                tasks[0].cancel()
                await asyncio.gather(tasks[0], return_exceptions=True)
                began = time.monotonic()
                await first.close()
                if tasks[0].cancelled() or not tasks[0].result():
                    assert len(await tasks[1]) == 1
                    assert time.monotonic() - began < SOON_S
                else:
                    assert len(await tasks[1]) == 1  # what the first one had was given back
                await second.close()
                assert sum(counts.running for counts in await broker.queues()) == 0
                deliveries = await take(third := await new_consumer(broker))
                await third.settle([Done(each) for each in deliveries], 1)
                await third.close()

    asyncio.run(run())


def test_a_delay_is_kept_to_the_moment(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            (consumer,) = await idle(broker, redis_url, 1)
            later = waiting(consumer)
            await until_waiting(redis_url, 1)
            began = time.monotonic()
            await broker.enqueue(some_jobs(1, delay_s=5.0), origin())
            await broker.enqueue(some_jobs(1, delay_s=0.2), origin())
            assert len(await later) == 1
            assert 0.19 < time.monotonic() - began < 0.2 + SOON_S

    asyncio.run(run())


def test_any_of_several_queues_wakes_and_their_order_holds(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            (consumer,) = await idle(broker, redis_url, 1, "a", "b", "c")
            task = waiting(consumer)
            await until_waiting(redis_url, 1)
            await broker.enqueue(some_jobs(1, "c"), origin())
            assert [each.queue for each in await task] == ["c"]
            await broker.enqueue([*some_jobs(2, "b"), *some_jobs(2, "a"), *some_jobs(2, "c")], origin())
            assert [each.queue for each in await take(consumer, 5)] == ["a", "a", "b", "b", "c"]

    asyncio.run(run())


def test_what_is_released_wakes_another(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            await broker.enqueue(some_jobs(1), origin())
            holder = await new_consumer(broker)
            (delivery,) = await take(holder)
            (other,) = await idle(broker, redis_url, 1)
            task = waiting(other)
            await until_waiting(redis_url, 1)
            began = time.monotonic()
            await holder.settle([Release(delivery)], 1)
            assert len(await task) == 1
            assert time.monotonic() - began < SOON_S

    asyncio.run(run())


def test_an_idle_consumer_calls_twice_a_second_and_keeps_its_connections(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            (consumer,) = await idle(broker, redis_url, 1)
            with redis.Redis.from_url(redis_url) as client:
                before = client.info("stats")
                await consumer.fetch(200, MAX_BYTES, 2.0)
                after = client.info("stats")
            commands = after["total_commands_processed"] - before["total_commands_processed"]
            # Each look is a pop and a script behind it, with the script's own commands; the two calls of INFO.
            scripts = int(commands) - 2
            assert scripts <= 2 * 40, commands
            assert after["total_connections_received"] == before["total_connections_received"]

    asyncio.run(run())


def test_the_blocking_producer_wakes_too(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            (consumer,) = await idle(broker, redis_url, 1)
            task = waiting(consumer)
            await until_waiting(redis_url, 1)
            producer = open_blocking(brokers.address(redis_url, "test"))
            began = time.monotonic()
            await asyncio.to_thread(producer.enqueue, some_jobs(1), origin())
            assert len(await task) == 1
            assert time.monotonic() - began < SOON_S
            producer.close()

    asyncio.run(run())


def test_only_ends_that_somebody_waits_for_are_published(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker, opened(redis_url) as waiter:
            consumer = await new_consumer(broker)
            jobs = some_jobs(3)
            await broker.enqueue(jobs, origin())
            one, two, three = await take(consumer)
            with redis.Redis.from_url(redis_url) as client:
                client.config_resetstat()
                await consumer.settle([Done(one, b"1", 60)], 1)
                assert "cmdstat_publish" not in client.info("commandstats")
                asking = [asyncio.create_task(waiter.wait(two.id, 10)) for _ in range(3)]
                await until_watched(client)
                began = time.monotonic()
                await consumer.settle([Done(two, b"2", 60), Done(three, b"3", 60)], 2)
                assert [record and record.result for record in await asyncio.gather(*asking)] == [b"2"] * 3
                assert time.monotonic() - began < SOON_S
                assert client.info("commandstats")["cmdstat_publish"]["calls"] == 1
                assert not client.exists("{test:q:0}:watched")
            await consumer.close()

    asyncio.run(run())


async def until_watched(client: redis.Redis) -> None:
    while not client.exists("{test:q:0}:watched"):  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(("result", "looks"), [(b'"short"', 0), (b'"' + b"long" * 3000 + b'"', 1)])
def test_an_end_that_is_short_is_told_whole(redis_url: str, result: bytes, looks: int) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker, opened(redis_url) as waiter:
            consumer = await new_consumer(broker)
            await broker.enqueue(some_jobs(1), origin())
            (delivery,) = await take(consumer)
            asking = asyncio.create_task(waiter.wait(delivery.id, 10))
            with redis.Redis.from_url(redis_url) as client:
                await until_watched(client)
                client.config_resetstat()
                await consumer.settle([Done(delivery, result, 60)], 1)
                record = await asking
                assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1 + looks
            assert record == await broker.get(delivery.id)
            assert record is not None
            assert record.result == result
            await consumer.close()

    asyncio.run(run())


def test_the_end_of_a_former_job_of_this_id_is_not_this_one_s(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker, opened(redis_url) as waiter:
            consumer = await new_consumer(broker)
            (job,) = some_jobs(1)
            with redis.Redis.from_url(redis_url) as client:
                for number in range(1, 4):
                    await broker.enqueue([job], origin())
                    asking = asyncio.create_task(waiter.wait(job.id, 10))
                    await until_watched(client)
                    # What the server said when the one before ended is read only now.
                    late = f'{job.id}\nsucceeded 1 2 0 0 0 {(number - 1) * QUEUES + 1}\n1"former"'
                    client.publish(waiter._inbox.channel, late)
                    await until_calm(client)
                    (delivery,) = await take(consumer)
                    await consumer.settle([Done(delivery, b'"this"', 0.01)], number)
                    record = await asking
                    assert record is None or record.result == b'"this"'
                    while client.exists("{test:q:0}:o:" + job.id):  # noqa: ASYNC110 - the server forgets it by itself
                        await asyncio.sleep(0.001)
            await consumer.close()

    asyncio.run(run())


async def until_calm(client: redis.Redis) -> None:
    """Returns once the waiter has looked again: it has heard what it was told."""
    calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    while client.info("commandstats")["cmdstat_evalsha"]["calls"] == calls:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)


def test_a_wait_survives_a_lost_notification_stream(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker, opened(redis_url) as waiter:
            consumer = await new_consumer(broker)
            jobs = some_jobs(2)
            await broker.enqueue(jobs, origin())
            for number, delivery in enumerate(await take(consumer), 1):
                asking = asyncio.create_task(waiter.wait(delivery.id, 10))
                with redis.Redis.from_url(redis_url) as client:
                    await until_watched(client)
                    client.client_kill_filter(_type="pubsub")
                await consumer.settle([Done(delivery, b"1", 60)], number)
                record = await asking
                assert record is not None
                assert record.result == b"1"
            await consumer.close()

    asyncio.run(run())


def test_a_stream_that_says_nothing_is_asked_and_given_up(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_QUIET_S", 0.1)
    server = start_redis()

    async def run() -> None:
        async with opened(server.url) as broker:
            consumer = await new_consumer(broker)
            await broker.enqueue(some_jobs(1), origin())
            (delivery,) = await take(consumer)
            asking = asyncio.create_task(broker.wait(delivery.id, 20))
            listener = await _listener(broker)
            await asyncio.wait([listener], timeout=0.5)
            assert not listener.done()  # it answers when it is asked
            server.pause()
            await listener
            server.resume()
            await consumer.settle([Done(delivery, b"1", 60)], 1)
            record = await asking
            assert record is not None
            assert record.result == b"1"
            await consumer.close()

    async def _listener(broker: RedisBroker) -> asyncio.Task[None]:
        while broker._inbox._listener is None:  # noqa: ASYNC110 - set by the task beside this one
            await asyncio.sleep(0)
        return broker._inbox._listener

    asyncio.run(run())


def test_who_wants_suspects_again_looks_at_once(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            lost, consumer = await new_consumer(broker), await new_consumer(broker)
            await broker.enqueue(some_jobs(1), origin())
            (delivery,) = await take(lost)
            assert not (await consumer.fetch(10, MAX_BYTES, 0.01, suspects=0)).deliveries
            await lost.settle([Release(delivery, crashed=True)], 1)
            assert not (await consumer.fetch(10, MAX_BYTES, 0.01, suspects=0)).deliveries
            began = time.monotonic()
            assert len((await consumer.fetch(10, MAX_BYTES, 5.0, suspects=1)).deliveries) == 1
            assert time.monotonic() - began < SOON_S

    asyncio.run(run())


def test_who_waits_for_a_paused_queue_rests_though_jobs_come(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            await broker.enqueue(some_jobs(50), origin())
            await broker.enqueue(some_jobs(50, delay_s=0.2), origin())
            await broker.pause(["q"])
            (consumer,) = await idle(broker, redis_url, 1, "q", "other")
            tells = "evalsha"
            with redis.Redis.from_url(redis_url) as client:
                before = _calls(client, tells)
                task = asyncio.create_task(take(consumer, wait_s=2.0))
                await until_waiting(redis_url, 1)
                for _ in range(20):
                    await broker.enqueue(some_jobs(1), origin())
                assert await task == []
                # The enqueues, and of the consumer a claim and a look at the other queue, at most twice a second.
                assert _calls(client, tells) - before <= 20 + 2 * 4
                assert client.llen(broker.keys("q").wake) == 0

    asyncio.run(run())


def _calls(client: redis.Redis, command: str) -> int:
    stats = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


def test_what_a_lost_reply_carried_goes_back_though_its_queue_is_paused(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            consumer = await new_consumer(broker)
            await broker.enqueue(some_jobs(3), origin())
            assert len(await take(consumer, 2)) == 2
            # As after a fetch whose answer never came.
            consumer._newest["q"], consumer._unsure = -1, {"q"}
            await broker.pause(["q"])
            assert await take(consumer) == []
            (counts,) = await broker.queues()
            assert (counts.ready, counts.running) == (3, 0)
            await broker.resume(["q"])
            assert len(await take(consumer)) == 3

    asyncio.run(run())


def _loses(consumer: RedisConsumer, monkeypatch: pytest.MonkeyPatch, queue: str) -> None:
    """The next reply that carries jobs of ``queue`` is lost on the way back."""
    real = consumer._fetching.call

    async def call(commands: Sequence[Command], answer_s: float = 1.0) -> list[Any]:
        replies = await real(commands, answer_s)
        for reply in replies:
            if (
                isinstance(reply, list)
                and len(reply) == 7
                and reply[2][:1]
                and reply[2][0].startswith(queue.encode())
            ):
                monkeypatch.setattr(consumer._fetching, "call", real)
                raise BrokerUnavailable("the reply was lost")
        return replies

    monkeypatch.setattr(consumer._fetching, "call", call)


async def _running(broker: RedisBroker) -> dict[str, tuple[int, int]]:
    return {each.queue: (each.ready, each.running) for each in await broker.queues()}


@pytest.mark.parametrize("lost", ["first", "second"])
def test_what_a_lost_reply_carried_of_either_queue_is_claimed_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            consumer = await new_consumer(broker, "first", "second")
            jobs = [*some_jobs(2, "first"), *some_jobs(3, "second")]
            await broker.enqueue(jobs, origin())
            _loses(consumer, monkeypatch, lost)
            with pytest.raises(BrokerUnavailable):
                await take(consumer)
            # What the reply before the lost one carried never reached anybody either.
            assert [each.id for each in await take(consumer)] == [job.id for job in jobs]
            assert await _running(broker) == {"first": (0, 2), "second": (0, 3)}

    asyncio.run(run())


def test_what_a_lost_reply_carried_goes_back_though_its_queue_has_no_turn(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            consumer, beside = (
                await new_consumer(broker, "first", "second"),
                await new_consumer(broker, "second"),
            )
            await broker.enqueue(some_jobs(3, "second"), origin())
            _loses(consumer, monkeypatch, "second")
            with pytest.raises(BrokerUnavailable):
                await take(consumer)
            assert await _running(broker) == {"second": (0, 3)}
            await broker.enqueue(some_jobs(5, "first"), origin())
            assert [each.queue for each in await take(consumer, 2)] == ["first", "first"]
            assert len(await take(beside)) == 3

    asyncio.run(run())


def test_more_than_one_step_of_a_fetch_is_claimed_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            consumer = await new_consumer(broker, "first", "second")
            jobs = [*some_jobs(450, "first"), *some_jobs(1, "second")]
            await broker.enqueue(jobs, origin())
            _loses(consumer, monkeypatch, "second")
            with pytest.raises(BrokerUnavailable):
                await take(consumer, 500)
            assert [each.id for each in await take(consumer, 500)] == [job.id for job in jobs]

    asyncio.run(run())
