# ruff: noqa: D102 - a test's name says what it proves
"""The contract on queues that are paused: what stops, what goes on, and that whoever waits is woken in the end."""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock.core.job import Delivery, JobError
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Again, Done, Release
from penstock.errors import ConfigError
from penstock.ports.inspector import Cancelling, QueueCounts, Retried
from penstock.testing.contract.bench import LEASE_S, LONG_S, MAX_BYTES, Bench, ContractBase, case, job, names

# What is woken is there within this, also on a busy machine; only a missed wake-up takes longer (a second).
_WOKEN_S = 0.8


class PauseContract(ContractBase):
    """See the module's text."""

    # What stops

    @case("inspect")
    async def test_nothing_is_claimed_from_a_paused_queue(self, bench: Bench) -> None:
        before, elsewhere = await bench.consumer("q", "r"), await bench.open()
        await bench.put("a", "b")
        await bench.put("c", queue="r")
        assert list(await bench.inspector.pause(["q"])) == ["q"]
        after = await bench.consumer("q", "r", broker=elsewhere)
        assert names(await bench.take(after)) == ["c"]
        for consumer in (before, after):
            assert await bench.take(consumer) == []
        assert list(await bench.inspector.resume(["q"])) == ["q"]
        assert names(await bench.take(before, 1)) == ["a"]
        assert names(await bench.take(after)) == ["b"]

    @case("inspect")
    async def test_a_pause_ends_claims_between_two_fetches(self, bench: Bench) -> None:
        consumer = await bench.consumer("r", "q")
        await bench.put("a", "b")
        assert names(await bench.take(consumer, 1)) == ["a"]
        await bench.inspector.pause(["q"])
        assert await bench.take(consumer) == []

    @case("inspect")
    async def test_suspects_of_a_paused_queue_wait_too(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.settle(consumer, Release(await bench.take_one(consumer), crashed=True))
        await bench.inspector.pause(["q"])
        assert await bench.take(consumer) == []
        await bench.inspector.resume(["q"])
        assert (await bench.take_one(consumer)).suspect

    @case("inspect")
    async def test_a_pause_is_told_of_once(self, bench: Bench) -> None:
        await bench.put("a")
        await bench.put("b", queue="r")
        other = await bench.open_inspector()
        assert list(await bench.inspector.pause([])) == []
        assert list(await bench.inspector.pause(["r", "q", "r"])) == ["r", "q"]
        assert list(await other.pause(["q", "s"])) == ["s"]
        assert list(await other.resume(["q", "q", "t"])) == ["q"]
        assert list(await bench.inspector.resume(["q", "r", "s"])) == ["r", "s"]

    @case("inspect")
    async def test_a_paused_queue_is_shown_as_such_also_one_that_never_held_a_job(self, bench: Bench) -> None:
        await bench.put("a")
        await bench.inspector.pause(["q", "new"])
        assert list(await (await bench.open_inspector()).queues()) == [
            QueueCounts("new", paused=True),
            QueueCounts("q", ready=1, enqueued_total=1, paused=True),
        ]
        await bench.put("b", queue="new")
        assert await bench.take(await bench.consumer("new")) == []
        await bench.inspector.resume(["q", "new"])
        assert [counts.paused for counts in await bench.inspector.queues()] == [False, False]

    @case("inspect")
    async def test_another_namespace_is_not_paused(self, bench: Bench) -> None:
        stranger = await bench.open("another")
        await stranger.enqueue([job("a")], bench.origin())
        await bench.inspector.pause(["q"])
        assert names(await bench.take(await bench.consumer(broker=stranger))) == ["a"]

    @case("inspect")
    async def test_what_cannot_be_a_queue_cannot_be_paused(self, bench: Bench) -> None:
        for wrong in ("", "two words", "{q}"):
            with pytest.raises(ConfigError):
                await bench.inspector.pause(["q", wrong])
            with pytest.raises(ConfigError):
                await bench.inspector.resume([wrong])
        assert list(await bench.inspector.pause(["q"])) == ["q"]

    # What goes on

    @case("inspect")
    async def test_running_jobs_of_a_paused_queue_are_settled(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("done", "again", "back", "held")
        done, again, back, held = await bench.take(consumer)
        await bench.inspector.pause(["q"])
        settlements = (Done(done, b"1", 1000), Again(again, 0, JobError("E")), Release(back))
        assert list(await bench.settle(consumer, *settlements)) == []
        assert (await consumer.beat(LEASE_S, (), [held])).lost == frozenset()
        await bench.tend()
        counts = await bench.counts()
        assert (counts.ready, counts.running, counts.succeeded_total) == (2, 1, 1)
        assert (await bench.record(done.id)).result == b"1"
        await bench.inspector.resume(["q"])
        assert sorted(names(await bench.take(consumer))) == ["again", "back"]

    @case("inspect")
    async def test_a_paused_queue_is_kept_house_in(self, bench: Bench) -> None:
        lost = await bench.consumer()
        await bench.put("lost")
        await bench.take_one(lost)
        await bench.inspector.pause(["q"])
        ids = await bench.put("due", delay_s=10)
        ids += await bench.put("over", expires_s=10)
        ids += await bench.put("cancelled")
        assert list(await bench.inspector.change(ids[2:], Cancelling())) == ids[2:]
        assert await bench.outlive_lease() == 1
        states = [await bench.state(id) for id in ("q:lost", *ids)]
        assert states == [JobState.READY, JobState.READY, JobState.EXPIRED, JobState.CANCELLED]
        assert await bench.take(await bench.consumer()) == []
        await bench.inspector.resume(["q"])
        assert names(await bench.take(await bench.consumer())) == ["lost", "due"]

    @case("inspect")
    async def test_a_consumer_that_takes_nothing_keeps_its_lease(self, bench: Bench) -> None:
        consumer = await bench.consumer("q", "r")
        await bench.put("a", queue="r")
        held = await bench.take_one(consumer)
        await bench.inspector.pause(["q", "r"])

        async def fetch() -> None:
            assert await bench.take(consumer) == []

        assert await bench.outlive_lease("q", "r", meanwhile=fetch) == 0
        assert list(await bench.settle(consumer, Done(held))) == []

    @case("inspect")
    async def test_what_is_due_in_a_paused_queue_is_nobodys_business(self, bench: Bench) -> None:
        consumers = [await bench.consumer("q", "r"), await bench.consumer("r", "q")]
        await bench.put("sooner", delay_s=50)
        await bench.put("later", queue="r", delay_s=100)
        await bench.inspector.pause(["q"])
        for left_s in (100, 40):
            for consumer in consumers:
                fetched = await consumer.fetch(10, MAX_BYTES, 0)
                assert fetched.next_due_s == pytest.approx(left_s, abs=20)
            bench.shift(60)
        assert names(await bench.take(consumers[0])) == ["later"]
        await bench.inspector.resume(["q"])
        assert names(await bench.take(consumers[1])) == ["sooner"]

    # Waiting

    @case("inspect")
    async def test_who_waits_for_a_paused_queue_waits_to_the_end(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a")
        await bench.put("soon", delay_s=0.1)
        await bench.inspector.pause(["q"])
        fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, 0.5))
        began = time.monotonic()
        await asyncio.sleep(0.1)
        await bench.put("b")
        assert not (await fetch).deliveries
        assert 0.45 < time.monotonic() - began < 0.5 + _WOKEN_S

    @case("inspect")
    async def test_a_job_of_another_queue_wakes_beside_a_paused_one(self, bench: Bench) -> None:
        consumer = await bench.consumer("q", "r")
        await bench.put("a")
        await bench.inspector.pause(["q"])
        fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await bench.put("b", queue="r")
        assert names((await fetch).deliveries) == ["b"]
        assert time.monotonic() - began < _WOKEN_S

    @case("inspect")
    async def test_a_resume_through_another_instance_wakes_all_who_wait(self, bench: Bench) -> None:
        other = await bench.open_inspector()
        consumers = [await bench.consumer("first", "q", broker=await bench.open()) for _ in range(3)]
        await bench.inspector.pause(["q"])
        await bench.put("a", "b", "c")
        for turn in range(2):
            fetches = [asyncio.create_task(consumer.fetch(1, MAX_BYTES, LONG_S)) for consumer in consumers]
            await asyncio.sleep(0.1)  # so that they wait in earnest
            began = time.monotonic()
            assert list(await other.resume(["q"])) == ["q"]
            got: list[Delivery] = [
                d for fetched in await asyncio.gather(*fetches) for d in fetched.deliveries
            ]
            assert sorted(names(got)) == ["a", "b", "c"]
            assert time.monotonic() - began < _WOKEN_S
            if not turn:
                await bench.inspector.pause(["q"])
                for consumer in consumers:
                    await bench.settle(consumer, *(Release(each) for each in got))

    @case("inspect")
    async def test_a_moment_of_a_queue_that_was_paused_wakes(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.inspector.pause(["q"])
        ids = await bench.put("far", delay_s=1000)
        await bench.put("near", delay_s=0.2)
        fetch = asyncio.create_task(consumer.fetch(10, MAX_BYTES, LONG_S))
        await asyncio.sleep(0.1)
        await bench.inspector.resume(["q"])
        began = time.monotonic()
        assert names((await fetch).deliveries) == ["near"]
        assert time.monotonic() - began < _WOKEN_S  # the look of once a second comes later
        assert list(await bench.inspector.change(ids, Retried())) == ids
