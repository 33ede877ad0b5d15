"""What the contract does not see of the memory broker: how a process shares it, and its model's own guards."""

from __future__ import annotations

import asyncio
import threading
from uuid import uuid4

import pytest

from penstock import brokers
from penstock.brokers import Address
from penstock.brokers.memory import Model, open_blocking, open_broker
from penstock.brokers.memory.stored import Member
from penstock.core.job import Enqueued, Job, Origin
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Done, Release
from penstock.errors import BrokerError
from penstock.ports.broker import WorkerCard

CARD = WorkerCard("w", "app")
ME = Origin("me", 1)


@pytest.fixture
def address() -> Address:
    return brokers.address(f"memory://{uuid4().hex}")


def job(name: str = "a") -> Job:
    return Job(f"q:{name}", "q", b"body")


def test_one_store_for_a_name_and_namespace_in_the_whole_process(address: Address) -> None:
    open_blocking(address).enqueue([job()], ME)

    async def stored(at: Address) -> bool:
        return await open_broker(at).get("q:a") is not None

    assert asyncio.run(stored(address))
    assert asyncio.run(stored(brokers.address(address.url)))
    assert not asyncio.run(stored(address._replace(namespace="another")))
    assert not asyncio.run(stored(brokers.address("memory://another-name")))


def test_a_fetch_on_another_threads_loop_is_woken(address: Address) -> None:
    waits, got = threading.Event(), []

    async def consume() -> None:
        broker = open_broker(address)
        consumer = await broker.consumer(["q"], window=1, lease_s=60, card=CARD)
        asyncio.get_running_loop().call_soon(waits.set)
        got.extend((await consumer.fetch(1, 100, 30)).deliveries)

    thread = threading.Thread(target=asyncio.run, args=(consume(),))
    thread.start()
    assert waits.wait(10)
    open_blocking(address).enqueue([job()], ME)
    thread.join(10)
    assert [delivery.id for delivery in got] == ["q:a"]


def test_a_loop_that_was_closed_with_a_fetch_under_way_harms_nobody(address: Address) -> None:
    loop = asyncio.new_event_loop()
    broker = open_broker(address)
    consumer = loop.run_until_complete(broker.consumer(["q"], window=1, lease_s=60, card=CARD))
    fetch = loop.create_task(consumer.fetch(1, 100, 30))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert open_blocking(address).enqueue([job()], ME) == [Enqueued("q:a", True)]
    fetch.get_coro().close()  # type: ignore[union-attr]  # or Python complains of a task that was never finished
    fetch._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_closed_consumer_says_so(address: Address) -> None:
    async def main() -> None:
        broker = open_broker(address)
        consumer = await broker.consumer(["q"], window=1, lease_s=60, card=CARD, id="mine")
        await consumer.close()
        with pytest.raises(BrokerError, match="consumer mine is closed"):
            await consumer.fetch(1, 100, 0)
        with pytest.raises(BrokerError, match="consumer mine is closed"):
            await consumer.beat(60)

    asyncio.run(main())


def test_a_call_that_comes_late_adds_nothing() -> None:
    model = Model()
    model.enqueue(0.0, [job("a")], Origin("me", 5))
    assert model.enqueue(1.0, [job("b")], Origin("me", 4)) == [Enqueued("q:b", True)]
    assert model.find(1.0, "q:b") is None


def test_a_delivery_named_twice_in_a_call_is_settled_once() -> None:
    model, member = Model(), Member("m", ["q"], 60, CARD)
    model.enqueue(0.0, [job()], ME)
    (delivery,) = model.fetch(0.0, member, 1, 100).deliveries
    assert model.settle(0.0, "m", [Release(delivery), Done(delivery, b"1", 60)], 1) == []
    stored = model.find(0.0, "q:a")
    assert stored is not None
    assert stored.state is JobState.SUCCEEDED


def test_a_step_that_is_not_in_the_table_is_an_error_of_ours() -> None:
    model = Model()
    model.enqueue(0.0, [job()], ME)
    stored = model.find(0.0, "q:a")
    assert stored is not None
    with pytest.raises(AssertionError, match="q:a: ready to succeeded"):
        model.move(stored, JobState.SUCCEEDED)
