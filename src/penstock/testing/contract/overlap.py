# ruff: noqa: D102 - a test's name says what it proves
"""The contract on calls that overlap, that are given up half-way, and on lines that grow long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from penstock.core.job import Delivery, Enqueued, JobError, Origin
from penstock.core.lifecycle import KEEP_DEAD_JOBS
from penstock.core.settlement import Again, Cause, Dead, Done, Release
from penstock.ports.broker import Consumer
from penstock.testing.contract.bench import LEASE_S, LONG_S, MAX_BYTES, Bench, ContractBase, case, job, names

_SLICE = 2000


async def _given_up(call: Callable[[], Awaitable[object]], after_s: float) -> None:
    """Makes a call and cancels it that much later, wherever it stands then."""
    task = asyncio.ensure_future(call())
    await asyncio.sleep(after_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class OverlapContract(ContractBase):
    """See the module's text."""

    # At the same time

    @case()
    async def test_a_consumers_fetch_settle_and_beat_may_overlap(self, bench: Bench) -> None:
        producers = [await bench.open() for _ in range(2)]
        consumers = [await bench.consumer("q", "r", broker=await bench.open()) for _ in range(2)]
        wanted = {f"{producer}-{n}-{m}" for producer in range(2) for n in range(10) for m in range(10)}
        done: Counter[str] = Counter()

        async def produce(producer: int) -> None:
            for n in range(10):
                jobs = [job(f"{producer}-{n}-{m}", "qr"[m % 2]) for m in range(10)]
                await producers[producer].enqueue(jobs, Origin(f"producer-{producer}", n + 1))

        async def consume(consumer: Consumer) -> None:
            number = 0
            settling: asyncio.Task[Sequence[Delivery]] | None = None
            while done.total() < len(wanted):
                fetched = await consumer.fetch(7, MAX_BYTES, 0.2)
                if settling is not None:
                    assert list(await settling) == []
                deliveries = list(fetched.deliveries)
                number += 1
                first = [d for d in deliveries if not d.attempt]
                settling = asyncio.create_task(
                    consumer.settle(
                        [Again(d, 0, JobError("E")) if d in first else Done(d) for d in deliveries], number
                    )
                )
                done.update(names([d for d in deliveries if d not in first]))
                assert (await consumer.beat(LEASE_S, (), ())).lost == frozenset()
            if settling is not None:
                await settling

        async with asyncio.timeout(LONG_S):
            await asyncio.gather(*map(produce, range(2)), *map(consume, consumers))
        assert done == Counter(wanted)

    @case()
    async def test_producers_of_one_instance_may_overlap(self, bench: Bench) -> None:
        async def produce(producer: int) -> None:
            for n in range(10):
                await bench.broker.enqueue([job(f"{producer}-{n}")], Origin(f"p{producer}", n + 1))

        await asyncio.gather(*map(produce, range(20)))
        deliveries = await bench.take(await bench.consumer(), 1000)
        assert sorted(names(deliveries)) == sorted(f"{p}-{n}" for p in range(20) for n in range(10))
        for producer in range(20):
            mine = [name for name in names(deliveries) if name.startswith(f"{producer}-")]
            assert mine == [f"{producer}-{n}" for n in range(10)]

    # Given up

    @case("unique")
    async def test_an_enqueue_that_was_given_up_is_repeated_without_harm(self, bench: Bench) -> None:
        ids: list[str] = []
        for turn in range(12):
            jobs, origin = [job(str(turn), unique=False)], Origin("me", turn + 1)
            await _given_up(partial(bench.broker.enqueue, jobs, origin), turn * 2e-4)
            assert await bench.enqueue(jobs, origin) == [Enqueued(jobs[0].id, True)]
            ids.append(jobs[0].id)
        assert [delivery.id for delivery in await bench.take(await bench.consumer())] == ids

    @case("token")
    async def test_a_settle_that_was_given_up_is_repeated_without_harm(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        for turn in range(12):
            await bench.put(str(turn))
            delivery = await bench.take_one(consumer)
            assert delivery.id == f"q:{turn}"
            settlements = [Done(delivery, str(turn).encode(), 1000)]
            await _given_up(partial(consumer.settle, settlements, turn + 1), turn * 2e-4)
            assert list(await consumer.settle(settlements, turn + 1)) == []

    @case("inspect")
    async def test_a_look_that_was_given_up_leaves_its_answer_to_nobody(self, bench: Bench) -> None:
        ids = await bench.put(*map(str, range(12)))
        consumer = await bench.consumer()
        for turn, id in enumerate(ids):
            await _given_up(partial(bench.inspector.get, id), turn * 1e-4)
            await _given_up(lambda: consumer.beat(LEASE_S), turn * 1e-4)
            await _given_up(bench.tend, turn * 1e-4)
            other = ids[turn - 1]
            assert (await bench.record(other)).id == other
            assert (await consumer.beat(LEASE_S)).lost == frozenset()
            assert (await bench.counts()).enqueued_total == 12

    # Long lines

    @case()
    async def test_a_limited_round_reclaims_so_that_all_end_up_in_order(self, bench: Bench) -> None:
        silent, alive = await bench.consumer(), await bench.consumer()
        wanted = [f"{n:03}" for n in range(250)]
        await bench.put(*wanted)
        while len(await bench.take(silent, 100)) == 100:
            pass
        for _ in range(8):
            await alive.beat(LEASE_S)
            await bench.broker.maintain(["q"], 0, LEASE_S)
            bench.shift(LEASE_S / 4)
        while (await bench.broker.maintain(["q"], 40, LEASE_S)).more:
            pass
        got: list[str] = []
        while deliveries := await bench.take(alive, 100):
            got += names(deliveries)
        assert got == wanted

    @case()
    async def test_a_consumer_that_closes_gives_back_many_in_order(self, bench: Bench) -> None:
        leaving, staying = await bench.consumer(), await bench.consumer()
        wanted = [f"{n:04}" for n in range(1200)]
        await bench.put(*wanted)
        held = 0
        while held < 1100:
            held += len(await bench.take(leaving, 100))
        await leaving.close()
        got: list[str] = []
        while deliveries := await bench.take(staying, 200):
            got += names(deliveries)
        assert got == wanted

    @case()
    async def test_many_released_in_one_call_keep_their_order(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        wanted = [f"{n:03}" for n in range(500)]
        await bench.put(*wanted, "last")
        held: list[Delivery] = []
        while len(held) < 500:
            held += await bench.take(consumer, 100)
        assert list(await bench.settle(consumer, *(Release(delivery) for delivery in held))) == []
        got: list[str] = []
        while deliveries := await bench.take(consumer, 200):
            got += names(deliveries)
        assert got == [*wanted, "last"]

    @case("inspect")
    async def test_no_more_of_the_dead_are_kept_than_promised(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        surplus = 30
        total = KEEP_DEAD_JOBS + surplus
        for first in range(0, total, _SLICE):
            slice_ = [f"{n:06}" for n in range(first, min(first + _SLICE, total))]
            await bench.put(*slice_, body=b"", unique=False)
            while deliveries := await bench.take(consumer, 1000):
                await bench.settle(
                    consumer, *(Dead(d, JobError("E"), Cause.REJECTED, spent=False) for d in deliveries)
                )
        assert (await bench.counts()).failed == total
        pruned = 0
        while (round_ := await bench.tend(limit=20)).pruned:
            pruned += round_.pruned
        assert pruned == surplus
        counts = await bench.counts()
        assert (counts.failed, counts.failed_total) == (KEEP_DEAD_JOBS, total)
        assert await bench.inspector.get(f"q:{surplus - 1:06}") is None
        assert await bench.inspector.get(f"q:{surplus:06}") is not None
