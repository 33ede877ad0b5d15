# ruff: noqa: D102 - a test's name says what it proves
"""The contract on the blocking producer: the same rules, and the same numbers, as the asynchronous enqueue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from penstock.core.job import Enqueued, Job, Origin
from penstock.errors import ConfigError
from penstock.testing.contract.bench import Bench, ContractBase, case, job, names


class _Interrupted(list[Job]):
    """Jobs that do something else first whenever they are gone through."""

    def __init__(self, jobs: list[Job], by: Callable[[], None]) -> None:
        super().__init__(jobs)
        self._by = by

    def __iter__(self) -> Iterator[Job]:
        self._by()
        return super().__iter__()


class BlockingContract(ContractBase):
    """See the module's text."""

    @case()
    async def test_blocking_what_was_enqueued_is_delivered_as_it_was(self, bench: Bench) -> None:
        bodies = {"zeroes": b"\0\0", "bytes": bytes(range(256)), "empty": b""}
        jobs = [job(name, body=body, priority=4) for name, body in bodies.items()]
        answers = bench.blocking().enqueue(jobs, bench.origin())
        assert list(answers) == [Enqueued(job.id, True) for job in jobs]
        deliveries = await bench.take(await bench.consumer())
        assert dict(zip(names(deliveries), [d.body for d in deliveries], strict=True)) == bodies
        assert {delivery.priority for delivery in deliveries} == {4}

    @case()
    async def test_blocking_batches_over_queues_keep_their_order(self, bench: Bench) -> None:
        producer = bench.blocking()
        assert list(producer.enqueue([], bench.origin())) == []
        jobs = [job(f"{n:04}", f"q{n % 3}") for n in range(1500)]
        assert [answer.id for answer in producer.enqueue(jobs, bench.origin())] == [job.id for job in jobs]
        for n in range(3):
            deliveries = await bench.take(await bench.consumer(f"q{n}"), 1000)
            assert names(deliveries) == [f"{m:04}" for m in range(n, 1500, 3)][: len(deliveries)]

    @case()
    async def test_blocking_moments_and_expiries_count(self, bench: Bench) -> None:
        now = bench.now()
        jobs = [job("later", delay_s=100), job("then", due_at=now + 50), job("over", expires_at=now - 50)]
        bench.blocking().enqueue(
            [*jobs, job("past", due_at=now - 50), job("short", expires_s=20)], bench.origin()
        )
        consumer = await bench.consumer()
        assert names(await bench.take(consumer, 1)) == ["past"]
        bench.shift(60)
        assert names(await bench.take(consumer)) == ["then"]
        bench.shift(60)
        assert names(await bench.take(consumer)) == ["later"]

    @case("unique")
    async def test_blocking_calls_in_two_halves_are_as_whole_ones(self, bench: Bench) -> None:
        producer = bench.blocking()
        assert list(producer.begin([], bench.origin())()) == []
        for number, count in enumerate((1, 3, 450, 1)):
            jobs = [job(f"{number}-{n:04}") for n in range(count)]
            origin = bench.origin()
            assert list(producer.begin(jobs, origin)()) == [Enqueued(job.id, True) for job in jobs]
            assert list(producer.enqueue(jobs, origin)) == [Enqueued(job.id, True) for job in jobs]
        mixed = [job("0-0000"), job("new", "other")]
        assert [answer.added for answer in producer.begin(mixed, bench.origin())()] == [False, True]
        taken = names(await bench.take(await bench.consumer(), 1_000))
        assert taken[0] == "0-0000"
        assert len(taken) == len(set(taken)) >= 200

    @case("unique")
    async def test_blocking_and_asynchronous_calls_share_their_numbers(self, bench: Bench) -> None:
        producer, jobs, origin = bench.blocking(), [job("a", unique=False)], Origin("me", 1)
        first = list(producer.enqueue(jobs, origin))
        assert first == [Enqueued("q:a", True)]
        assert list(producer.enqueue(jobs, origin)) == first
        assert list(bench.blocking().enqueue(jobs, origin)) == first
        assert list(await bench.broker.enqueue(jobs, origin)) == first
        assert list(producer.enqueue([job("b")], Origin("me", 2))) == [Enqueued("q:b", True)]
        assert names(await bench.take(await bench.consumer())) == ["a", "b"]

    @case("unique")
    async def test_blocking_unique_ids_are_left_as_they_are(self, bench: Bench) -> None:
        producer = bench.blocking()
        await bench.put("a", body=b"first")
        jobs = [job("a", body=b"2"), job("b", body=b"first"), job("b", body=b"2")]
        answers = [answer.added for answer in producer.enqueue(jobs, bench.origin())]
        assert answers == [False, True, False]
        assert {delivery.body for delivery in await bench.take(await bench.consumer())} == {b"first"}

    @case()
    async def test_blocking_producers_of_many_threads_lose_nothing(self, bench: Bench) -> None:
        def enqueue(thread: int) -> None:
            producer = self.open_blocking(bench.address)
            for n in range(20):
                producer.enqueue([job(f"{thread}-{n}")], Origin(f"thread-{thread}", n + 1))
            producer.close()

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(enqueue, range(4)))
        deliveries = await bench.take(await bench.consumer())
        assert sorted(names(deliveries)) == sorted(f"{thread}-{n}" for thread in range(4) for n in range(20))

    @case()
    async def test_blocking_calls_in_the_middle_of_another_are_carried_out_or_refused_at_once(
        self, bench: Bench
    ) -> None:
        # As where the handler of a signal enqueues: the same thread, with another producer.
        outer, inner = bench.blocking(), bench.blocking()
        stored, refused = ["outer-0", "outer-1"], 0

        def interrupt() -> None:
            nonlocal refused
            name = f"inner-{len(stored)}"
            try:
                inner.enqueue([job(name)], Origin("inner", len(stored)))
            except ConfigError:
                refused += 1
            else:
                stored.append(name)

        outer.enqueue(_Interrupted([job("outer-0"), job("outer-1")], interrupt), bench.origin())
        assert len(stored) - 2 + refused >= 1
        inner.enqueue([job("after")], Origin("inner", 1_000))
        taken = names(await bench.take(await bench.consumer()))
        assert sorted(taken) == sorted([*stored, "after"])

    @case()
    async def test_blocking_closing_twice_and_abandoning_are_safe(self, bench: Bench) -> None:
        used, unused = self.open_blocking(bench.address), self.open_blocking(bench.address)
        used.enqueue([job("a")], bench.origin())
        for producer in (used, unused):
            producer.close()
            producer.close()
        child = self.open_blocking(bench.address)
        child.abandon()
        child.close()
        assert names(await bench.take(await bench.consumer())) == ["a"]
