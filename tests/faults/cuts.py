"""A wire that is cut at every byte of enqueue, fetch and settle, and an answer that nobody waits for any more.

Here the drivers take the runtime's part: an unanswered call is repeated with its number.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from penstock import brokers
from penstock.core.job import Delivery, Enqueued, Job, JobError, Origin
from penstock.core.settlement import Again, Done, Settlement
from penstock.errors import BrokerUnavailable
from penstock.ids import new_id
from penstock.ports.broker import BlockingProducer, Broker, Consumer, Started, WorkerCard
from penstock.ports.inspector import Inspector, QueueCounts
from penstock.testing.proxy import ChaosProxy
from tests.faults.site import Site
from tests.faults.verdict import Figures

T = TypeVar("T")

QUEUE: Final = "cuts"
SECOND: Final = "cuts-later"
JOBS_EACH: Final = 3
_LEASE_S: Final = 600.0
_MANY: Final = 1_000_000
_ATTEMPTS: Final = 20


class Bench:
    """One broker seen twice: through whatever is to fail, and directly.

    Attributes:
        direct: The broker without faults.
        consumer: A consumer whose calls fail.
    """

    def __init__(
        self, broker: Broker, direct: Broker, consumer: Consumer, blocking: BlockingProducer
    ) -> None:
        self.broker = broker
        self.direct = direct
        self.inspector: Inspector = brokers.inspector(direct)
        self.consumer = consumer
        self.blocking = blocking
        self.producer = new_id()
        self.numbers = itertools.count(1)
        self.settles = itertools.count(1)

    async def counts(self, queue: str = QUEUE) -> QueueCounts:
        return next(each for each in await self.inspector.queues() if each.queue == queue)

    async def put(self, count: int = JOBS_EACH, queue: str = QUEUE) -> list[str]:
        """Enqueues without faults; returns the ids."""
        jobs = some_jobs(count, queue)
        await self.direct.enqueue(jobs, Origin("direct" + self.producer, next(self.numbers)))
        return [job.id for job in jobs]

    async def take(self, count: int) -> list[Delivery]:
        """Fetches through the faults until ``count`` are there, as the feeder would."""
        taken: list[Delivery] = []
        for _ in range(_ATTEMPTS):
            if len(taken) >= count:
                break
            fetched = await repeated(lambda: self.consumer.fetch(10, _MANY, 0.0))
            taken += fetched.deliveries
        return taken

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Delivery]:
        """Settles through the faults, as the settler would."""
        number = next(self.settles)
        return await repeated(lambda: self.consumer.settle(settlements, number))

    async def empty(self) -> None:
        """Nothing waits, nothing is held."""
        for counts in await self.inspector.queues():
            left = (counts.ready, counts.running, counts.scheduled, counts.failed, counts.quarantined)
            assert left == (0, 0, 0, 0, 0), counts


def some_jobs(count: int, queue: str = QUEUE) -> list[Job]:
    """Jobs with bodies of different lengths."""
    return [Job(f"{queue}:{new_id()}", queue, b'{"v":1,"task":"x"}' + b" " * place) for place in range(count)]


async def repeated(call: Callable[[], Awaitable[T]]) -> T:
    """Makes a call again until it is answered."""
    for attempt in itertools.count(1):
        try:
            return await call()
        except BrokerUnavailable:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError


# --- the verbs whose answers are lost; each leaves the queue empty behind it


async def enqueue(bench: Bench) -> None:
    """Nothing is added twice, nothing is forgotten."""
    jobs, origin = some_jobs(JOBS_EACH), Origin(bench.producer, next(bench.numbers))
    answers = await repeated(lambda: bench.broker.enqueue(jobs, origin))
    await _stored_once(bench, jobs, answers)


async def enqueue_blocking(bench: Bench) -> None:
    """The same on the blocking way in."""
    jobs, origin = some_jobs(JOBS_EACH), Origin("b" + bench.producer, next(bench.numbers))

    async def call() -> Sequence[Enqueued]:
        return await asyncio.to_thread(bench.blocking.enqueue, jobs, origin)

    await _stored_once(bench, jobs, await repeated(call))


async def _stored_once(bench: Bench, jobs: Sequence[Job], answers: Sequence[Enqueued]) -> None:
    assert answers == [Enqueued(job.id, True) for job in jobs], answers
    assert (await bench.counts()).ready == len(jobs), await bench.counts()
    taken = await bench.take(len(jobs))
    assert [each.id for each in taken] == [job.id for job in jobs], taken
    assert [each.body for each in taken] == [job.body for job in jobs], taken
    assert list(await bench.settle([Done(each) for each in taken])) == []
    await bench.empty()


async def fetch(bench: Bench) -> None:
    """Whatever was claimed arrives, once; nothing is leased to nobody."""
    ids = await bench.put()
    taken = await bench.take(len(ids))
    await _hold(bench, ids, taken)


async def fetch_two(bench: Bench) -> None:
    """The same for jobs of two queues, of which the later one is claimed from only where it has something."""
    ids = [*await bench.put(1), *await bench.put(2, SECOND)]
    taken = await bench.take(len(ids))
    assert sorted(each.id for each in taken) == sorted(ids), (ids, taken)
    counts = [await bench.counts(), await bench.counts(SECOND)]
    assert [(each.ready, each.running) for each in counts] == [(0, 1), (0, 2)], counts
    assert list(await bench.settle([Done(each) for each in taken])) == []
    await bench.empty()


async def fetch_waiting(bench: Bench) -> None:
    """The same for a fetch that waits for the jobs."""
    fetching = asyncio.create_task(repeated(lambda: bench.consumer.fetch(10, _MANY, 5.0)))
    await asyncio.sleep(0.002)
    ids = await bench.put()
    taken = list((await fetching).deliveries)
    if len(taken) < len(ids):
        taken += await bench.take(len(ids) - len(taken))
    await _hold(bench, ids, taken)


async def _hold(bench: Bench, ids: Sequence[str], taken: Sequence[Delivery]) -> None:
    assert sorted(each.id for each in taken) == sorted(ids), (ids, taken)
    counts = await bench.counts()
    assert (counts.ready, counts.running) == (0, len(ids)), counts
    assert list(await bench.settle([Done(each) for each in taken])) == []
    await bench.empty()


async def settle(bench: Bench) -> None:
    """Each outcome is recorded once, and none is taken for lost."""
    before = await bench.counts()
    ids = await bench.put()
    one, two, three = await bench.take(len(ids))
    outcomes: list[Settlement] = [
        Done(one),
        Done(two, b'"kept"', 60.0),
        Again(three, 0.0, JobError("E", "once")),
    ]
    assert list(await bench.settle(outcomes)) == []
    record = await bench.inspector.get(two.id)
    assert record is not None
    assert record.result == b'"kept"', record
    (again,) = await bench.take(1)
    assert (again.id, again.attempt, again.crashes) == (three.id, 1, 0), again
    assert list(await bench.settle([Done(again)])) == []
    await bench.empty()
    after = await bench.counts()
    assert after.succeeded_total == before.succeeded_total + len(ids), (before, after)
    assert after.lost_total == before.lost_total, (before, after)


async def beat(bench: Bench) -> None:
    """The mark of a start is made once, and a held job is not called lost."""
    await bench.put(1)
    (taken,) = await bench.take(1)
    told = await repeated(lambda: bench.consumer.beat(_LEASE_S, [Started(taken)], [taken]))
    assert not told.lost, told
    assert list(await bench.settle([Done(taken)])) == []
    await bench.empty()


VERBS: Final = (enqueue, enqueue_blocking, fetch, fetch_two, fetch_waiting, settle, beat)


# --- the faults


@asynccontextmanager
async def bench_of(site: Site, url: str) -> AsyncIterator[Bench]:
    """A bench whose faults come on ``url``."""
    through = brokers.address(url, site.namespace)
    straight = brokers.address(site.url, site.namespace)
    broker, direct = brokers.connect(through), brokers.connect(straight)
    blocking = brokers.connect_blocking(through)
    await broker.open()
    await direct.open()
    card = WorkerCard(id=new_id(), app="cuts")
    consumer = await broker.consumer([QUEUE, SECOND], window=1000, lease_s=_LEASE_S, card=card)
    try:
        bench = Bench(broker, direct, consumer, blocking)
        for verb in VERBS:  # scripts are loaded, statements compiled, connections made
            await verb(bench)
        yield bench
    finally:
        await consumer.close()
        blocking.close()
        await direct.close()
        await broker.close()


async def cut_at_every_byte(site: Site, *, request_step: int = 1) -> Figures:
    """Redis: for every verb, the wire is cut after N bytes of the replies, for every N, and of the requests.

    Args:
        site: The broker.
        request_step: Of a request every how-manieth byte; it is some 2,500 bytes long.
    """
    figures = Figures(
        "the wire cut after N bytes of enqueue, fetch, settle and beat, for every N", site.broker
    )
    with ChaosProxy(site.url) as proxy:
        async with bench_of(site, proxy.url) as bench:
            for verb, replies in itertools.product(VERBS, (True, False)):
                cuts = await _cut_verb(bench, proxy, verb, replies, 1 if replies else request_step)
                figures.rounds += cuts
                figures.notes.append(f"{verb.__name__} {'replies' if replies else 'requests'}: {cuts}")
    return figures


async def _cut_verb(
    bench: Bench, proxy: ChaosProxy, verb: Callable[[Bench], Awaitable[None]], replies: bool, step: int
) -> int:
    for count in itertools.count(0, step):
        proxy.cut_after(count, replies=replies, reset=bool(count % 2))
        try:
            async with asyncio.timeout(30):
                await verb(bench)
        except BaseException as error:
            error.add_note(
                f"{verb.__name__}, cut after {count} bytes of {'replies' if replies else 'requests'}"
            )
            raise
        if proxy.forget_cut():
            return count // step
    raise AssertionError


async def cancel_at_every_moment(site: Site, *, rounds: int, longest_s: float = 0.004) -> Figures:
    """Any broker: the caller stops waiting at some moment of the call, and makes it again with its number."""
    async with bench_of(site, site.url) as bench:
        calls: dict[str, Any] = {name: getattr(bench.consumer, name) for name in ("fetch", "settle", "beat")}
        enqueue_call = bench.broker.enqueue
        for number, verb in itertools.product(range(rounds), (enqueue, fetch, fetch_two, settle, beat)):
            after_s = longest_s * number / rounds
            impatient = _Impatient(after_s)
            try:
                bench.broker.enqueue = impatient.wrap(enqueue_call)  # type: ignore[method-assign]
                for name, call in calls.items():
                    setattr(bench.consumer, name, impatient.wrap(call))
                async with asyncio.timeout(30):
                    await verb(bench)
            except BaseException as error:
                error.add_note(f"{verb.__name__}, given up after {after_s * 1e6:.0f} us")
                raise
            finally:
                bench.broker.enqueue = enqueue_call  # type: ignore[method-assign]
                for name, call in calls.items():
                    setattr(bench.consumer, name, call)
    return Figures("a caller that gives up and asks again", site.broker, rounds * 5)


class _Impatient:
    """Gives up each kind of call once, after some time, with the error that the runtime would see."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s

    def wrap(self, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        given_up = False

        async def wrapped(*args: Any, **named: Any) -> T:
            nonlocal given_up
            if given_up:
                return await call(*args, **named)
            given_up = True
            try:
                async with asyncio.timeout(self._after_s):
                    return await call(*args, **named)
            except TimeoutError:
                raise BrokerUnavailable("given up") from None

        return wrapped
