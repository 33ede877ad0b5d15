"""Scripts: that the server may forget them at any time, and that they touch only the keys that they name."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from pathlib import Path

import pytest
import redis

from penstock import brokers
from penstock.brokers.redis import open_blocking
from penstock.brokers.redis.broker import RedisBroker
from penstock.brokers.redis.enqueueing import SLICE_JOBS
from penstock.brokers.redis.scripts import Command, pack
from penstock.core.job import Job, JobError, Origin
from penstock.core.lifecycle import JobState
from penstock.core.settlement import (
    Again,
    Cancelled,
    Cause,
    Dead,
    Defer,
    Done,
    Quarantine,
    Release,
    Settlement,
)
from penstock.errors import BrokerError, ConfigError
from penstock.ports.broker import Answer, Progress, Started, WorkerCard
from penstock.ports.inspector import Cancelling, Deleting, Retried
from tests.brokers.redis.bench import (
    LEASE_S,
    drain,
    new_consumer,
    opened,
    origin,
    some_jobs,
    take,
    until_waiting,
)
from tests.servers import RedisServer


async def everything(broker: RedisBroker) -> None:
    """Every script, on every path that touches keys."""
    await broker.enqueue(some_jobs(300), origin())
    await broker.enqueue(some_jobs(5, unique=True, priority=3, expires_s=500.0), origin())
    twice = some_jobs(2, unique=True, delay_s=50.0)
    await broker.enqueue(twice, origin())
    await broker.enqueue(twice, origin())
    one, two = await new_consumer(broker, "q", "other"), await new_consumer(broker)
    held = [*await take(one, 15), *await take(one)]
    order = await broker.command("w", "dump", 60)
    await one.beat(LEASE_S, [Started(held[0]), Progress(held[1], b"1"), Answer(order, "done")], held)
    assert await broker.answer(order) == "done"
    error = JobError("E", "m")
    outcomes: list[Settlement] = [Done(each) for each in held[20:]]
    outcomes += [Done(held[0], b"1", 60), Again(held[1], 0, error), Defer(held[2], 1, "r", 1)]
    outcomes += [Dead(held[3], error, Cause.ERROR), Quarantine(held[4], "odd"), Cancelled(held[5])]
    outcomes += [Release(held[6]), Release(held[7], front=False), Release(held[8], crashed=True)]
    await one.settle(outcomes, 1)
    await one.settle(outcomes, 1)
    ids = [each.id for each in held[:12]]
    await asyncio.gather(*(broker.wait(id, 0.01) for id in ids))
    for state in JobState:
        await broker.scan("q", state, None, 100)
    for change in (Cancelling(), Retried(), Deleting()):
        await broker.change(ids, change)
    await broker.workers()
    await broker.pause(["q", "new"])
    await broker.enqueue(some_jobs(1), origin())
    assert await take(two) == []
    await broker.queues()
    await broker.resume(["q", "new"])
    assert open_blocking(broker.address).extend(two.id, ["q"], 1.0)
    await take(two, 20)
    for _ in range(12):
        broker.clock_shift_s += LEASE_S / 4
        await broker.maintain(["q", "other"], 100, LEASE_S)
        await one.beat(LEASE_S)
    await take(two, 10)
    await two.close()
    await one.close()


def test_a_server_that_forgets_its_scripts_is_told_again(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            with redis.Redis.from_url(redis_url) as client:
                forget = asyncio.Event()

                async def forgetting() -> None:
                    while not forget.is_set():
                        client.script_flush()
                        await asyncio.sleep(0)

                task = asyncio.create_task(forgetting())
                await everything(broker)
                forget.set()
                await task

    asyncio.run(run())


def test_a_waiting_fetch_claims_at_once_though_the_script_was_forgotten(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            consumer = await new_consumer(broker)
            assert await take(consumer) == []
            with redis.Redis.from_url(redis_url) as client:
                waiting = asyncio.create_task(take(consumer, wait_s=5))
                await until_waiting(redis_url, 1)
                client.script_flush()
            await broker.enqueue(some_jobs(1), origin())
            assert len(await waiting) == 1
            await consumer.close()

    asyncio.run(run())


def test_scripts_forgotten_between_the_slices_of_a_call_lose_and_double_nothing(redis_url: str) -> None:
    count = 20 * SLICE_JOBS
    producer = open_blocking(brokers.address(redis_url, "test"))
    stop = threading.Event()

    def forget() -> None:
        with redis.Redis.from_url(redis_url) as client:
            while not stop.is_set():
                client.script_flush()

    thread = threading.Thread(target=forget)
    thread.start()
    try:
        for number in range(1, 6):
            answers = producer.enqueue(some_jobs(count), Origin("p", number))
            assert all(answer.added for answer in answers)
    finally:
        stop.set()
        thread.join()
        producer.close()

    async def run() -> int:
        async with opened(redis_url) as broker:
            return await drain(await new_consumer(broker))

    assert asyncio.run(run()) == 5 * count


@contextmanager
def monitored(url: str) -> Iterator[list[str]]:
    """What the server runs meanwhile, scripts' own commands included."""
    lines: list[str] = []
    with (
        redis.Redis.from_url(url) as client,
        redis.Redis.from_url(url) as marker,
        client.monitor() as monitor,
    ):
        listening = threading.Event()

        def listen() -> None:
            for command in monitor.listen():
                lines.append(("lua " if command["client_type"] == "lua" else "    ") + command["command"])
                listening.set()
                if "the end" in command["command"]:
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        while not listening.wait(0.01):
            marker.ping()
        yield lines
        marker.echo("the end")
        thread.join()


