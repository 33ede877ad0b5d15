# ruff: noqa: D102 - a test's name says what it proves
"""The contract on fetching: in which order, how much, how long it waits, and what wakes it."""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock.core.job import Delivery, JobError
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Again, Done, Release
from penstock.ports.broker import Consumer, Fetched
from penstock.ports.inspector import Retried
from penstock.testing.contract.bench import LONG_S, MAX_BYTES, Bench, ContractBase, case, job, names

# What is woken is there within this, also on a busy machine; only a missed wake-up takes longer (a second).
_WOKEN_S = 0.8


class FetchContract(ContractBase):
    """See the module's text."""

    # Order

    @case()
    async def test_the_oldest_comes_first(self, bench: Bench) -> None:
        await bench.put("a", "b")
        await bench.put("c")
        consumer = await bench.consumer()
        assert names(await bench.take(consumer, 2)) == ["a", "b"]
        assert names(await bench.take(consumer, 2)) == ["c"]

    @case("priority")
    async def test_a_higher_priority_comes_first_then_age(self, bench: Bench) -> None:
        for round_ in "ab":
            for priority in (3, 9, 0, 5, 1, 8, 2, 7, 4, 6):
                await bench.put(f"{priority}{round_}", priority=priority)
        wanted = [f"{priority}{round_}" for priority in range(9, -1, -1) for round_ in "ab"]
        consumer = await bench.consumer()
        assert names(await bench.take(consumer, 7)) == wanted[:7]
        await bench.put("late", priority=9)
        assert names(await bench.take(consumer)) == ["late", *wanted[7:]]

    @case("priority")
    async def test_queues_come_in_the_order_in_which_they_were_named(self, bench: Bench) -> None:
        await bench.put("urgent", queue="b", priority=9)
        await bench.put("plain", queue="a")
        await bench.put("other", queue="c", priority=9)
        consumer = await bench.consumer("a", "b")
        assert names(await bench.take(consumer)) == ["plain", "urgent"]
        assert names(await bench.take(await bench.consumer("b", "c", "a"))) == ["other"]

    @case()
    async def test_a_fetch_may_name_another_order_of_the_queues(self, bench: Bench) -> None:
        consumer = await bench.consumer("a", "b", "c")
        for queue in "abc":
            await bench.put(f"{queue}1", f"{queue}2", f"{queue}3", queue=queue)
        deliveries: list[Delivery] = []
        for limit, order, wanted in (
            (2, [2, 0, 1], ["c1", "c2"]),
            (2, [1, 2, 0], ["b1", "b2"]),
            (2, None, ["a1", "a2"]),
            (2, [1, 2, 0], ["b3", "c3"]),
            (9, [2, 1, 0], ["a3"]),
        ):
            fetched = await consumer.fetch(limit, MAX_BYTES, 0, None, order)
            assert names(fetched.deliveries) == wanted
            deliveries += fetched.deliveries
        assert len({delivery.token for delivery in deliveries}) == 9
        assert list(await bench.settle(consumer, *(Done(delivery) for delivery in deliveries))) == []

    @case()
    async def test_suspects_are_counted_over_the_queues_in_any_order(self, bench: Bench) -> None:
        consumer = await bench.consumer("a", "b")
        for queue in "ab":
            await bench.put(f"{queue}1", f"{queue}2", queue=queue)
        await bench.settle(consumer, *(Release(d, crashed=True) for d in await bench.take(consumer)))
        await bench.put("a3", queue="a")
        await bench.put("b3", queue="b")
        fetched = await consumer.fetch(9, MAX_BYTES, 0, 3, [1, 0])
        assert names(fetched.deliveries) == ["b1", "b2", "b3", "a1", "a3"]
        assert names((await consumer.fetch(9, MAX_BYTES, 0, 1, [1, 0])).deliveries) == ["a2"]

    @case()
    async def test_an_empty_queue_that_comes_first_costs_no_wait(self, bench: Bench) -> None:
        consumer = await bench.consumer("a", "b", "c")
        began = time.monotonic()
        for order in ([0, 1, 2], [2, 0, 1], [0, 2, 1]):
            await bench.put(f"b{order}", queue="b")
            assert len((await consumer.fetch(9, MAX_BYTES, LONG_S, None, order)).deliveries) == 1
        assert time.monotonic() - began < _WOKEN_S

    @case()
    async def test_any_queue_wakes_whatever_the_order(self, bench: Bench) -> None:
        consumer = await bench.consumer("a", "b", "c")
        other = await bench.open()
        for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
            for queue in "abc":
                fetch = asyncio.create_task(consumer.fetch(9, MAX_BYTES, LONG_S, None, order))
                await asyncio.sleep(0.05)
                began = time.monotonic()
                wanted = f"{queue}{order}"
                await other.enqueue([job(wanted, queue)], bench.origin())
                assert names((await fetch).deliveries) == [wanted]
                assert time.monotonic() - began < _WOKEN_S

    @case()
    async def test_what_becomes_due_goes_behind_what_was_ready_by_its_moment(self, bench: Bench) -> None:
        await bench.put("due-2", delay_s=20)
        await bench.put("due-1", delay_s=10)
        await bench.put("ready")
        bench.shift(30)
        await bench.put("ready-2")
        assert (await bench.tend()).promoted == 2
        await bench.put("ready-3")
        wanted = ["ready", "ready-2", "due-1", "due-2", "ready-3"]
        assert names(await bench.take(await bench.consumer())) == wanted

    # How much

    @case()
    async def test_no_more_than_the_limit(self, bench: Bench) -> None:
        await bench.put(*map(str, range(7)), queue="q")
        await bench.put(*map(str, range(7, 10)), queue="r")
        consumer = await bench.consumer("q", "r")
        assert names(await bench.take(consumer, 5)) == ["0", "1", "2", "3", "4"]
        assert names(await bench.take(consumer, 4)) == ["5", "6", "7", "8"]
        assert names(await bench.take(consumer, 4)) == ["9"]

    @case()
    async def test_no_more_bytes_than_the_limit(self, bench: Bench) -> None:
        await bench.put("a", "b", "c", body=b"x" * 400)
        await bench.put("d", queue="r", body=b"")
        consumer = await bench.consumer("q", "r")
        assert names((await consumer.fetch(10, 800, 0)).deliveries) == ["a", "b"]
        assert "c" in names((await consumer.fetch(10, 800, 0)).deliveries)

    @case()
    async def test_a_job_above_the_limit_of_bytes_comes_alone(self, bench: Bench) -> None:
        await bench.put("a", body=b"x" * 10)
        await bench.put("large", body=b"x" * 500)
        await bench.put("b", body=b"")
        consumer = await bench.consumer()
        for wanted in (["a"], ["large"], ["b"]):
            assert names((await consumer.fetch(10, 100, 0)).deliveries) == wanted

    @case()
    async def test_two_consumers_never_get_one_job(self, bench: Bench) -> None:
        wanted = [str(n) for n in range(300)]
        await bench.put(*wanted)
        consumers = [await bench.consumer(broker=await bench.open()) for _ in range(4)]

        async def drain(consumer: Consumer) -> list[Delivery]:
            got: list[Delivery] = []
            while deliveries := await bench.take(consumer, 7):
                got += deliveries
            return got

        parts = await asyncio.gather(*map(drain, consumers))
        got = [name for part in parts for name in names(part)]
        assert sorted(got, key=int) == wanted

    @case("token")
    async def test_a_consumer_sees_no_token_twice_over_its_queues(self, bench: Bench) -> None:
        consumer = await bench.consumer("a", "b", "c")
        tokens: list[int] = []
        for _ in range(3):
            for queue in "abc":
                await bench.put("1", "2", "3", queue=queue)
            deliveries = await bench.take(consumer)
            tokens += [delivery.token for delivery in deliveries]
            assert len(deliveries) == 9
            await bench.settle(consumer, *(Done(delivery) for delivery in deliveries))
        assert len(set(tokens)) == 27

    # Expiry

    @case("inspect")
    async def test_what_has_expired_is_not_delivered(self, bench: Bench) -> None:
        ids = await bench.put("soon", expires_s=10)
        ids += await bench.put("at", expires_at=bench.now() + 10)
        ids += await bench.put("over", expires_at=bench.now() - 10)
        await bench.put("later", expires_s=100)
        await bench.put("never")
        bench.shift(20)
        assert names(await bench.take(await bench.consumer())) == ["later", "never"]
        assert [await bench.state(id) for id in ids] == [JobState.EXPIRED] * 3

    @case("inspect")
    async def test_maintenance_expires_what_waits_also_what_is_scheduled(self, bench: Bench) -> None:
        ids = await bench.put("ready", expires_s=10)
        ids += await bench.put("scheduled", expires_s=10, delay_s=500)
        bench.shift(20)
        assert (await bench.tend()).expired == 2
        assert [await bench.state(id) for id in ids] == [JobState.EXPIRED] * 2
        assert (await bench.record(ids[0])).ended_at == pytest.approx(bench.now(), abs=30)
        bench.shift(500)
        assert await bench.take(await bench.consumer()) == []
        counts = await bench.counts()
        assert (counts.ready, counts.scheduled, counts.running) == (0, 0, 0)

    @case("inspect")
    async def test_a_job_that_runs_does_not_expire_but_a_further_attempt_does(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("done", "again", "back", expires_s=10)
        done, again, back = await bench.take(consumer)
        bench.shift(20)
        assert (await bench.tend()).expired == 0
        settlements = (Done(done, None, 60), Again(again, 0, JobError("E")), Release(back))
        assert list(await bench.settle(consumer, *settlements)) == []
        assert await bench.take(consumer) == []
        states = [await bench.state(delivery.id) for delivery in (done, again, back)]
        assert states == [JobState.SUCCEEDED, JobState.EXPIRED, JobState.EXPIRED]

    # Waiting

    @case()
    async def test_an_empty_queue_is_answered_at_once_where_no_wait_is_asked(self, bench: Bench) -> None:
        consumer = await bench.consumer("q", "never-used")
        began = time.monotonic()
        for _ in range(3):
            fetched = await consumer.fetch(10, MAX_BYTES, 0)
            assert (list(fetched.deliveries), fetched.next_due_s) == ([], None)
        assert time.monotonic() - began < _WOKEN_S

    @case()
    async def test_a_wait_ends(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        began = time.monotonic()
        assert not (await consumer.fetch(10, MAX_BYTES, 0.3)).deliveries
        assert 0.25 < time.monotonic() - began < 0.3 + _WOKEN_S

    @case()
    async def test_a_fetch_says_when_something_is_due(self, bench: Bench) -> None:
        consumer = await bench.consumer("q", "r")
        await bench.put("later", delay_s=100)
        await bench.put("sooner", queue="r", delay_s=50)
        assert (await consumer.fetch(10, MAX_BYTES, 0)).next_due_s == pytest.approx(50, abs=20)
        bench.shift(60)
        fetched = await consumer.fetch(10, MAX_BYTES, 0)
        assert names(fetched.deliveries) == ["sooner"]
        assert fetched.next_due_s == pytest.approx(40, abs=20)

    @case()
    async def test_an_enqueue_through_another_instance_wakes(self, bench: Bench) -> None:
        other = await bench.open()
        consumer = await bench.consumer("first", "q")
        for turn in range(3):
            fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
            await asyncio.sleep(0.1)  # so that it waits in earnest; a fetch that has not begun is right too
            began = time.monotonic()
            await other.enqueue([job(str(turn))], bench.origin())
            assert names((await fetch).deliveries) == [str(turn)]
            assert time.monotonic() - began < _WOKEN_S

    @case()
    async def test_a_blocking_producer_in_another_thread_wakes(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
        await asyncio.sleep(0.1)
        began = time.monotonic()

        def enqueue() -> None:
            producer = self.open_blocking(bench.address)
            producer.enqueue([job("a")], bench.origin())
            producer.close()

        await asyncio.to_thread(enqueue)
        assert names((await fetch).deliveries) == ["a"]
        assert time.monotonic() - began < _WOKEN_S

    @case()
    async def test_a_moment_that_comes_wakes(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", delay_s=0.4)
        began = time.monotonic()
        assert names((await consumer.fetch(10, MAX_BYTES, LONG_S)).deliveries) == ["a"]
        assert time.monotonic() - began < 0.4 + _WOKEN_S

    @case()
    async def test_a_moment_that_is_enqueued_meanwhile_wakes(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("far", delay_s=1000)
        fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await bench.put("near", delay_s=0.2)
        assert names((await fetch).deliveries) == ["near"]
        assert time.monotonic() - began < 0.2 + _WOKEN_S  # seen at the latest by the look of once a second

    @case()
    async def test_what_goes_back_wakes_others(self, bench: Bench) -> None:
        holder, waiter = await bench.consumer(), await bench.consumer(broker=await bench.open())
        await bench.put("a")
        for attempt_fails in (False, True):
            delivery = await bench.take_one(holder)
            fetch = asyncio.create_task(waiter.fetch(10, MAX_BYTES, LONG_S))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            back = Again(delivery, 0, JobError("E")) if attempt_fails else Release(delivery)
            await bench.settle(holder, back)
            (again,) = (await fetch).deliveries
            assert time.monotonic() - began < _WOKEN_S
            await bench.settle(waiter, Release(again))

    @case()
    async def test_a_consumer_that_closes_wakes_others(self, bench: Bench) -> None:
        holder, waiter = await bench.consumer(), await bench.consumer(broker=await bench.open())
        await bench.put("a")
        await bench.take_one(holder)
        fetch = asyncio.create_task(waiter.fetch(10, MAX_BYTES, LONG_S))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await holder.close()
        assert names((await fetch).deliveries) == ["a"]
        assert time.monotonic() - began < _WOKEN_S

    @case("inspect")
    async def test_what_an_operator_retries_wakes(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        ids = await bench.put("a", delay_s=1000)
        fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert list(await bench.inspector.change(ids, Retried())) == ids
        assert names((await fetch).deliveries) == ["a"]
        assert time.monotonic() - began < _WOKEN_S

    @case()
    async def test_many_who_wait_are_all_woken(self, bench: Bench) -> None:
        consumers = [await bench.consumer(broker=await bench.open()) for _ in range(5)]
        fetches = [asyncio.create_task(consumer.fetch(1, MAX_BYTES, LONG_S)) for consumer in consumers]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await bench.put(*"abcde")
        got = [names(fetched.deliveries) for fetched in await asyncio.gather(*fetches)]
        assert sorted(got) == [["a"], ["b"], ["c"], ["d"], ["e"]]
        assert time.monotonic() - began < _WOKEN_S

    @case()
    async def test_a_cancelled_fetch_takes_nothing_with_it(self, bench: Bench) -> None:
        consumer, other = await bench.consumer(), await bench.consumer(broker=await bench.open())
        for turn in range(5):
            fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
            await asyncio.sleep(0.02 * turn)
            fetch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetch
        await bench.put("a")
        (delivery,) = (await other.fetch(1, MAX_BYTES, LONG_S)).deliveries
        await bench.settle(other, Release(delivery))
        (delivery,) = (await consumer.fetch(1, MAX_BYTES, LONG_S)).deliveries
        assert list(await bench.settle(consumer, Done(delivery))) == []

    @case("inspect")
    async def test_a_fetch_cancelled_as_the_job_comes_does_not_lose_it(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        for turn in range(10):
            fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
            await asyncio.sleep(0.01)
            enqueue = asyncio.create_task(bench.put(str(turn)))
            await asyncio.sleep(0.0004 * turn)
            fetch.cancel()
            (outcome,) = await asyncio.gather(fetch, return_exceptions=True)
            (id,) = await enqueue
            deliveries = list(outcome.deliveries) if isinstance(outcome, Fetched) else []
            if not deliveries:
                deliveries = list((await consumer.fetch(10, MAX_BYTES, LONG_S)).deliveries)
            assert [delivery.id for delivery in deliveries] == [id]
            assert list(await bench.settle(consumer, *(Done(delivery) for delivery in deliveries))) == []
