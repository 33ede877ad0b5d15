# ruff: noqa: D102 - a test's name says what it proves
"""The contract on enqueueing: what is stored, what a repeated call adds, what an id of the user's means."""

from __future__ import annotations

from penstock.core.job import Enqueued, JobError, Origin
from penstock.core.lifecycle import KEEP_EXPIRED_S, JobState
from penstock.core.options import MAX_DURATION_S
from penstock.core.settlement import Cancelled, Cause, Dead, Done, Quarantine
from penstock.ports.inspector import Deleting
from penstock.testing.contract.bench import Bench, ContractBase, case, job, names

_BODIES = {
    "empty": b"",
    "zeroes": b"\0" * 5,
    "all-bytes": bytes(range(256)) * 3,
    "not-utf8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "quotes": b"'\"\\`$(x)\r\n",
    "utf8": "schön \N{SNOWMAN} \N{PILE OF POO}".encode(),
    "json": b'{"v":1,"task":"t","args":[1e400,"\\u0000"]}',
}


class EnqueueContract(ContractBase):
    """See the module's text."""

    @case()
    async def test_what_was_enqueued_is_delivered_as_it_was(self, bench: Bench) -> None:
        answers = await bench.enqueue([job("a", body=b"body", priority=3)], bench.origin())
        assert answers == [Enqueued("q:a", True)]
        delivery = await bench.take_one(await bench.consumer())
        assert (delivery.id, delivery.queue, delivery.body, delivery.priority) == ("q:a", "q", b"body", 3)
        assert (delivery.attempt, delivery.crashes, delivery.streak) == (0, 0, 0)
        assert not delivery.suspect
        assert delivery.retried_at == 0

    @case()
    async def test_bodies_survive_byte_for_byte(self, bench: Bench) -> None:
        jobs = [job(name, body=body) for name, body in _BODIES.items()]
        await bench.broker.enqueue(jobs, bench.origin())
        deliveries = await bench.take(await bench.consumer())
        assert dict(zip(names(deliveries), [d.body for d in deliveries], strict=True)) == _BODIES

    @case()
    async def test_a_large_body_survives(self, bench: Bench) -> None:
        body = bytes(range(256)) * 8192
        await bench.broker.enqueue([job("large", body=body)], bench.origin())
        assert (await bench.take_one(await bench.consumer())).body == body

    @case()
    async def test_nothing_enqueued_is_nothing_answered(self, bench: Bench) -> None:
        assert list(await bench.broker.enqueue([], bench.origin())) == []

    @case()
    async def test_answers_come_in_the_order_of_the_jobs_over_queues(self, bench: Bench) -> None:
        jobs = [job(str(i), queue=f"q{i % 3}") for i in range(30)]
        answers = await bench.enqueue(jobs, bench.origin())
        assert [answer.id for answer in answers] == [job.id for job in jobs]
        for i in range(3):
            deliveries = await bench.take(await bench.consumer(f"q{i}"))
            assert names(deliveries) == [str(n) for n in range(i, 30, 3)]

    @case()
    async def test_a_big_batch_and_its_order(self, bench: Bench) -> None:
        wanted = [f"{n:04}" for n in range(2500)]
        await bench.put(*wanted)
        consumer = await bench.consumer()
        seen: list[str] = []
        while deliveries := await bench.take(consumer, 200):
            seen += names(deliveries)
        assert seen == wanted

    @case()
    async def test_many_queues(self, bench: Bench) -> None:
        queues = [f"line-{n}" for n in range(60)]
        await bench.broker.enqueue([job("a", queue) for queue in queues], bench.origin())
        deliveries = await bench.take(await bench.consumer(*queues))
        assert [delivery.queue for delivery in deliveries] == queues

    @case()
    async def test_ids_that_a_user_or_a_machine_draws(self, bench: Bench) -> None:
        visible = "".join(map(chr, range(0x21, 0x7F)))
        queue = "A_z-0.9" * 18
        ids = [f"q:{visible}", f"q:{'x' * 200}", f"{queue}:a:b"]
        await bench.broker.enqueue(
            [job(id.partition(":")[2], id.partition(":")[0]) for id in ids], bench.origin()
        )
        consumer = await bench.consumer("q", queue)
        deliveries = await bench.take(consumer)
        assert [delivery.id for delivery in deliveries] == ids
        assert list(await bench.settle(consumer, *(Done(delivery) for delivery in deliveries))) == []
        assert await bench.outlive_lease("q", queue) == 0

    @case()
    async def test_one_name_in_two_queues_is_two_jobs(self, bench: Bench) -> None:
        answers = await bench.enqueue([job("a", "one"), job("a", "two")], bench.origin())
        assert all(answer.added for answer in answers)
        assert len(await bench.take(await bench.consumer("one", "two"))) == 2

    @case()
    async def test_namespaces_are_apart(self, bench: Bench) -> None:
        other = await bench.open(namespace="another")
        await bench.put("a")
        assert await bench.take(await bench.consumer(broker=other)) == []
        answers = list(await other.enqueue([job("a", body=b"theirs")], Origin("bench", 1)))
        assert answers == [Enqueued("q:a", True)]
        assert (await bench.take_one(await bench.consumer(broker=other))).body == b"theirs"
        assert (await bench.take_one(await bench.consumer())).body == b"q:a"

    @case()
    async def test_opening_and_closing_twice_is_safe(self, bench: Bench) -> None:
        broker = await bench.open()
        await broker.open()
        await broker.enqueue([job("a")], bench.origin())
        await broker.close()
        await broker.close()
        assert names(await bench.take(await bench.consumer())) == ["a"]

    # Repeated calls

    @case("unique")
    async def test_a_repeated_call_adds_nothing_and_is_answered_the_same(self, bench: Bench) -> None:
        jobs, origin = [job(name, unique=False) for name in "abc"], Origin("me", 7)
        first = await bench.broker.enqueue(jobs, origin)
        again = await (await bench.open()).enqueue(jobs, origin)
        assert list(again) == list(first) == [Enqueued(job.id, True) for job in jobs]
        assert names(await bench.take(await bench.consumer())) == ["a", "b", "c"]

    @case("unique")
    async def test_a_repeated_call_adds_nothing_when_its_jobs_are_long_forgotten(self, bench: Bench) -> None:
        origin, consumer = Origin("me", 1), await bench.consumer()
        await bench.broker.enqueue([job("a")], origin)
        await bench.settle(consumer, Done(await bench.take_one(consumer)))
        bench.shift(3000)
        await bench.tend()
        assert list(await bench.broker.enqueue([job("a")], origin)) == [Enqueued("q:a", True)]
        assert await bench.take(consumer) == []

    @case("unique")
    async def test_a_repeated_call_tells_again_which_jobs_were_there(self, bench: Bench) -> None:
        await bench.put("there")
        jobs, origin = [job("new"), job("there"), job("other")], Origin("me", 1)
        first = [Enqueued("q:new", True), Enqueued("q:there", False), Enqueued("q:other", True)]
        assert list(await bench.broker.enqueue(jobs, origin)) == first
        consumer = await bench.consumer()
        await bench.settle(consumer, *(Done(delivery) for delivery in await bench.take(consumer)))
        assert list(await bench.broker.enqueue(jobs, origin)) == first

    @case("unique")
    async def test_a_repeated_call_over_queues_adds_nothing(self, bench: Bench) -> None:
        jobs, origin = [job(str(n), f"q{n % 3}", unique=False) for n in range(9)], Origin("me", 1)
        first = list(await bench.broker.enqueue(jobs, origin))
        assert list(await bench.broker.enqueue(jobs, origin)) == first
        assert len(await bench.take(await bench.consumer("q0", "q1", "q2"))) == 9

    @case("unique")
    async def test_a_call_that_reached_one_queue_is_completed_when_repeated(self, bench: Bench) -> None:
        origin = Origin("me", 1)
        await bench.broker.enqueue([job("a", "one", unique=False)], origin)
        both = [job("a", "one", unique=False), job("b", "two", unique=False)]
        assert all(answer.added for answer in await bench.broker.enqueue(both, origin))
        assert names(await bench.take(await bench.consumer("one", "two"))) == ["a", "b"]

    @case("unique")
    async def test_another_producer_and_a_greater_number_are_new_calls(self, bench: Bench) -> None:
        for origin, name in ((Origin("me", 1), "a"), (Origin("you", 1), "b"), (Origin("me", 2), "c")):
            assert (await bench.broker.enqueue([job(name)], origin))[0].added
        assert names(await bench.take(await bench.consumer())) == ["a", "b", "c"]

    # The user's ids

    @case("unique")
    async def test_a_unique_id_is_left_as_it_is_while_it_waits_or_runs(self, bench: Bench) -> None:
        await bench.put("ready", body=b"first")
        await bench.put("later", body=b"first", delay_s=100)
        for _ in range(2):
            answers = await bench.enqueue([job("ready", body=b"2"), job("later", body=b"2")], bench.origin())
            assert answers == [Enqueued("q:ready", False), Enqueued("q:later", False)]
        consumer = await bench.consumer()
        (ready,) = await bench.take(consumer)
        assert not (await bench.broker.enqueue([job("ready", body=b"2")], bench.origin()))[0].added
        bench.shift(101)
        (later,) = await bench.take(consumer)
        assert ready.body == later.body == b"first"

    @case("unique")
    async def test_a_unique_id_is_taken_while_its_outcome_is_kept(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("done", "dead", "odd", "cancelled")
        done, dead, odd, cancelled = await bench.take(consumer)
        await bench.settle(
            consumer,
            Done(done, b"1", ttl_s=50),
            Dead(dead, JobError("E"), Cause.REJECTED),
            Quarantine(odd, "not JSON"),
            Cancelled(cancelled, ttl_s=50),
        )
        again = [job("done"), job("dead"), job("odd"), job("cancelled")]
        assert not any(answer.added for answer in await bench.broker.enqueue(again, bench.origin()))
        bench.shift(51)
        answers = await bench.enqueue(again, bench.origin())
        assert [answer.added for answer in answers] == [True, False, False, True]
        assert names(await bench.take(consumer)) == ["done", "cancelled"]

    @case("unique")
    async def test_a_unique_id_is_taken_while_its_expiry_is_kept(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        await bench.put("a", expires_s=10)
        bench.shift(11)
        assert await bench.take(consumer) == []
        assert not (await bench.broker.enqueue([job("a")], bench.origin()))[0].added
        bench.shift(KEEP_EXPIRED_S + 1)
        assert (await bench.broker.enqueue([job("a")], bench.origin()))[0].added
        assert names(await bench.take(consumer)) == ["a"]

    @case("unique")
    async def test_a_unique_id_is_free_once_nothing_of_it_is_stored(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        for _ in range(3):
            await bench.put("a")
            await bench.settle(consumer, Done(await bench.take_one(consumer)))

    @case("unique", "inspect")
    async def test_a_unique_id_is_free_after_a_deletion(self, bench: Bench) -> None:
        consumer = await bench.consumer()
        (id,) = await bench.put("a")
        assert list(await bench.inspector.change([id], Deleting())) == [id]
        await bench.put("a", body=b"new")
        assert [delivery.body for delivery in await bench.take(consumer)] == [b"new"]

    @case("unique")
    async def test_one_unique_id_twice_in_a_call_is_stored_once(self, bench: Bench) -> None:
        answers = await bench.enqueue([job("a", body=b"1"), job("a", body=b"2")], bench.origin())
        assert answers == [Enqueued("q:a", True), Enqueued("q:a", False)]
        assert [delivery.body for delivery in await bench.take(await bench.consumer())] == [b"1"]

    # Moments

    @case()
    async def test_delays_and_moments_hold_a_job_back(self, bench: Bench) -> None:
        now = bench.now()
        await bench.put("delay", delay_s=100)
        await bench.put("moment", due_at=now + 50)
        await bench.put("past", due_at=now - 50)
        await bench.put("now", delay_s=0)
        consumer = await bench.consumer()
        assert names(await bench.take(consumer)) == ["past", "now"]
        bench.shift(60)
        assert names(await bench.take(consumer)) == ["moment"]
        bench.shift(60)
        assert names(await bench.take(consumer)) == ["delay"]

    @case("inspect")
    async def test_the_longest_delay_is_kept(self, bench: Bench) -> None:
        (id,) = await bench.put("a", delay_s=MAX_DURATION_S, expires_s=MAX_DURATION_S)
        record = await bench.record(id)
        assert record.state is JobState.SCHEDULED
        assert abs(record.due_at - bench.now() - MAX_DURATION_S) < 60
        assert abs(record.expires_at - bench.now() - MAX_DURATION_S) < 60
        assert await bench.take(await bench.consumer()) == []
