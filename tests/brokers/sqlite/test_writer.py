"""The writing thread: one transaction for what has gathered, each part by itself; nothing is lost with a caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import apsw
import pytest

from penstock.brokers.sqlite import SQLiteBroker
from penstock.brokers.sqlite.database import Database
from penstock.core.job import Job, Origin
from penstock.core.settlement import Done
from penstock.errors import BrokerError, BrokerRejected
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import Deleting

MAX_BYTES = 1 << 20


class Held:
    """Keeps the writing thread busy until it is let go, so that calls gather."""

    def __init__(self, broker: SQLiteBroker) -> None:
        self._inside, self._go_on = Event(), Event()
        self._task = asyncio.create_task(broker.writer.run(self._stand, durable=False))

    def _stand(self, *_: object) -> None:
        self._inside.set()
        self._go_on.wait(30)

    async def until_busy(self) -> None:
        assert await asyncio.to_thread(self._inside.wait, 30)

    async def let_go(self) -> None:
        self._go_on.set()
        await self._task


async def _held(broker: SQLiteBroker) -> Held:
    held = Held(broker)
    await held.until_busy()
    return held


def test_what_has_gathered_is_one_transaction(broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    steps = Database._steps

    def counting(self: Database, operations: Any, durable: bool) -> Any:
        begun.append(len(operations))
        return steps(self, operations, durable)

    monkeypatch.setattr(Database, "_steps", counting)

    async def used() -> None:
        await broker.open()
        held = await _held(broker)
        begun.clear()
        calls = [
            asyncio.create_task(broker.enqueue([Job(f"q:{n}", "q", b"")], Origin(f"p{n}", 1)))
            for n in range(100)
        ]
        await asyncio.sleep(0)
        await held.let_go()
        await asyncio.gather(*calls)
        assert begun == [64, 36]
        await broker.close()

    asyncio.run(used())


def test_one_that_fails_does_not_hurt_the_others(broker: SQLiteBroker) -> None:
    async def used() -> None:
        await broker.open()

        def fails(database: Database, _: float) -> None:
            database.add_queue("q")
            database.moved(1).ready += 7
            database.execute("INSERT INTO bodies (job, body) VALUES (1000, x'')")
            raise ValueError("mine")

        def fails_in_sqlite(database: Database, _: float) -> None:
            database.execute("INSERT INTO no_such_table VALUES (1)")

        held = await _held(broker)
        calls: list[asyncio.Task[Any]] = [
            asyncio.create_task(broker.enqueue([Job("q:1", "q", b"")], Origin("p1", 1))),
            asyncio.create_task(broker.writer.run(fails, durable=True)),
            asyncio.create_task(broker.writer.run(fails_in_sqlite, durable=True)),
            asyncio.create_task(broker.enqueue([Job("q:2", "q", b"")], Origin("p2", 1))),
        ]
        await asyncio.sleep(0)
        await held.let_go()
        first, error, sqlite_error, last = await asyncio.gather(*calls, return_exceptions=True)
        assert first[0].added
        assert last[0].added
        assert isinstance(error, ValueError)
        assert isinstance(sqlite_error, BrokerRejected)
        (counts,) = await broker.queues()
        assert counts.ready == 2
        bodies = await broker.reader.run(
            lambda database, _: database.one("SELECT count(*) FROM bodies"), durable=False
        )
        assert bodies == (2,)
        await broker.close()

    asyncio.run(used())


def test_who_has_gone_before_his_turn_changes_nothing(broker: SQLiteBroker) -> None:
    async def used() -> None:
        await broker.open()
        held = await _held(broker)
        call = asyncio.create_task(broker.enqueue([Job("q:1", "q", b"")], Origin("p1", 1)))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.sleep(0)
        await held.let_go()
        assert await broker.queues() == []
        await broker.close()

    asyncio.run(used())


def test_what_a_fetch_claimed_for_nobody_comes_with_the_next(
    broker: SQLiteBroker, put: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(*[b"x" * 10] * 5)
    committed, deliver = Event(), Event()
    outcomes = broker.writer._outcomes

    def slow(calls: Any) -> Any:
        done = outcomes(calls)
        committed.set()
        deliver.wait(30)
        return done

    async def used() -> None:
        await broker.open()
        card = WorkerCard("w", "tests")
        consumer = await broker.consumer(["q"], window=10, lease_s=600, card=card)
        monkeypatch.setattr(broker.writer, "_outcomes", slow)
        fetch = asyncio.create_task(consumer.fetch(4, MAX_BYTES, 0))
        assert await asyncio.to_thread(committed.wait, 30)
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        monkeypatch.setattr(broker.writer, "_outcomes", outcomes)
        deliver.set()
        (counts,) = await broker.queues()
        assert counts.running == 4
        sizes = []
        lost = 0
        for number, (limit, max_bytes) in enumerate(
            [(1, MAX_BYTES), (4, 25), (4, MAX_BYTES), (4, MAX_BYTES)]
        ):
            deliveries = (await consumer.fetch(limit, max_bytes, 0)).deliveries
            sizes.append(len(deliveries))
            lost += len(await consumer.settle([Done(delivery) for delivery in deliveries], number))
        assert (sizes, lost) == ([1, 2, 1, 1], 0)
        await broker.close()

    asyncio.run(used())


def test_a_loop_that_is_gone_does_not_end_the_thread(broker: SQLiteBroker) -> None:
    inside, go_on = Event(), Event()

    def stand(*_: object) -> None:
        inside.set()
        go_on.wait(30)

    async def left() -> None:
        await broker.open()
        asyncio.ensure_future(broker.writer.run(stand, durable=False)).add_done_callback(lambda _: None)
        assert await asyncio.to_thread(inside.wait, 30)

    asyncio.run(left())
    go_on.set()

    async def used() -> None:
        assert await broker.open() == []
        await broker.close()

    asyncio.run(used())


def test_the_log_is_emptied_where_it_has_grown(
    broker: SQLiteBroker, put: Callable[..., list[str]], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(*[b"x" * 1000] * 1000)
    log = Path(f"{path}-wal")
    before = log.stat().st_size
    monkeypatch.setattr("penstock.brokers.sqlite.database._LONGEST_LOG_BYTES", before // 2)

    async def used() -> None:
        await broker.open()
        await broker.maintain(["q"], 100, 600)
        after = await asyncio.to_thread(log.stat)  # closing it removes the log
        assert after.st_size < before // 2
        await broker.close()

    asyncio.run(used())


def test_a_reader_in_the_way_of_emptying_it_is_no_error(
    broker: SQLiteBroker, put: Callable[..., list[str]], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.brokers.sqlite.database._LONGEST_LOG_BYTES", 0)
    put(*[b"x" * 1000] * 100)
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchall()
    put(b"{}")

    async def used() -> None:
        await broker.open()
        await broker.maintain(["q"], 100, 600)
        await broker.close()

    asyncio.run(used())
    reader.close()


def test_a_closed_consumer_says_so(broker: SQLiteBroker) -> None:
    async def used() -> None:
        await broker.open()
        consumer = await broker.consumer(["q"], window=1, lease_s=600, card=WorkerCard("w", "tests"))
        waiting = asyncio.create_task(consumer.fetch(1, MAX_BYTES, 30))
        await asyncio.sleep(0)
        await consumer.close()
        with pytest.raises(BrokerError, match="is closed"):
            await waiting
        with pytest.raises(BrokerError, match="is closed"):
            await consumer.beat(600)
        await consumer.close()
        await broker.close()

    asyncio.run(used())


def test_a_line_that_begins_with_many_expired_jobs_is_cut_into_steps(
    broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.brokers.sqlite.claiming._EXPIRED_AT_ONCE", 10)

    async def used() -> None:
        await broker.open()
        jobs = [Job(f"q:{n}", "q", b"", expires_s=5) for n in range(45)]
        await broker.enqueue([*jobs, Job("q:good", "q", b"")], Origin("p", 1))
        broker.clock_shift_s = 10
        consumer = await broker.consumer(["q"], window=1, lease_s=600, card=WorkerCard("w", "tests"))
        for wait_s in (30, 0):
            (delivery,) = (await consumer.fetch(1, MAX_BYTES, wait_s)).deliveries
            assert delivery.id == "q:good"
            (counts,) = await broker.queues()
            assert (counts.ready, counts.running) == (0, 1)
            await consumer.settle([Done(delivery)], 1)
            await broker.enqueue([Job("q:good", "q", b"")], Origin("p", 2))
        await broker.close()

    asyncio.run(used())


def test_what_is_no_id_is_not_stored(broker: SQLiteBroker) -> None:
    async def used() -> None:
        await broker.open()
        assert await broker.get("no id") is None
        assert await broker.change(["no id", "q:nothing"], Deleting()) == []
        await broker.close()

    asyncio.run(used())
