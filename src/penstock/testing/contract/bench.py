"""What the contract's tests work on: brokers on one fresh storage, a clock that they can move, and a few verbs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import pytest

from penstock import brokers
from penstock.brokers import Address
from penstock.core.job import Delivery, Enqueued, Job, JobRecord, Origin
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Settlement
from penstock.ports.broker import BlockingProducer, Broker, Consumer, Maintained, WorkerCard
from penstock.ports.inspector import Inspector, QueueCounts

# Long enough that no lease ends by the time that a slow machine takes; tests move the clock instead.
LEASE_S = 600.0
# Above every body of the tests.
MAX_BYTES = 64 * 1024 * 1024
# A wait that is to be ended by something; where it is not, the test fails instead of hanging.
LONG_S = 20.0


class Bench:
    """One storage, and what a test has opened on it; everything is closed at the end."""

    def __init__(self, suite: ContractBase, address: Address) -> None:
        self._suite = suite
        self.address = address
        self._brokers: list[Broker] = []
        self._blocking: list[BlockingProducer] = []
        self._shift_s = 0.0
        self._calls = 0
        self._settles = 0
        self.broker: Broker
        self.inspector: Inspector

    async def __aenter__(self) -> Bench:
        self.broker = await self.open()
        if self.broker.capabilities.inspect:
            self.inspector = brokers.inspector(self.broker)
        return self

    async def __aexit__(self, *_: object) -> None:
        for producer in self._blocking:
            producer.close()
        for broker in self._brokers:
            await broker.close()

    async def open(self, namespace: str | None = None) -> Broker:
        """Another instance on the same storage; in another namespace where one is named."""
        address = self.address if namespace is None else self.address._replace(namespace=namespace)
        broker = self._suite.open_broker(address)
        self._brokers.append(broker)
        await broker.open()
        broker.clock_shift_s = self._shift_s
        return broker

    async def open_inspector(self) -> Inspector:
        """The inspector of another instance."""
        return brokers.inspector(await self.open())

    def blocking(self) -> BlockingProducer:
        """A blocking producer on the same storage."""
        producer = self._suite.open_blocking(self.address)
        self._blocking.append(producer)
        return producer

    def shift(self, seconds: float) -> None:
        """Moves the clock of all brokers of this bench by ``seconds``."""
        self._shift_s += seconds
        for broker in self._brokers:
            broker.clock_shift_s = self._shift_s

    def now(self) -> float:
        """The brokers' clock, as near as the machine's tells."""
        return time.time() + self._shift_s

    def origin(self) -> Origin:
        """A producer's next call."""
        self._calls += 1
        return Origin("bench", self._calls)

    async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> list[Enqueued]:
        """One call."""
        return list(await self.broker.enqueue(jobs, origin))

    async def put(self, *names: str, queue: str = "q", **options: Any) -> list[str]:
        """Enqueues a job for each name, in one call; returns the ids."""
        jobs = [job(name, queue, **options) for name in names]
        answers = await self.enqueue(jobs, self.origin())
        assert answers == [Enqueued(job.id, True) for job in jobs]
        return [job.id for job in jobs]

    async def consumer(
        self, *queues: str, broker: Broker | None = None, lease_s: float = LEASE_S
    ) -> Consumer:
        """A consumer of ``queues``, by default of ``q``."""
        card = WorkerCard("worker", "app", queues=list(queues or ("q",)))
        return await (broker or self.broker).consumer(
            queues or ("q",), window=1000, lease_s=lease_s, card=card
        )

    async def take(self, consumer: Consumer, limit: int = 100) -> list[Delivery]:
        """What is there now."""
        return list((await consumer.fetch(limit, MAX_BYTES, 0)).deliveries)

    async def take_one(self, consumer: Consumer) -> Delivery:
        """The next job, which must be there."""
        (delivery,) = await self.take(consumer, 1)
        return delivery

    async def settle(self, consumer: Consumer, *settlements: Settlement) -> Sequence[Delivery]:
        """One new settle call; returns what was lost."""
        self._settles += 1
        return await consumer.settle(settlements, self._settles)

    async def tend(self, *queues: str, limit: int = 1000) -> Maintained:
        """One round of maintenance, by default of ``q``."""
        return await self.broker.maintain(queues or ("q",), limit, LEASE_S)

    async def outlive_lease(
        self, *queues: str, meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> int:
        """Moves the clock past a lease, in steps short enough for the witness; returns how many were reclaimed."""
        reclaimed = 0
        for _ in range(9):
            if meanwhile is not None:
                await meanwhile()
            reclaimed += (await self.tend(*queues)).reclaimed
            self.shift(LEASE_S / 4)
        return reclaimed + (await self.tend(*queues)).reclaimed

    async def record(self, id: str) -> JobRecord:
        """A job that must be stored."""
        record = await self.inspector.get(id)
        assert record is not None, f"{id} is not stored"
        return record

    async def state(self, id: str) -> JobState:
        """Where a job that must be stored stands."""
        return (await self.record(id)).state

    async def counts(self, queue: str = "q") -> QueueCounts:
        """A queue's counts."""
        (counts,) = [counts for counts in await self.inspector.queues() if counts.queue == queue]
        return counts


def job(name: str, queue: str = "q", **options: Any) -> Job:
    """A job of this name; its body is its id where none is given."""
    id = f"{queue}:{name}"
    return Job(id, queue, options.pop("body", id.encode()), unique=options.pop("unique", True), **options)


def names(deliveries: Sequence[Delivery]) -> list[str]:
    """The names of the jobs, as ``put`` took them."""
    return [delivery.id.partition(":")[2] for delivery in deliveries]


class ContractBase:
    """What the parts of the contract share; see ``BrokerContract``."""

    # The tests that this broker's capabilities do not allow; exactly these are skipped.
    skips: frozenset[str] = frozenset()

    def open_broker(self, address: Address) -> Broker:
        """A broker at ``address``, not yet opened."""
        return brokers.connect(address)

    def open_blocking(self, address: Address) -> BlockingProducer:
        """A blocking producer at ``address``."""
        return brokers.connect_blocking(address)


class Case(Protocol):
    """A test of the contract as it is written: a method that takes a bench."""

    __name__: str
    __doc__: str | None

    def __call__(self, suite: Any, bench: Bench, /) -> Awaitable[None]:
        """Runs it."""
        ...


def case(*needs: str) -> Callable[[Case], Callable[[Any, str], None]]:
    """Makes a coroutine that takes a bench a test; ``needs`` are the capabilities without which it is skipped."""

    def decorate(test: Case) -> Callable[[Any, str], None]:
        def run(self: ContractBase, broker_url: str) -> None:
            address = brokers.address(broker_url, namespace="contract")
            lacking = _lacking(self.open_broker(address), needs)
            declared = test.__name__ in self.skips
            assert bool(lacking) == declared, f"{test.__name__}: lacks {lacking}, listed in skips: {declared}"
            if lacking:
                pytest.skip(f"this broker does not offer: {', '.join(lacking)}")
            asyncio.run(_on_bench(self, address, test))

        # Not functools.wraps: pytest would look through it and ask for a fixture "bench".
        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


def _lacking(broker: Broker, needs: Sequence[str]) -> list[str]:
    return [need for need in needs if not getattr(broker.capabilities, need)]


async def _on_bench(suite: ContractBase, address: Address, test: Case) -> None:
    async with Bench(suite, address) as bench:
        await test(suite, bench)
