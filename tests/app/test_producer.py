"""Numbered calls: what is not answered is sent again, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from penstock import BrokerUnavailable, Penstock
from penstock.brokers import connect, connect_blocking
from penstock.core.job import Enqueued, Job, Origin
from penstock.ports.broker import BlockingProducer
from penstock.producer import SLICE, AsyncEnqueue, BlockingEnqueue, slices


class LosesReplies:
    """The real producer, whose first answers are lost on the way back."""

    def __init__(self, real: BlockingProducer, lost: int) -> None:
        self._real = real
        self.lost = lost
        self.origins: list[Origin] = []

    def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        self.origins.append(origin)
        answer = self._real.enqueue(jobs, origin)
        if self.lost:
            self.lost -= 1
            raise BrokerUnavailable("the reply was lost")
        return answer

    def extend(self, consumer_id: str, queues: Sequence[str], lease_s: float) -> bool:
        return self._real.extend(consumer_id, queues, lease_s)

    def close(self) -> None:
        self._real.close()

    def abandon(self) -> None:
        self._real.abandon()


def job(name: str) -> Job:
    return Job(f"default:{name}", "default", b'{"v":1,"task":"t"}')


async def count(app: Penstock) -> int:
    broker = connect(app.address)
    await broker.open()
    queues = await broker.queues()  # type: ignore[attr-defined]  # the memory broker is its own inspector
    await broker.close()
    return sum(queue.ready for queue in queues)


def test_a_lost_reply_stores_nothing_twice(app: Penstock) -> None:
    lossy = LosesReplies(connect_blocking(app.address), lost=2)
    enqueue = BlockingEnqueue(lambda: lossy, timeout_s=5)
    assert enqueue.enqueue([job("a")]) == [Enqueued("default:a", True)]
    assert len(set(lossy.origins)) == 1
    assert len(lossy.origins) == 3
    enqueue.enqueue([job("b")])
    assert lossy.origins[-1].number == 2
    assert asyncio.run(count(app)) == 2
    enqueue.close()


def test_an_absent_broker_is_a_typed_error_in_bounded_time(app: Penstock) -> None:
    lossy = LosesReplies(connect_blocking(app.address), lost=1_000)
    enqueue = BlockingEnqueue(lambda: lossy, timeout_s=0.3)
    mono = time.monotonic()
    with pytest.raises(ConnectionError, match="the reply was lost"):
        enqueue.enqueue([job("a")])
    assert time.monotonic() - mono < 2
    before = lossy.origins[-1].producer
    lossy.lost = 0
    enqueue.enqueue([job("b")])
    assert lossy.origins[-1].producer != before, (
        "a call given up may still arrive; its number must not be reused"
    )
    enqueue.close()


def test_every_thread_has_its_own_line(app: Penstock) -> None:
    made: list[LosesReplies] = []

    def make() -> LosesReplies:
        made.append(LosesReplies(connect_blocking(app.address), lost=0))
        return made[-1]

    enqueue = BlockingEnqueue(make, timeout_s=5)

    def work(part: int) -> None:
        for number in range(100):
            enqueue.enqueue([job(f"{part}-{number}")])

    threads = [threading.Thread(target=work, args=[part]) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert asyncio.run(count(app)) == 400
    enqueue.close()


def test_concurrent_async_calls_share_round_trips(app: Penstock) -> None:
    class Counting:
        def __init__(self) -> None:
            self.real = connect(app.address)
            self.calls: list[int] = []

        async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
            self.calls.append(len(jobs))
            return await self.real.enqueue(jobs, origin)

    async def main() -> list[int]:
        broker = Counting()
        await broker.real.open()
        enqueue = AsyncEnqueue(broker, 5)  # type: ignore[arg-type]  # only enqueue is asked of it
        answers = await asyncio.gather(*(enqueue.enqueue([job(str(number))]) for number in range(1_200)))
        assert [answer[0].id for answer in answers] == [f"default:{number}" for number in range(1_200)]
        await broker.real.close()
        return broker.calls

    calls = asyncio.run(main())
    assert sum(calls) == 1_200
    assert len(calls) <= 1_200 / SLICE + 2
    assert asyncio.run(count(app)) == 1_200


def test_an_async_call_that_is_never_answered_ends_in_time(app: Penstock) -> None:
    class Silent:
        async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
            await asyncio.Event().wait()
            raise AssertionError

    async def main() -> None:
        enqueue = AsyncEnqueue(Silent(), 0.2)  # type: ignore[arg-type]  # as above
        with pytest.raises(BrokerUnavailable, match=r"0\.2 s"):
            await enqueue.enqueue([job("a")])

    asyncio.run(main())


def test_slices_stream() -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield job(str(taken))

    parts = slices(endless())  # type: ignore[arg-type]
    assert len(next(parts)) == SLICE
    assert taken == SLICE
