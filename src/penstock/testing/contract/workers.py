# ruff: noqa: D102 - a test's name says what it proves
"""The contract on workers: who is shown, and how orders reach them and are answered."""

from __future__ import annotations

import pytest

from penstock.ports.broker import Answer, Command, Consumer, WorkerCard
from penstock.testing.contract.bench import LEASE_S, Bench, ContractBase, case


async def _worker(bench: Bench, id: str) -> Consumer:
    card = WorkerCard(id, "app", host="h", pid=7, queues=["q"], concurrency=10, started_at=5.0, version="1")
    return await bench.broker.consumer(["q"], window=10, lease_s=LEASE_S, card=card)


class WorkersContract(ContractBase):
    """See the module's text."""

    @case("inspect")
    async def test_a_worker_is_shown_as_it_describes_itself(self, bench: Bench) -> None:
        assert list(await bench.inspector.workers()) == []
        consumer = await _worker(bench, "one")
        (card,) = await bench.inspector.workers()
        assert card.seen_at == pytest.approx(bench.now(), abs=30)
        wanted = WorkerCard(
            "one", "app", host="h", pid=7, queues=["q"], concurrency=10, started_at=5.0, version="1"
        )
        wanted.seen_at = card.seen_at
        assert card == wanted
        bench.shift(100)
        busy = WorkerCard("one", "app", state="quiet", running=3, done=4, failed=1, lost=2)
        await consumer.beat(LEASE_S, card=busy)
        (card,) = await (await bench.open_inspector()).workers()
        assert (card.state, card.running, card.done, card.failed, card.lost) == ("quiet", 3, 4, 1, 2)
        assert card.seen_at == pytest.approx(bench.now(), abs=30)

    @case("inspect")
    async def test_a_worker_is_shown_until_it_closes(self, bench: Bench) -> None:
        one, two = await _worker(bench, "one"), await _worker(bench, "two")
        assert sorted(card.id for card in await bench.inspector.workers()) == ["one", "two"]
        await one.close()
        assert [card.id for card in await bench.inspector.workers()] == ["two"]
        await two.close()
        assert list(await bench.inspector.workers()) == []

    @case("inspect")
    async def test_a_lost_worker_is_shown_until_its_jobs_are_reclaimed(self, bench: Bench) -> None:
        holding = await _worker(bench, "holding")
        await _worker(bench, "idle")
        await bench.put("a")
        await bench.take_one(holding)
        bench.shift(LEASE_S * 1.5)
        assert [card.id for card in await bench.inspector.workers()] == ["holding"]
        assert await bench.outlive_lease() == 1
        assert list(await bench.inspector.workers()) == []
        await holding.beat(LEASE_S)
        assert [card.id for card in await bench.inspector.workers()] == ["holding"]

    @case("inspect")
    async def test_a_command_is_given_until_it_is_answered(self, bench: Bench) -> None:
        one, two = await _worker(bench, "one"), await _worker(bench, "two")
        operator = await bench.open_inspector()
        quiet = await operator.command("one", "quiet", 100)
        dump = await operator.command("one", "dump", 100)
        assert quiet != dump
        for _ in range(2):
            given = (await one.beat(LEASE_S)).commands
            assert list(given) == [Command(quiet, "quiet"), Command(dump, "dump")]
            assert list((await two.beat(LEASE_S)).commands) == []
        assert await operator.answer(quiet) is None
        await one.beat(LEASE_S, [Answer(quiet, "quiet since now \N{SNOWMAN}\n")])
        assert list((await one.beat(LEASE_S)).commands) == [Command(dump, "dump")]
        assert await operator.answer(quiet) == "quiet since now \N{SNOWMAN}\n"
        assert await operator.answer(dump) is None
        await one.beat(LEASE_S, [Answer(dump, "")])
        assert await operator.answer(dump) == ""

    @case("inspect")
    async def test_a_command_expires(self, bench: Bench) -> None:
        consumer = await _worker(bench, "one")
        id = await bench.inspector.command("one", "stop", 50)
        bench.shift(60)
        assert list((await consumer.beat(LEASE_S)).commands) == []
        await bench.tend()
        assert await bench.inspector.answer(id) is None

    @case("inspect")
    async def test_an_answer_to_nothing_is_no_error(self, bench: Bench) -> None:
        consumer = await _worker(bench, "one")
        assert (await consumer.beat(LEASE_S, [Answer("nothing", "text")])).lost == frozenset()
        assert await bench.inspector.answer("something") is None
