# ruff: noqa: D102 - a test's name says what it proves
"""The contract on settling: what each settlement does, what a repeated one does, and what is refused."""

from __future__ import annotations

import pytest

from penstock.core.job import Delivery, JobError
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
from penstock.ports.inspector import Cancelling
from penstock.testing.contract.bench import LEASE_S, Bench, ContractBase, case, names

_ERROR = JobError("ValueError", "no \N{SNOWMAN}\0 \"quotes\" 'and' \n lines", "Traceback ...")


class SettleContract(ContractBase):
    """See the module's text."""

    # Each settlement

    @case("inspect")
    async def test_a_result_is_kept_for_its_time(self, bench: Bench) -> None:
        results = {"value": b'{"a":1}', "empty": b"", "binary": bytes(range(256)), "none": None}
        consumer = await bench.consumer()
        ids = await bench.put(*results)
        deliveries = await bench.take(consumer)
        settlements = [Done(d, r, 100) for d, r in zip(deliveries, results.values(), strict=True)]
        assert list(await bench.settle(consumer, *settlements)) == []
        for id, result in zip(ids, results.values(), strict=True):
            record = await bench.record(id)
            assert (record.state, record.result, record.error) == (JobState.SUCCEEDED, result, None)
            assert record.ended_at == pytest.approx(bench.now(), abs=30)
            assert record.consumer == ""
        bench.shift(60)
        assert await bench.state(ids[0]) is JobState.SUCCEEDED
        bench.shift(60)
        assert [await bench.inspector.get(id) for id in ids] == [None] * 4
        await bench.tend()
        assert (await bench.counts()).succeeded_total == 4

    @case("inspect")
    async def test_a_result_without_time_is_not_kept(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        ids = await bench.put("a", "b")
        a, b = await bench.take(consumer)
        await bench.settle(consumer, Done(a, b"1", 0), Done(b))
        assert [await bench.inspector.get(id) for id in ids] == [None, None]
        counts = await bench.counts()
        assert (counts.ready, counts.running, counts.succeeded_total) == (0, 0, 2)

    @case()
    async def test_a_failed_attempt_is_spent_and_waits(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", priority=4, body=b"\0\xff")
        for attempt in range(3):
            delivery = await bench.take_one(consumer)
            assert (delivery.attempt, delivery.priority, delivery.body) == (attempt, 4, b"\0\xff")
            assert not delivery.suspect
            await bench.settle(consumer, Again(delivery, 100, _ERROR))
            bench.shift(60)
            assert await bench.take(consumer) == []
            bench.shift(60)

    @case("inspect")
    async def test_a_failed_attempt_shows_its_error_while_it_waits(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        (id,) = await bench.put("a")
        await bench.settle(consumer, Again(await bench.take_one(consumer), 100, _ERROR))
        record = await bench.record(id)
        assert (record.state, record.attempt, record.error) == (JobState.SCHEDULED, 1, _ERROR)
        assert record.due_at == pytest.approx(bench.now() + 100, abs=30)
        assert record.consumer == ""

    @case()
    async def test_again_at_once_is_delivered_at_once(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.settle(consumer, Again(await bench.take_one(consumer), 0, _ERROR))
        assert (await bench.take_one(consumer)).attempt == 1

    @case()
    async def test_a_deferred_job_waits_and_spends_nothing(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.settle(consumer, Again(await bench.take_one(consumer), 0, _ERROR))
        for streak in range(3):
            delivery = await bench.take_one(consumer)
            assert (delivery.attempt, delivery.streak, delivery.crashes) == (1, streak, 0)
            await bench.settle(consumer, Defer(delivery, 100, "unknown task", streak + 1))
            assert await bench.take(consumer) == []
            bench.shift(110)
        await bench.settle(consumer, Again(await bench.take_one(consumer), 0, _ERROR))
        assert (await bench.take_one(consumer)).streak == 0

    @case("inspect")
    async def test_a_deferred_job_shows_its_reason(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        (id,) = await bench.put("a")
        await bench.settle(consumer, Defer(await bench.take_one(consumer), 100, "unknown task \N{SNOWMAN}"))
        record = await bench.record(id)
        assert (record.state, record.attempt) == (JobState.SCHEDULED, 0)
        assert record.error is not None
        assert record.error.message == "unknown task \N{SNOWMAN}"

    @case("inspect")
    async def test_the_dead_are_kept_with_their_cause(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        ids = await bench.put("spent", "unspent", body=b"\0\xff")
        spent, unspent = await bench.take(consumer)
        await bench.settle(
            consumer, Dead(spent, _ERROR, Cause.ERROR), Dead(unspent, _ERROR, Cause.POISON, spent=False)
        )
        bench.shift(80 * 86_400)
        await bench.tend()
        records = [await bench.record(id) for id in ids]
        assert [record.state for record in records] == [JobState.FAILED] * 2
        assert [record.attempt for record in records] == [1, 0]
        assert [record.cause for record in records] == ["error", "poison"]
        assert [record.error for record in records] == [_ERROR, _ERROR]
        assert [record.body for record in records] == [b"\0\xff"] * 2
        counts = await bench.counts()
        assert (counts.failed, counts.failed_total, counts.quarantined, counts.running) == (2, 2, 0, 0)
        assert await bench.take(consumer) == []

    @case("inspect")
    async def test_a_quarantined_body_is_kept_as_it_is(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        body = bytes(range(256)) + b"\xc3\x28"
        (id,) = await bench.put("a", body=body)
        await bench.settle(consumer, Quarantine(await bench.take_one(consumer), "not JSON: byte 0"))
        bench.shift(80 * 86_400)
        await bench.tend()
        record = await bench.record(id)
        assert (record.state, record.body, record.attempt) == (JobState.QUARANTINED, body, 0)
        assert record.error is not None
        assert record.error.message == "not JSON: byte 0"
        counts = await bench.counts()
        assert (counts.failed, counts.quarantined, counts.failed_total) == (0, 1, 0)

    @case("inspect")
    async def test_a_cancelled_job_is_kept_for_its_time(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        kept, gone = await bench.put("kept", "gone")
        first, second = await bench.take(consumer)
        await bench.settle(consumer, Cancelled(first, ttl_s=100), Cancelled(second, ttl_s=0))
        assert await bench.state(kept) is JobState.CANCELLED
        assert await bench.inspector.get(gone) is None
        bench.shift(110)
        assert await bench.inspector.get(kept) is None

    @case()
    async def test_a_release_spends_nothing_and_goes_to_the_front_or_the_end(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", "b", "c", "d", "e")
        a, b, c = await bench.take(consumer, 3)
        await bench.settle(consumer, Release(a, front=False), Release(b), Release(c))
        deliveries = await bench.take(consumer)
        assert names(deliveries) == ["b", "c", "d", "e", "a"]
        assert {(d.attempt, d.crashes, d.streak, d.suspect) for d in deliveries} == {(0, 0, 0, False)}

    @case("priority")
    async def test_a_release_to_the_front_keeps_to_its_priority(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("high", priority=5)
        await bench.put("low-1", "low-2")
        high, low, _ = await bench.take(consumer)
        await bench.put("high-2", priority=5)
        await bench.put("low-3")
        await bench.settle(consumer, Release(low), Release(high))
        assert names(await bench.take(consumer)) == ["high", "high-2", "low-1", "low-3"]

    @case()
    async def test_a_release_after_a_crash_is_a_suspect_with_a_crash(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", "b")
        for crashes in range(3):
            delivery = await bench.take_one(consumer)
            assert (delivery.crashes, delivery.suspect) == (crashes, crashes > 0)
            await bench.settle(consumer, Release(delivery, crashed=True))
        # A plain release does not clear it; an attempt that ended does.
        await bench.settle(consumer, Release(await bench.take_one(consumer)))
        delivery = await bench.take_one(consumer)
        assert (delivery.crashes, delivery.suspect, delivery.attempt) == (3, True, 0)
        await bench.settle(consumer, Again(delivery, 0, _ERROR))
        delivery = next(d for d in await bench.take(consumer) if d.id == "q:a")
        assert (delivery.crashes, delivery.suspect, delivery.attempt) == (3, False, 1)

    @case("inspect")
    async def test_one_call_settles_a_mixture_over_queues(self, bench: Bench) -> None:
        consumer = await bench.consumer("q", "r")
        await bench.put("done", "again", "dead", queue="q")
        await bench.put("back", "odd", "later", queue="r")
        done, again, dead, back, odd, later = await bench.take(consumer)
        settlements = (
            Release(back),
            Done(done, b"1", 60),
            Quarantine(odd, "odd"),
            Again(again, 100, _ERROR),
            Defer(later, 100, "later"),
            Dead(dead, _ERROR, Cause.REJECTED),
        )
        assert list(await bench.settle(consumer, *settlements)) == []
        states = [await bench.state(d.id) for d in (done, again, dead, back, odd, later)]
        assert states == ["succeeded", "scheduled", "failed", "ready", "quarantined", "scheduled"]

    @case()
    async def test_nothing_settled_is_nothing_lost(self, bench: Bench) -> None:
        assert list(await bench.settle(await bench.consumer())) == []

    @case("inspect")
    async def test_a_big_batch_is_settled_in_one_call(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put(*map(str, range(1000)))
        deliveries: list[Delivery] = []
        while part := await bench.take(consumer, 200):
            deliveries += part
        assert list(await bench.settle(consumer, *(Done(d, b"1", 60) for d in deliveries))) == []
        counts = await bench.counts()
        assert (counts.running, counts.ready, counts.succeeded_total) == (0, 0, 1000)
        assert (await bench.record(deliveries[999].id)).result == b"1"

    # Repeated calls

    @case("token")
    async def test_a_repeated_call_is_answered_as_the_first_time(self, bench: Bench) -> None:
        consumer = await bench.consumer("q", "r")
        await bench.put("a", "b", queue="q")
        await bench.put("c", queue="r")
        a, b, c = await bench.take(consumer)
        await consumer.settle([Done(b)], 1)
        settlements: list[Settlement] = [Done(a, b"1", 60), Done(b), Again(c, 0, _ERROR)]
        for _ in range(3):
            assert list(await consumer.settle(settlements, 2)) == [b]
        assert [d.attempt for d in await bench.take(consumer)] == [1]

    @case("token")
    async def test_a_repeated_call_does_not_touch_what_was_claimed_since(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        release = [Release(await bench.take_one(consumer))]
        assert list(await consumer.settle(release, 1)) == []
        again = await bench.take_one(consumer)
        assert list(await consumer.settle(release, 1)) == []
        assert list(await consumer.settle([Done(again)], 2)) == []

    @case("token")
    async def test_a_repeated_call_is_known_after_the_lease_and_the_job_are_gone(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        settlements = [Done(await bench.take_one(consumer))]
        assert list(await consumer.settle(settlements, 1)) == []
        await bench.outlive_lease()
        assert list(await consumer.settle(settlements, 1)) == []

    # What is refused

    @case("token")
    async def test_a_second_settlement_is_lost(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        delivery = await bench.take_one(consumer)
        await bench.settle(consumer, Done(delivery, b"1", 60))
        for late in (Done(delivery, b"2", 60), Release(delivery), Dead(delivery, _ERROR, Cause.ERROR)):
            assert list(await bench.settle(consumer, late)) == [delivery]
        assert (await bench.record(delivery.id)).result == b"1"

    @case("token")
    async def test_an_old_token_changes_nothing(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        old = await bench.take_one(consumer)
        await bench.settle(consumer, Release(old))
        new = await bench.take_one(consumer)
        assert new.token > old.token
        for late in (
            Done(old),
            Again(old, 0, _ERROR),
            Cancelled(old),
            Quarantine(old, "x"),
            Defer(old, 0, "x"),
        ):
            assert list(await bench.settle(consumer, late)) == [old]
        assert list(await bench.settle(consumer, Done(new))) == []

    @case("token")
    async def test_another_consumer_cannot_settle(self, bench: Bench) -> None:
        holder, other = await bench.consumer(), await bench.consumer(broker=await bench.open())
        await bench.put("a", "b")
        deliveries = await bench.take(holder)
        assert list(await bench.settle(other, *(Done(d) for d in deliveries))) == deliveries
        assert list(await bench.settle(holder, *(Done(d) for d in deliveries))) == []

    @case("token", "unique")
    async def test_a_token_is_not_used_again_for_an_id_taken_anew(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        old = await bench.take_one(consumer)
        await bench.settle(consumer, Done(old))
        await bench.put("a")
        new = await bench.take_one(consumer)
        assert new.token > old.token
        assert list(await bench.settle(consumer, Done(old))) == [old]
        assert list(await bench.settle(consumer, Done(new))) == []

    @case("token")
    async def test_lost_ones_do_not_hinder_the_others_of_their_call(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", "b", "c")
        a, b, c = await bench.take(consumer)
        await bench.settle(consumer, Done(b))
        assert list(await bench.settle(consumer, Done(a, b"1", 60), Done(b), Done(c, b"3", 60))) == [b]
        assert [(await bench.record(d.id)).result for d in (a, c)] == [b"1", b"3"]

    @case("token")
    async def test_a_lease_that_is_over_but_not_reclaimed_still_settles(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        delivery = await bench.take_one(consumer)
        bench.shift(LEASE_S * 3)
        assert list(await bench.settle(consumer, Done(delivery))) == []

    # Cancelled while it ran

    @case("inspect")
    async def test_what_is_to_be_cancelled_ends_where_it_would_go_back(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        ids = await bench.put("again", "defer", "front", "end", "crashed")
        again, defer, front, end, crashed = await bench.take(consumer)
        assert list(await bench.inspector.change(ids, Cancelling(ttl_s=100))) == ids
        settlements = (
            Again(again, 10, _ERROR),
            Defer(defer, 10, "later"),
            Release(front),
            Release(end, front=False),
            Release(crashed, crashed=True),
        )
        assert list(await bench.settle(consumer, *settlements)) == []
        assert [await bench.state(id) for id in ids] == [JobState.CANCELLED] * 5
        bench.shift(60)
        assert await bench.take(consumer) == []
        bench.shift(60)
        assert [await bench.inspector.get(id) for id in ids] == [None] * 5

    @case("inspect")
    async def test_what_is_to_be_cancelled_may_still_succeed_or_fail(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        ids = await bench.put("done", "dead")
        done, dead = await bench.take(consumer)
        await bench.inspector.change(ids, Cancelling())
        await bench.settle(consumer, Done(done, b"1", 60), Dead(dead, _ERROR, Cause.ERROR))
        records = [await bench.record(id) for id in ids]
        assert [record.state for record in records] == [JobState.SUCCEEDED, JobState.FAILED]
        assert [record.cancel_requested for record in records] == [False, False]
