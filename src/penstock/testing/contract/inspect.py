# ruff: noqa: D102 - a test's name says what it proves
"""The contract on looking at jobs, and on what an operator does to them."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.job import Delivery, JobError, JobRecord
from penstock.core.lifecycle import KEEP_DEAD_S, JobState
from penstock.core.settlement import Cancelled, Cause, Dead, Done, Quarantine, Release
from penstock.ports.broker import Consumer
from penstock.ports.inspector import Cancelling, Deleting, QueueCounts, Retried
from penstock.testing.contract.bench import LEASE_S, LONG_S, Bench, ContractBase, case, job, names

_ERROR = JobError("ValueError", "no", "Traceback ...")


async def _one_in_each_state(bench: Bench, consumer: Consumer) -> dict[JobState, str]:
    """A job in every state, each named by it; ``consumer`` holds the running one."""
    await bench.put("running", "succeeded", "failed", "cancelled", "quarantined")
    _, succeeded, failed, cancelled, quarantined = await bench.take(consumer)
    await bench.settle(
        consumer,
        Done(succeeded, b"1", 1e5),
        Dead(failed, _ERROR, Cause.ERROR),
        Cancelled(cancelled, 1e5),
        Quarantine(quarantined, "odd"),
    )
    await bench.put("expired", expires_at=bench.now() - 10)
    await bench.tend()
    await bench.put("ready")
    await bench.put("scheduled", delay_s=1e5)
    return {state: f"q:{state}" for state in JobState}


class InspectContract(ContractBase):
    """See the module's text."""

    # Looking

    @case("inspect")
    async def test_a_record_tells_all(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        body = bytes(range(256))
        (id,) = await bench.put("a", body=body, priority=7, delay_s=100, expires_s=200)
        record = await bench.record(id)
        assert record == JobRecord(
            id, "q", JobState.SCHEDULED, body, 7, due_at=record.due_at, expires_at=record.expires_at
        )
        assert record.due_at == pytest.approx(bench.now() + 100, abs=30)
        assert record.expires_at == pytest.approx(bench.now() + 200, abs=30)
        bench.shift(110)
        delivery = await bench.take_one(consumer)
        record = await bench.record(id)
        assert (record.state, record.consumer, record.token) == (
            JobState.RUNNING,
            consumer.id,
            delivery.token,
        )
        assert (record.body, record.priority, record.cancel_requested) == (body, 7, False)

    @case("inspect")
    async def test_what_is_not_stored_is_none(self, bench: Bench) -> None:
        assert await bench.inspector.get("q:a") is None
        await bench.put("a")
        assert await bench.inspector.get("q:b") is None
        assert await bench.inspector.get("r:a") is None

    @case("inspect")
    async def test_every_state_is_shown(self, bench: Bench) -> None:
        ids = await _one_in_each_state(bench, await bench.consumer())
        assert {state: await bench.state(id) for state, id in ids.items()} == {
            state: state for state in JobState
        }

    @case("inspect")
    async def test_queues_are_counted(self, bench: Bench) -> None:
        assert list(await bench.inspector.queues()) == []
        await _one_in_each_state(bench, await bench.consumer())
        await bench.put("a", "b", "c", queue="another")
        await bench.put("d", queue="another", priority=9)
        another, q = await bench.inspector.queues()
        assert another == QueueCounts("another", ready=4, enqueued_total=4)
        assert q == QueueCounts(
            "q",
            ready=1,
            scheduled=1,
            running=1,
            failed=1,
            quarantined=1,
            enqueued_total=8,
            succeeded_total=1,
            failed_total=1,
            lost_total=0,
        )

    @case("inspect")
    async def test_a_queue_that_is_empty_again_is_still_counted(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.settle(consumer, Done(await bench.take_one(consumer)))
        assert list(await bench.inspector.queues()) == [QueueCounts("q", enqueued_total=1, succeeded_total=1)]

    @case("inspect")
    async def test_a_scan_lists_one_state(self, bench: Bench) -> None:
        await _one_in_each_state(bench, await bench.consumer())
        listed = {JobState.SCHEDULED, JobState.READY, JobState.RUNNING, JobState.FAILED, JobState.QUARANTINED}
        for state in JobState:
            page = await bench.inspector.scan("q", state, None, 10)
            assert [record.id for record in page.jobs] == ([f"q:{state}"] if state in listed else [])
            for record in page.jobs:
                assert record == await bench.inspector.get(record.id)
            assert page.cursor is None
            assert list((await bench.inspector.scan("empty", state, None, 10)).jobs) == []

    @case("inspect")
    async def test_a_scan_goes_on_behind_its_cursor(self, bench: Bench) -> None:
        wanted = [f"{n:02}" for n in range(25)]
        await bench.put(*wanted)
        assert await self._scanned(bench, JobState.READY) == wanted
        consumer = await bench.consumer()
        deliveries = await bench.take(consumer)
        assert sorted(await self._scanned(bench, JobState.RUNNING)) == wanted
        await bench.settle(consumer, *(Dead(d, _ERROR, Cause.ERROR) for d in deliveries))
        assert sorted(await self._scanned(bench, JobState.FAILED)) == wanted

    @case("inspect")
    async def test_the_scheduled_are_scanned_by_their_moment(self, bench: Bench) -> None:
        for delay_s in (500, 100, 400, 200, 300):
            await bench.put(str(delay_s), delay_s=delay_s)
        assert await self._scanned(bench, JobState.SCHEDULED) == ["100", "200", "300", "400", "500"]

    async def _scanned(self, bench: Bench, state: JobState) -> list[str]:
        seen: list[str] = []
        cursor = None
        for _ in range(30):
            page = await bench.inspector.scan("q", state, cursor, 10)
            assert len(page.jobs) <= 10
            seen += [record.id.partition(":")[2] for record in page.jobs]
            if (cursor := page.cursor) is None:
                return seen
        raise AssertionError("the scan does not end")

    # Retrying

    @case("inspect")
    async def test_retrying_applies_to_the_dead_the_quarantined_and_the_scheduled(self, bench: Bench) -> None:
        ids = await _one_in_each_state(bench, await bench.consumer())
        applied = await bench.inspector.change([*ids.values(), "q:nobody", "other:nobody"], Retried())
        wanted = {ids[state] for state in (JobState.FAILED, JobState.QUARANTINED, JobState.SCHEDULED)}
        assert set(applied) == wanted
        assert {delivery.id for delivery in await bench.take(await bench.consumer())} == wanted | {"q:ready"}

    @case("inspect")
    async def test_a_retried_dead_job_starts_anew_at_the_end(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        (id,) = await bench.put("a", body=b"\0\xff", priority=3)
        await bench.settle(consumer, Release(await bench.take_one(consumer), crashed=True))
        old = await bench.take_one(consumer)
        await bench.settle(consumer, Dead(old, _ERROR, Cause.ERROR))
        await bench.put("b", priority=3)
        assert list(await bench.inspector.change([id], Retried())) == [id]
        record = await bench.record(id)
        assert (record.state, record.attempt, record.crashes) == (JobState.READY, 0, 0)
        assert (record.cause, record.error, record.ended_at) == ("", None, 0)
        _, new = await bench.take(consumer)
        assert (new.id, new.attempt, new.crashes, new.suspect, new.priority) == (id, 0, 0, False, 3)
        assert new.body == b"\0\xff"
        assert new.token > old.token
        assert new.retried_at == pytest.approx(bench.now(), abs=30)
        assert list(await bench.settle(consumer, Done(old))) == [old]
        assert (await bench.counts()).failed == 0

    @case("inspect")
    async def test_a_retried_dead_job_does_not_expire(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        ids = await bench.put("a", expires_s=10)
        await bench.settle(consumer, Dead(await bench.take_one(consumer), _ERROR, Cause.ERROR))
        bench.shift(20)
        await bench.inspector.change(ids, Retried())
        await bench.tend()
        assert names(await bench.take(consumer)) == ["a"]

    # Cancelling

    @case("inspect")
    async def test_cancelling_applies_to_what_waits_or_runs(self, bench: Bench) -> None:
        ids = await _one_in_each_state(bench, await bench.consumer())
        applied = await bench.inspector.change([*ids.values(), "q:nobody"], Cancelling(ttl_s=100))
        wanted = {JobState.SCHEDULED, JobState.READY, JobState.RUNNING}
        assert set(applied) == {ids[state] for state in wanted}
        assert await bench.state(ids[JobState.SCHEDULED]) is JobState.CANCELLED
        assert await bench.state(ids[JobState.READY]) is JobState.CANCELLED
        running = await bench.record(ids[JobState.RUNNING])
        assert (running.state, running.cancel_requested) == (JobState.RUNNING, True)
        bench.shift(110)
        await bench.tend()
        assert await bench.inspector.get(ids[JobState.READY]) is None
        assert await bench.take(await bench.consumer()) == []

    @case("inspect")
    async def test_its_worker_hears_that_a_running_job_is_to_be_cancelled(self, bench: Bench) -> None:
        consumer, other = await bench.consumer("q", "r"), await bench.consumer("q", "r")
        await bench.put("a", "b", queue="q")
        await bench.put("c", queue="r")
        a, b, c = await bench.take(consumer)
        assert list(await (await bench.open_inspector()).change([a.id, c.id], Cancelling())) == [a.id, c.id]
        for _ in range(2):
            assert (await consumer.beat(LEASE_S, (), [a, b, c])).cancelled == {a.token, c.token}
        assert (await other.beat(LEASE_S)).cancelled == frozenset()
        assert list(await bench.settle(consumer, Cancelled(a, 100), Done(b), Cancelled(c, 100))) == []
        assert (await consumer.beat(LEASE_S)).cancelled == frozenset()
        assert await bench.state(a.id) is JobState.CANCELLED

    @case("inspect")
    async def test_a_retried_job_is_no_longer_to_be_cancelled(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        ids = await bench.put("a")
        delivery = await bench.take_one(consumer)
        await bench.inspector.change(ids, Cancelling())
        await bench.settle(consumer, Dead(delivery, _ERROR, Cause.ERROR))
        await bench.inspector.change(ids, Retried())
        delivery = await bench.take_one(consumer)
        assert (await consumer.beat(LEASE_S)).cancelled == frozenset()
        await bench.settle(consumer, Release(delivery))
        assert names(await bench.take(consumer)) == ["a"]

    @case("inspect", "unique")
    async def test_an_id_cancelled_or_deleted_and_taken_anew_runs_once(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        for change in (Cancelling(ttl_s=0), Deleting()):
            for delay_s in (0, 10):
                for body in (b"1", b"2", b"3"):
                    ids = await bench.put("a", body=body, delay_s=delay_s)
                    if body != b"3":
                        assert list(await bench.inspector.change(ids, change)) == ids
                        assert await bench.inspector.get(ids[0]) is None
                bench.shift(20)
                deliveries = await bench.take(consumer)
                assert [delivery.body for delivery in deliveries] == [b"3"]
                await bench.settle(consumer, Done(deliveries[0]))
                counts = await bench.counts()
                assert (counts.ready, counts.scheduled, counts.running) == (0, 0, 0)

    # Deleting and pruning

    @case("inspect")
    async def test_deleting_applies_to_all_that_nobody_holds(self, bench: Bench) -> None:
        ids = await _one_in_each_state(bench, await bench.consumer())
        applied = await bench.inspector.change([*ids.values(), "q:nobody"], Deleting())
        assert set(applied) == set(ids.values()) - {"q:running"}
        stored = [id for id in ids.values() if await bench.inspector.get(id) is not None]
        assert stored == ["q:running"]
        counts = await bench.counts()
        assert (counts.ready, counts.scheduled, counts.failed, counts.quarantined) == (0, 0, 0, 0)
        bench.shift(1e5)
        assert await bench.take(await bench.consumer()) == []

    @case("inspect")
    async def test_the_dead_and_the_quarantined_are_kept_ninety_days(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("dead", "odd")
        dead, odd = await bench.take(consumer)
        await bench.settle(consumer, Dead(dead, _ERROR, Cause.ERROR), Quarantine(odd, "odd"))
        bench.shift(KEEP_DEAD_S - 3600)
        assert (await bench.tend()).pruned == 0
        assert (await bench.counts()).failed == 1
        bench.shift(7200)
        assert (await bench.tend()).pruned == 2
        counts = await bench.counts()
        assert (counts.failed, counts.quarantined, counts.failed_total) == (0, 0, 1)
        assert await bench.inspector.get(dead.id) is None

    # Waiting for an end

    @case("inspect")
    async def test_waiting_for_what_has_ended_or_is_not_stored_returns_at_once(self, bench: Bench) -> None:
        ids = await _one_in_each_state(bench, await bench.consumer())
        async with asyncio.timeout(LONG_S):
            for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED):
                record = await bench.inspector.wait(ids[state], LONG_S * 2)
                assert record is not None
                assert record.state is state
            assert await bench.inspector.wait("q:nobody", LONG_S * 2) is None

    @case("inspect")
    async def test_a_wait_that_is_over_tells_where_the_job_stands(self, bench: Bench) -> None:
        ids = await _one_in_each_state(bench, await bench.consumer())
        for state in (JobState.READY, JobState.SCHEDULED, JobState.RUNNING):
            record = await bench.inspector.wait(ids[state], 0.05)
            assert record is not None
            assert record.state is state

    @case("inspect")
    async def test_an_end_wakes_who_waits(self, bench: Bench) -> None:
        waiter, consumer = await bench.open_inspector(), await bench.consumer()
        ids = await bench.put(*map(str, range(50)))
        waits = [asyncio.create_task(waiter.wait(id, LONG_S)) for id in ids]
        await asyncio.sleep(0.1)
        deliveries = await bench.take(consumer)
        await bench.settle(consumer, *(self._ended(d, n) for n, d in enumerate(deliveries)))
        async with asyncio.timeout(2.5):
            records = await asyncio.gather(*waits)
        assert [record.state if record else None for record in records] == [
            (JobState.SUCCEEDED, JobState.FAILED, None)[n % 3] for n in range(50)
        ]

    def _ended(self, delivery: Delivery, n: int) -> Done | Dead:
        kinds = (Done(delivery, b"1", 60), Dead(delivery, _ERROR, Cause.ERROR), Done(delivery))
        return kinds[n % 3]

    @case("inspect")
    async def test_a_cancelled_wait_leaves_the_others_theirs(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        (id,) = await bench.put("a")
        waits = [asyncio.create_task(bench.inspector.wait(id, LONG_S)) for _ in range(3)]
        await asyncio.sleep(0.05)
        waits[0].cancel()
        await bench.settle(consumer, Done(await bench.take_one(consumer), b"1", 60))
        async with asyncio.timeout(2.5):
            outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        for record in outcomes[1:]:
            assert isinstance(record, JobRecord)
            assert record.result == b"1"

    @case("inspect")
    async def test_looking_works_while_a_consumer_waits(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        fetch = asyncio.create_task(consumer.fetch(1, 1000, LONG_S))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2.5):
            assert await bench.inspector.get("q:a") is None
            await consumer.beat(LEASE_S)
            await bench.settle(consumer)
            await bench.broker.enqueue([job("a")], bench.origin())
            assert names((await fetch).deliveries) == ["a"]