def test_scripts_touch_only_the_keys_that_they_declare(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            await everything(broker)
            with monitored(redis_url) as lines:
                await everything(broker)
        declared: set[str] = set()
        checked = 0
        for line in lines:
            words = re.findall(r"(?:[^\s\\]|\\.)+", line)
            if words[0] != "lua" and words[0].upper() in {"EVALSHA", "EVAL"}:
                declared = set(words[3 : 3 + int(words[2])])
            elif words[0] == "lua" and words[1].upper() not in {"TIME", "PUBLISH"}:
                touched = words[2:] if words[1].upper() == "EXISTS" else words[2:3]
                assert set(touched) <= declared, line
                checked += 1
        assert checked > 500

    asyncio.run(run())


def test_scripts_stay_in_one_slot(start_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    # A Cluster of one node that has all slots, as it would have noted it itself.
    nodes = tmp_path / "nodes.conf"
    nodes.write_text(
        f"{'1' * 40} :0@0 myself,master - 0 0 1 connected 0-16383\nvars currentEpoch 1 lastVoteEpoch 0\n"
    )
    server = start_redis(options={"cluster-enabled": "yes", "cluster-config-file": str(nodes)})

    async def run() -> None:
        async with opened(server.url) as broker:
            await broker.enqueue(some_jobs(300), origin())
            consumer = await new_consumer(broker)
            assert await take(consumer, wait_s=0.01)
            await consumer.beat(LEASE_S)
            await broker.maintain(["q"], 100, LEASE_S)
            assert (await broker.queues())[0].running == 200
            await consumer.close()

    asyncio.run(run())


@pytest.mark.parametrize("count", [1, SLICE_JOBS, SLICE_JOBS + 1, 3 * SLICE_JOBS])
def test_slices_are_numbered_so_that_a_repeat_adds_nothing(redis_url: str, count: int) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            jobs, call = some_jobs(count, unique=True), origin()
            first = await broker.enqueue(jobs, call)
            assert [answer.added for answer in first] == [True] * count
            assert await broker.enqueue(jobs, call) == first
            assert not any(answer.added for answer in await broker.enqueue(jobs, origin()))
            assert await drain(await new_consumer(broker)) == count

    asyncio.run(run())


def test_rounds_of_large_bodies_are_one_call(redis_url: str) -> None:
    producer = open_blocking(brokers.address(redis_url, "test"))
    jobs = [Job(f"q:{n}", "q", b"x" * 700_000) for n in range(12)]
    call = origin()
    for _ in range(2):
        assert all(answer.added for answer in producer.enqueue(jobs, call))
    producer.close()

    async def run() -> None:
        async with opened(redis_url) as broker:
            consumer = await new_consumer(broker)
            # 4 MiB a fetch.
            assert [len(await take(consumer)) for _ in range(4)] == [5, 5, 2, 0]

    asyncio.run(run())


def test_a_queue_is_known_again_after_the_server_lost_everything(redis_url: str) -> None:
    producer = open_blocking(brokers.address(redis_url, "test"))

    async def run() -> None:
        async with opened(redis_url) as broker:
            with redis.Redis.from_url(redis_url) as client:
                for enqueue in (producer.enqueue, None):
                    for _ in range(2):
                        client.flushdb()
                        if enqueue is None:
                            await broker.enqueue(some_jobs(1), origin())
                        else:
                            enqueue(some_jobs(1), origin())
                        assert [counts.queue for counts in await broker.queues()] == ["q"]

    asyncio.run(run())
    producer.close()


def test_one_id_for_two_consumers_is_noticed(redis_url: str) -> None:
    async def run() -> None:
        async with opened(redis_url) as broker:
            one = await new_consumer(broker)
            for _ in range(3):
                await take(one)
            card = WorkerCard("w", "app")
            again = await broker.consumer(["q"], window=10, lease_s=LEASE_S, card=card, id=one.id)
            await take(again)
            for _ in range(2):
                await take(one)
            with pytest.raises(BrokerError, match="another one uses this id"):
                await take(again)
            with pytest.raises(ConfigError, match="256 queues"):
                await broker.consumer([f"q{n}" for n in range(257)], window=1, lease_s=LEASE_S, card=card)

    asyncio.run(run())


def test_a_command_is_packed_by_the_kind_of_its_arguments_not_by_their_class() -> None:
    """On the main thread numbers are written out before the driver sees them."""

    class Name(StrEnum):
        MAIL = "mail"

    class Priority(IntEnum):
        HIGH = 9

    packed = Command((b"SADD", Name.MAIL, Priority.HIGH, 0.5, True, "x")).packed()
    assert packed == pack((b"SADD", "mail", 9, 0.5, 1, "x"))
