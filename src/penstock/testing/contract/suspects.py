# ruff: noqa: D102 - a test's name says what it proves
"""The contract on suspects: only a job that had been marked started when its worker was lost counts a crash."""

from __future__ import annotations

from penstock.core.job import JobError
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Again, Cause, Dead, Defer, Done, Quarantine, Release
from penstock.ports.broker import Started
from penstock.ports.inspector import Cancelling, Retried
from penstock.testing.contract.bench import LEASE_S, MAX_BYTES, Bench, ContractBase, case, names


class SuspectContract(ContractBase):
    """See the module's text."""

    @case()
    async def test_only_the_started_count_a_crash(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("guilty", "innocent")
        for crashes in range(4):
            guilty, innocent = await bench.take(consumer)
            assert (guilty.crashes, guilty.attempt, guilty.suspect) == (crashes, 0, crashes > 0)
            assert (innocent.crashes, innocent.attempt, innocent.suspect) == (0, 0, crashes > 0)
            assert (await consumer.beat(LEASE_S, [Started(guilty)], [guilty, innocent])).lost == frozenset()
            assert await bench.outlive_lease() == 2

    @case()
    async def test_the_mark_holds_for_its_delivery_alone(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", "b")
        a, b = await bench.take(consumer)
        await consumer.beat(LEASE_S, [Started(a), Started(b)])
        await bench.settle(consumer, Release(a), Again(b, 0, JobError("E")))
        assert len(await bench.take(consumer)) == 2
        assert await bench.outlive_lease() == 2
        assert [(d.crashes, d.suspect) for d in await bench.take(consumer)] == [(0, True), (0, True)]

    @case("token")
    async def test_a_mark_that_comes_too_late_counts_nothing(self, bench: Bench) -> None:
        late, holder = await bench.consumer(), await bench.consumer()
        await bench.put("a")
        old = await bench.take_one(late)
        await bench.settle(late, Release(old))
        await bench.take_one(holder)
        assert (await late.beat(LEASE_S, [Started(old)])).lost == {old.token}
        assert await bench.outlive_lease() == 1
        assert (await bench.take_one(holder)).crashes == 0

    @case()
    async def test_an_attempt_that_ended_clears_the_suspicion(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("again", "deferred", "released")
        await bench.take(consumer)
        assert await bench.outlive_lease() == 3
        again, deferred, released = await bench.take(consumer)
        assert again.suspect
        assert deferred.suspect
        assert released.suspect
        settlements = (Again(again, 0, JobError("E")), Defer(deferred, 0, "later"), Release(released))
        await bench.settle(consumer, *settlements)
        suspects = {names([d])[0]: d.suspect for d in await bench.take(consumer)}
        assert suspects == {"again": False, "deferred": False, "released": True}

    @case()
    async def test_a_closing_consumer_clears_the_suspicion(self, bench: Bench) -> None:
        consumer, other = await bench.consumer(), await bench.consumer()
        await bench.put("a")
        await bench.take(consumer)
        assert await bench.outlive_lease(meanwhile=lambda: other.beat(LEASE_S)) == 1
        assert (await bench.take_one(consumer)).suspect
        await consumer.close()
        assert not (await bench.take_one(other)).suspect

    @case()
    async def test_suspects_do_not_stand_in_the_way_of_others(self, bench: Bench) -> None:
        worker = await bench.consumer()
        lost = [str(n) for n in range(8)]
        await bench.put(*lost)
        await bench.take(worker)
        assert await bench.outlive_lease() == 8
        await bench.put("good", "better")
        fetched = await worker.fetch(5, MAX_BYTES, 0, suspects=1)
        assert names(fetched.deliveries) == ["0", "good", "better"]
        assert not (await worker.fetch(5, MAX_BYTES, 0, suspects=0)).deliveries
        other = await bench.consumer()
        assert names((await other.fetch(5, MAX_BYTES, 0, suspects=2)).deliveries) == ["1", "2"]
        assert names((await other.fetch(5, MAX_BYTES, 0)).deliveries) == ["3", "4", "5", "6", "7"]

    @case("priority")
    async def test_suspects_come_first_whatever_their_priority(self, bench: Bench) -> None:
        worker = await bench.consumer()
        await bench.put("low")
        await bench.put("high", priority=9)
        await bench.take(worker)
        assert await bench.outlive_lease() == 2
        await bench.put("other", priority=9)
        # In the order in which they were claimed.
        assert names(await bench.take(worker)) == ["high", "low", "other"]

    @case("inspect")
    async def test_suspects_are_ready_like_others(self, bench: Bench) -> None:
        worker = await bench.consumer()
        ids = await bench.put("a", "b", "c")
        await bench.take(worker)
        assert await bench.outlive_lease() == 3
        ids += await bench.put("d")
        assert [counts.ready for counts in await bench.inspector.queues()] == [4]
        listed: list[str] = []
        cursor: str | None = None
        while True:
            page = await bench.inspector.scan("q", JobState.READY, cursor, 2)
            listed += [record.id for record in page.jobs]
            cursor = page.cursor
            if cursor is None:
                break
        assert listed == ids
        assert await bench.inspector.change([ids[0]], Cancelling(0)) == [ids[0]]
        assert [counts.ready for counts in await bench.inspector.queues()] == [3]
        assert names(await bench.take(worker)) == ["b", "c", "d"]

    @case("inspect")
    async def test_the_mark_ends_with_its_delivery_though_the_job_is_retried(self, bench: Bench) -> None:
        consumer, other = await bench.consumer(), await bench.consumer()
        ids = await bench.put("dead", "odd")
        dead, odd = await bench.take(consumer)
        await consumer.beat(LEASE_S, [Started(dead), Started(odd)], [dead, odd])
        await bench.settle(consumer, Dead(dead, JobError("E"), Cause.ERROR), Quarantine(odd, "no JSON"))
        assert sorted(await bench.inspector.change(ids, Retried())) == sorted(ids)
        assert len(await bench.take(consumer)) == 2  # and is lost before it starts them
        assert await bench.outlive_lease(meanwhile=lambda: other.beat(LEASE_S)) == 2
        assert {(d.suspect, d.crashes) for d in await bench.take(other)} == {(True, 0)}

    @case()
    async def test_one_guilty_job_does_not_take_the_innocent_with_it(self, bench: Bench) -> None:
        """Who runs one suspect at a time, marked, finds the one that kills its worker."""
        innocent = {str(n) for n in range(60)}
        await bench.put(*sorted(innocent), "guilty")
        done: set[str] = set()
        dead: list[str] = []
        for _ in range(60):
            worker = await bench.consumer()
            deliveries = await bench.take(worker, 100)
            if not deliveries:
                break
            fresh = [d for d in deliveries if not d.suspect]
            if any("guilty" in d.id for d in fresh):  # they run at once: its worker dies with all of them
                await bench.outlive_lease()
                continue
            await bench.settle(worker, *(Done(d) for d in fresh))
            done.update(names(fresh))
            for suspect in [d for d in deliveries if d.suspect]:
                if suspect.crashes >= 3:
                    await bench.settle(worker, Dead(suspect, JobError("Poison"), Cause.POISON, spent=False))
                    dead += names([suspect])
                    continue
                await worker.beat(LEASE_S, [Started(suspect)], [suspect])
                if "guilty" in suspect.id:
                    await bench.outlive_lease()
                    break
                await bench.settle(worker, Done(suspect))
                done.update(names([suspect]))
        assert dead == ["guilty"]
        assert done == innocent
