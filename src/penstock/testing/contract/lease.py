# ruff: noqa: D102 - a test's name says what it proves
"""The contract on leases: who is taken for dead, when, and what becomes of what it held."""

from __future__ import annotations

import pytest

from penstock.core.job import JobError
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Again, Done, Release
from penstock.ports.broker import Maintained, Progress, Started, WorkerCard
from penstock.ports.inspector import Cancelling
from penstock.testing.contract.bench import LEASE_S, Bench, ContractBase, case, job, names


class LeaseContract(ContractBase):
    """See the module's text."""

    # Beats

    @case()
    async def test_beats_keep_a_lease(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        delivery = await bench.take_one(consumer)
        assert await bench.outlive_lease(meanwhile=lambda: consumer.beat(LEASE_S)) == 0
        assert list(await bench.settle(consumer, Done(delivery))) == []

    @case()
    async def test_fetches_keep_a_lease(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.take_one(consumer)
        assert await bench.outlive_lease(meanwhile=lambda: bench.take(consumer)) == 0

    @case()
    async def test_a_beat_may_lengthen_the_lease(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.take_one(consumer)
        await consumer.beat(LEASE_S * 20)
        assert await bench.outlive_lease() == 0

    @case("token")
    async def test_a_beat_names_what_is_lost_and_nothing_else(self, bench: Bench) -> None:
        consumer, other = await bench.consumer("q", "r"), await bench.consumer("q", "r")
        await bench.put("a", "b", "c", "d", queue="q")
        await bench.put("a", "b", queue="r")
        a, b, c, d, e, f = await bench.take(consumer)
        assert (await consumer.beat(LEASE_S, (), [a, b, c, d, e, f])).lost == frozenset()
        await bench.settle(consumer, Done(a), Release(b), Again(c, 10, JobError("E")), Done(f))
        beat = await consumer.beat(LEASE_S, [Progress(f, b"1"), Started(e)], [a, b, c, d])
        assert beat.lost == {a.token, b.token, c.token, f.token}
        assert (await other.beat(LEASE_S, [], [d, e])).lost == {d.token, e.token}
        assert (await consumer.beat(LEASE_S)).lost == frozenset()

    @case("inspect")
    async def test_progress_is_shown_and_the_newest_counts(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        (id,) = await bench.put("a")
        delivery = await bench.take_one(consumer)
        for data in (b'{"done":1}', bytes(range(256))):
            await consumer.beat(LEASE_S, [Progress(delivery, b"old"), Progress(delivery, data)], [delivery])
            assert (await bench.record(id)).progress == data
        await bench.settle(consumer, Release(delivery))
        assert (await consumer.beat(LEASE_S, [Progress(delivery, b"late")])).lost == {delivery.token}
        assert (await bench.record(id)).progress != b"late"

    # Reclaiming

    @case()
    async def test_a_silent_consumers_jobs_go_to_others_as_suspects(self, bench: Bench) -> None:
        silent, alive = await bench.consumer(), await bench.consumer(broker=await bench.open())
        await bench.put("a", "b", "c", "d", body=b"\0\xff")
        held = await bench.take(silent, 3)
        assert await bench.outlive_lease(meanwhile=lambda: alive.beat(LEASE_S)) == 3
        deliveries = await bench.take(alive)
        assert names(deliveries) == ["a", "b", "c", "d"]
        assert [d.suspect for d in deliveries] == [True, True, True, False]
        assert {(d.attempt, d.crashes, d.body) for d in deliveries} == {(0, 0, b"\0\xff")}
        assert all(new.token > old.token for new, old in zip(deliveries, held, strict=False))

    @case("token")
    async def test_what_was_reclaimed_cannot_be_settled(self, bench: Bench) -> None:
        silent, alive = await bench.consumer(), await bench.consumer()
        await bench.put("a", "b")
        held = await bench.take(silent)
        await bench.outlive_lease(meanwhile=lambda: alive.beat(LEASE_S))
        (new,) = await bench.take(alive, 1)
        assert list(await bench.settle(silent, *(Done(d) for d in held))) == held
        assert list(await bench.settle(alive, Done(new))) == []
        assert names(await bench.take(alive)) == ["b"]

    @case("token")
    async def test_a_consumer_that_comes_back_goes_on_under_its_id(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", "b")
        a, b = await bench.take(consumer)
        assert await bench.outlive_lease() == 2
        assert (await consumer.beat(LEASE_S, (), [a, b])).lost == {a.token, b.token}
        a2, b2 = await bench.take(consumer)
        assert (await consumer.beat(LEASE_S, (), [a, b, a2])).lost == {a.token, b.token}
        assert list(await bench.settle(consumer, Done(a), Done(a2), Release(b))) == [a, b]
        assert await bench.outlive_lease(meanwhile=lambda: consumer.beat(LEASE_S)) == 0
        assert await bench.outlive_lease() == 1
        assert names(await bench.take(consumer)) == [names([b2])[0]]

    @case()
    async def test_the_reclaimed_stand_before_what_waited_in_the_order_of_their_claims(
        self, bench: Bench
    ) -> None:
        silent, alive = await bench.consumer(), await bench.consumer()
        wanted = [str(n) for n in range(20)]
        await bench.put(*wanted)
        await bench.take(silent, 7)
        await bench.take(silent, 5)
        assert await bench.outlive_lease(meanwhile=lambda: alive.beat(LEASE_S)) == 12
        assert names(await bench.take(alive)) == wanted

    @case("inspect")
    async def test_a_reclaimed_job_that_was_to_be_cancelled_is(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        (id,) = await bench.put("a")
        await bench.take_one(consumer)
        await bench.inspector.change([id], Cancelling(ttl_s=LEASE_S * 10))
        await bench.outlive_lease()
        assert await bench.state(id) is JobState.CANCELLED
        assert await bench.take(consumer) == []

    @case("inspect")
    async def test_the_lost_are_counted(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", "b")
        await bench.take(consumer)
        await bench.outlive_lease()
        counts = await bench.counts()
        assert (counts.lost_total, counts.ready, counts.running, counts.failed_total) == (2, 2, 0, 0)

    @case()
    async def test_maintenance_does_no_more_than_its_limit_and_says_so(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put(*map(str, range(10)))
        await bench.take(consumer)
        await bench.outlive_lease(meanwhile=lambda: consumer.beat(LEASE_S))
        for _ in range(5):  # no beats from here on; the rounds keep the witness and may reclaim nothing
            bench.shift(LEASE_S / 4)
            await bench.broker.maintain(["q"], 0, LEASE_S)
        await bench.put("due-1", "due-2", "due-3", delay_s=10)
        await bench.put("over-1", "over-2", "over-3", expires_s=10)
        bench.shift(20)
        rounds = [await bench.broker.maintain(["q"], 4, LEASE_S) for _ in range(3)]
        assert [done.reclaimed for done in rounds] == [4, 4, 2]
        assert [done.promoted for done in rounds] == [3, 0, 0]
        assert [done.expired for done in rounds] == [3, 0, 0]
        assert [done.more for done in rounds] == [True, True, False]

    @case()
    async def test_maintenance_of_queues_that_hold_nothing(self, bench: Bench) -> None:
        assert (await bench.broker.maintain([], 100, LEASE_S)).more is False
        done = await bench.broker.maintain(["never", "used"], 100, LEASE_S)
        assert done == Maintained(waiting_s=done.waiting_s)

    # The witness

    @case()
    async def test_the_first_round_reclaims_nothing_for_a_lease(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.take_one(consumer)
        bench.shift(LEASE_S * 3)
        first = await bench.tend()
        assert first.reclaimed == 0
        assert first.waiting_s == pytest.approx(LEASE_S, abs=60)
        for _ in range(3):
            bench.shift(LEASE_S * 0.3)
            assert (await bench.tend()).reclaimed == 0
        bench.shift(LEASE_S * 0.3)
        last = await bench.tend()
        assert (last.reclaimed, last.waiting_s) == (1, 0)

    @case()
    async def test_after_a_gap_nothing_is_reclaimed_for_a_lease(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.take_one(consumer)
        await bench.outlive_lease(meanwhile=lambda: consumer.beat(LEASE_S))
        bench.shift(LEASE_S * 2)  # nobody could beat or look
        round_ = await bench.tend()
        assert round_.reclaimed == 0
        assert round_.waiting_s == pytest.approx(LEASE_S, abs=60)
        for _ in range(3):
            bench.shift(LEASE_S * 0.3)
            round_ = await bench.tend()
            assert round_.reclaimed == 0
            assert round_.waiting_s > 0
        bench.shift(LEASE_S * 0.3)
        assert (await bench.tend()).reclaimed == 1

    @case("token")
    async def test_who_beats_again_after_a_gap_loses_nothing(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put(*map(str, range(20)))
        deliveries = await bench.take(consumer)
        for _ in range(3):
            await bench.outlive_lease(meanwhile=lambda: consumer.beat(LEASE_S))
            bench.shift(LEASE_S * 2)
            assert (await bench.tend()).reclaimed == 0
            assert (await consumer.beat(LEASE_S, (), deliveries)).lost == frozenset()
        assert list(await bench.settle(consumer, *(Done(d) for d in deliveries))) == []

    @case()
    async def test_after_a_step_backwards_nothing_is_reclaimed_for_a_lease(self, bench: Bench) -> None:
        consumer = await bench.consumer(lease_s=LEASE_S / 4)
        await bench.outlive_lease()
        await bench.put("a")
        bench.shift(-LEASE_S * 20)
        await bench.take_one(consumer)
        bench.shift(LEASE_S / 2)
        assert (await bench.tend()).reclaimed == 0
        for _ in range(3):
            bench.shift(LEASE_S * 0.3)
            assert (await bench.tend()).reclaimed == 0
        bench.shift(LEASE_S * 0.3)
        assert (await bench.tend()).reclaimed == 1

    @case()
    async def test_a_step_backwards_does_not_lengthen_the_life_of_the_dead(self, bench: Bench) -> None:
        dead, alive = await bench.consumer(), await bench.consumer()
        await bench.put("a", "b")
        await bench.take(dead, 1)
        b = await bench.take(alive, 1)
        await bench.tend()
        bench.shift(-LEASE_S * 20)
        assert await bench.outlive_lease(meanwhile=lambda: alive.beat(LEASE_S)) == 1
        assert names(await bench.take(alive)) == ["a"]
        assert (await alive.beat(LEASE_S, (), b)).lost == frozenset()

    @case()
    async def test_a_step_backwards_leaves_a_longer_lease_its_length(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.take_one(consumer)
        await consumer.beat(LEASE_S * 5)
        await bench.tend()
        bench.shift(-LEASE_S * 20)
        assert await bench.outlive_lease() == 0  # 2.25 leases later
        assert await bench.outlive_lease() == 0
        assert await bench.outlive_lease() == 1

    @case("inspect")
    async def test_the_dead_are_not_listed_for_longer_after_a_step_backwards(self, bench: Bench) -> None:
        await bench.consumer()
        await bench.tend()
        assert len(await bench.inspector.workers()) == 1
        bench.shift(-LEASE_S * 20)
        await bench.outlive_lease()
        assert list(await bench.inspector.workers()) == []

    @case()
    async def test_the_witness_is_kept_for_each_queue(self, bench: Bench) -> None:
        consumer = await bench.consumer("q", "r")
        await bench.broker.enqueue([job("a", "q"), job("a", "r")], bench.origin())
        assert len(await bench.take(consumer)) == 2
        assert await bench.outlive_lease("q") == 1
        round_ = await bench.tend("q", "r")
        assert round_.reclaimed == 0
        assert round_.waiting_s == pytest.approx(LEASE_S, abs=60)
        assert await bench.outlive_lease("q", "r") == 1

    @case()
    async def test_the_witness_is_anybodys(self, bench: Bench) -> None:
        other = await bench.open()
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.take_one(consumer)
        reclaimed = 0
        for turn in range(12):
            bench.shift(LEASE_S * 0.3)
            broker = (bench.broker, other)[turn % 2]  # for each of them alone the gap is too long
            reclaimed += (await broker.maintain(["q"], 100, LEASE_S)).reclaimed
        assert reclaimed == 1

    # Closing, and extending from outside

    @case()
    async def test_a_consumer_that_closes_gives_back_fresh_jobs_to_the_front(self, bench: Bench) -> None:
        leaving, staying = await bench.consumer(), await bench.consumer()
        await bench.put("a", "b", "c", "d")
        a, b, _ = await bench.take(leaving, 3)
        await leaving.beat(LEASE_S, [Started(a), Started(b)])
        await leaving.close()
        await leaving.close()
        deliveries = await bench.take(staying)
        assert names(deliveries) == ["a", "b", "c", "d"]
        assert {(d.attempt, d.crashes, d.suspect) for d in deliveries} == {(0, 0, False)}
        assert list(await bench.settle(leaving, Done(a))) == [a]

    @case()
    async def test_a_consumer_that_closes_leaves_the_others_theirs(self, bench: Bench) -> None:
        leaving, staying = await bench.consumer("q", "r"), await bench.consumer("q", "r")
        await bench.put("a", "b", queue="q")
        await bench.put("c", "d", queue="r")
        first = await bench.take(staying, 1)
        assert len(await bench.take(leaving)) == 3
        await leaving.close()
        assert names(await bench.take(staying)) == ["b", "c", "d"]
        assert (await staying.beat(LEASE_S, (), first)).lost == frozenset()

    @case()
    async def test_a_lease_is_extended_from_outside(self, bench: Bench) -> None:
        consumer, guard = await bench.consumer(), bench.blocking()
        await bench.put("a")
        delivery = await bench.take_one(consumer)
        assert guard.extend(consumer.id, ["q"], LEASE_S * 20) is True
        assert await bench.outlive_lease() == 0
        assert list(await bench.settle(consumer, Done(delivery))) == []

    @case()
    async def test_a_lease_that_ended_is_not_extended(self, bench: Bench) -> None:
        consumer, guard = await bench.consumer(), bench.blocking()
        assert guard.extend("nobody", ["q"], LEASE_S) is False
        assert guard.extend(consumer.id, ["q"], LEASE_S) is True
        await consumer.close()
        assert guard.extend(consumer.id, ["q"], LEASE_S) is False

    @case()
    async def test_a_reclaimed_consumer_is_not_extended(self, bench: Bench) -> None:
        consumer, guard = await bench.consumer(), bench.blocking()
        await bench.put("a")
        await bench.take_one(consumer)
        assert await bench.outlive_lease() == 1
        assert guard.extend(consumer.id, ["q"], LEASE_S) is False

    @case()
    async def test_ids_are_random_or_the_callers(self, bench: Bench) -> None:
        card = WorkerCard("worker", "app")
        named = await bench.broker.consumer(["q"], window=1, lease_s=LEASE_S, card=card, id="drawn-by-me")
        assert named.id == "drawn-by-me"
        assert len({(await bench.consumer()).id for _ in range(5)}) == 5
