"""Bells: who is woken, by what, and what happens where nobody can ring."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from penstock.brokers.sqlite import SQLiteBroker, SQLiteProducer, bells
from penstock.brokers.sqlite.consumer import SQLiteConsumer
from penstock.core.job import Job, JobError, JobRecord, Origin
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Again, Done, Release
from penstock.ports.broker import WorkerCard

MAX_BYTES = 1 << 20
# Long enough that a test which is not woken fails by the tests' time limit, not by chance.
LONG_S = 50.0
Put = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def _only_the_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself."""
    monkeypatch.setattr(bells, "_LOOK_AGAIN_S", LONG_S)


def on_loop(broker: SQLiteBroker, test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await broker.open()
        try:
            await test()
        finally:
            await broker.close()

    asyncio.run(run())


async def _consumer(broker: SQLiteBroker, *queues: str) -> SQLiteConsumer:
    card = WorkerCard("w", "tests")
    return await broker.consumer(queues or ("q",), window=10, lease_s=600, card=card)


async def _waits(broker: SQLiteBroker, consumer: SQLiteConsumer, limit: int = 10) -> asyncio.Task[Any]:
    """A fetch that has found nothing and waits."""
    task = asyncio.create_task(consumer.fetch(limit, MAX_BYTES, LONG_S))

    def waiting(database: Any, _: float) -> int:
        return len(database.rows("SELECT 1 FROM waiting WHERE consumer = ?", (consumer._key,)))

    while not await broker.writer.run(waiting, durable=False):
        pass
    return task


def test_a_job_wakes_who_waits_for_its_queue(broker: SQLiteBroker, put: Put) -> None:
    async def test() -> None:
        wanted, other = await _consumer(broker, "a", "b"), await _consumer(broker, "c")
        fetch, idle = await _waits(broker, wanted), await _waits(broker, other)
        (id,) = await asyncio.to_thread(put, b"{}", queue="b")
        assert [delivery.id for delivery in (await fetch).deliveries] == [id]
        assert not idle.done()
        idle.cancel()

    on_loop(broker, test)


def test_each_wakes_the_next_while_something_is_left(broker: SQLiteBroker, put: Put) -> None:
    async def test() -> None:
        fetches = [await _waits(broker, await _consumer(broker), limit=1) for _ in range(4)]
        ids = await asyncio.to_thread(put, *[b"{}"] * 4)  # one call, one bell
        fetched = await asyncio.gather(*fetches)
        assert sorted(each.deliveries[0].id for each in fetched) == sorted(ids)

    on_loop(broker, test)


def test_a_job_due_sooner_than_they_know_wakes_one(broker: SQLiteBroker, producer: SQLiteProducer) -> None:
    async def test() -> None:
        fetch = await _waits(broker, await _consumer(broker))
        jobs = [Job("q:later", "q", b"", delay_s=LONG_S), Job("q:soon", "q", b"", delay_s=0.1)]
        for number, job in enumerate(jobs):
            await asyncio.to_thread(producer.enqueue, [job], Origin("p", number))
        assert [delivery.id for delivery in (await fetch).deliveries] == ["q:soon"]

    on_loop(broker, test)


def test_what_goes_back_wakes_one(broker: SQLiteBroker, put: Put) -> None:
    async def test() -> None:
        holder = await _consumer(broker)
        await asyncio.to_thread(put, b"1", b"2")
        first, second = (await holder.fetch(2, MAX_BYTES, 0)).deliveries
        fetch = await _waits(broker, await _consumer(broker))
        await holder.settle([Release(first)], 1)
        assert [delivery.body for delivery in (await fetch).deliveries] == [b"1"]
        fetch = await _waits(broker, await _consumer(broker))
        await holder.settle([Again(second, 0.05, JobError("E"))], 2)
        assert [delivery.body for delivery in (await fetch).deliveries] == [b"2"]

    on_loop(broker, test)


def test_a_bell_that_nobody_answers_is_passed_on(broker: SQLiteBroker, put: Put) -> None:
    async def test() -> None:
        quiet, other = await _consumer(broker), await _consumer(broker)
        fetch = await _waits(broker, quiet)
        fetch.cancel()
        with suppress(asyncio.CancelledError):
            await fetch
        wanted = await _waits(broker, other)
        (id,) = await asyncio.to_thread(put, b"{}")  # the first in line is rung, who fetches no more
        assert [delivery.id for delivery in (await wanted).deliveries] == [id]

    on_loop(broker, test)


def test_a_dead_processs_bell_is_passed_over_and_forgotten(
    broker: SQLiteBroker, put: Put, path: Path
) -> None:
    async def test() -> None:
        fetch = await _waits(broker, await _consumer(broker))
        folder = bells.folder_of(path)
        dead = folder / "penstock-dead"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
            bell.bind(str(dead))
        await broker.writer.run(
            lambda database, _: database.many(
                "INSERT INTO waiting (queue, consumer, bell) VALUES (1, ?, ?)",
                [(-1, "penstock-dead"), (-2, "penstock-gone")],
            ),
            durable=False,
        )
        (id,) = await asyncio.to_thread(put, b"{}")
        assert [delivery.id for delivery in (await fetch).deliveries] == [id]
        await asyncio.to_thread(put, b"{}")
        rows = await broker.writer.run(
            lambda database, _: database.rows("SELECT bell FROM waiting"), durable=False
        )
        assert rows == []
        sweeper = bells.Bell(path, "penstock")
        sweeper.make()
        assert [entry.name for entry in folder.iterdir() if entry == dead] == []
        sweeper.take_down()

    on_loop(broker, test)


def test_a_bell_that_is_full_is_passed_over(broker: SQLiteBroker, path: Path) -> None:
    async def test() -> None:
        await broker.hang_bell()
        full = bells.Bell(path, "penstock")
        full.make()
        ringer = bells.Ringer(path)
        heard = asyncio.Event()
        broker.bell.listen("w2", heard.set)
        for _ in range(2000):  # more than the kernel keeps
            ringer.later([(full.name, "w1"), (broker.bell.name, "w2")])
            ringer.ring()
            if heard.is_set():
                break
            await asyncio.sleep(0)
        assert heard.is_set()
        assert ringer.silent == set()
        ringer.close()
        full.take_down()

    on_loop(broker, test)


def test_a_wait_for_a_job_hears_of_its_end(broker: SQLiteBroker, put: Put) -> None:
    async def test() -> None:
        (id,) = await asyncio.to_thread(put, b"{}")
        consumer = await _consumer(broker)
        (delivery,) = (await consumer.fetch(1, MAX_BYTES, 0)).deliveries
        waits = [asyncio.create_task(broker.wait(id, LONG_S)) for _ in range(3)]

        def watching(database: Any, _: float) -> bool:
            return bool(database.rows("SELECT 1 FROM watching"))

        while not await broker.writer.run(watching, durable=False):
            pass
        await consumer.settle([Done(delivery, b"7", 60)], 1)
        records: list[JobRecord | None] = list(await asyncio.gather(*waits))
        assert [record.state for record in records if record is not None] == [JobState.SUCCEEDED] * 3
        assert not await broker.writer.run(watching, durable=False)

    on_loop(broker, test)


def test_where_no_bell_can_be_hung_it_looks_often_and_says_so(
    broker: SQLiteBroker, put: Put, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bells.folder_of(path).write_text("a file where the folder should be")

    async def test() -> None:
        consumer = await _consumer(broker)
        with caplog.at_level(logging.WARNING):
            fetch = asyncio.create_task(consumer.fetch(1, MAX_BYTES, LONG_S))
            (id,) = await asyncio.to_thread(put, b"{}")
            assert [delivery.id for delivery in (await fetch).deliveries] == [id]
            await consumer.fetch(1, MAX_BYTES, 0.01)
        assert caplog.text.count("no bell can be hung") == 1

    on_loop(broker, test)


def test_where_there_are_no_such_sockets_it_looks_often(
    broker: SQLiteBroker, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "HEARD", False)
    broker.bell.usable = False

    async def test() -> None:
        consumer = await _consumer(broker)
        fetch = asyncio.create_task(consumer.fetch(1, MAX_BYTES, LONG_S))
        (id,) = await asyncio.to_thread(put, b"{}")
        assert [delivery.id for delivery in (await fetch).deliveries] == [id]

    on_loop(broker, test)


def test_a_path_longer_than_a_sockets_may_be(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25) / ("longer" * 10)
    folder.mkdir(parents=True)
    broker = SQLiteBroker(folder / "jobs.db", "a namespace/with: odd ☃ letters" * 3)

    async def test() -> None:
        fetch = await _waits(broker, await _consumer(broker))
        await broker.enqueue([Job("q:1", "q", b"")], Origin("p", 1))
        assert len((await fetch).deliveries) == 1

    on_loop(broker, test)


def test_nothing_blocks_the_loop(broker: SQLiteBroker, no_blocking: BlockBuster) -> None:
    async def test() -> None:
        consumer = await _consumer(broker)
        fetch = await _waits(broker, consumer)
        await broker.enqueue([Job("q:1", "q", b"")], Origin("p", 1))
        (delivery,) = (await fetch).deliveries
        wait = asyncio.create_task(broker.wait("q:1", LONG_S))
        await consumer.beat(600, (), [delivery])
        await consumer.settle([Done(delivery)], 1)
        await wait
        await broker.maintain(["q"], 100, 600)
        await broker.queues()
        await broker.workers()
        await consumer.close()

    on_loop(broker, test)


def test_a_paused_queue_wakes_nobody_until_it_goes_on(broker: SQLiteBroker, put: Put) -> None:
    async def test() -> None:
        consumer = await _consumer(broker)
        await broker.pause(["q"])
        ids = await asyncio.to_thread(put, b"{}", b"{}")
        fetch = await _waits(broker, consumer)
        rung: list[bool] = []
        ring = consumer._rung.set
        consumer._rung.set = lambda: (rung.append(True), ring())[1]  # type: ignore[method-assign]  # counts
        ids += await asyncio.to_thread(put, b"{}")
        # One more round through the bell's own loop: what had been rung would have been heard by now.
        heard = asyncio.Event()
        broker.bell.listen("probe", heard.set)
        broker.writer.database.ringer.later([(broker.bell.name, "probe")])
        await broker.writer.run(lambda _database, _now: None, durable=False)
        await heard.wait()
        assert (rung, fetch.done()) == ([], False)
        await broker.resume(["q"])
        assert [delivery.id for delivery in (await fetch).deliveries] == ids

    on_loop(broker, test)
