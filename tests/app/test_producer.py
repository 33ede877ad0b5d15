"""Numbered calls: what is not answered is sent again, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock import BrokerRejected, BrokerUnavailable, Penstock, producer
from penstock.brokers import connect, connect_blocking
from penstock.brokers.redis import enqueueing as redis_enqueueing
from penstock.brokers.redis.broker import RedisBroker
from penstock.brokers.redis.keys import QueueKeys
from penstock.core.job import Enqueued, Job, Origin
from penstock.ids import new_id
from penstock.ports.broker import BlockingProducer, Capabilities
from penstock.producer import SLICE, WHOLE_BYTES, AsyncEnqueue, BlockingEnqueue, slices


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

    def begin(self, jobs: Sequence[Job], origin: Origin) -> Callable[[], Sequence[Enqueued]]:
        answers = self.enqueue(jobs, origin)
        return lambda: answers

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


class Refuses:
    """The real broker, which refuses queues and jobs named bad and notes what it is asked."""

    def __init__(self, app: Penstock, unanswered: int = 0) -> None:
        self.real = connect(app.address)
        self.capabilities = self.real.capabilities
        self.calls: list[tuple[Origin, list[str]]] = []
        self.unanswered = unanswered

    async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        self.calls.append((origin, [job.id for job in jobs]))
        await asyncio.sleep(0)
        if self.unanswered:
            self.unanswered -= 1
            raise BrokerUnavailable("the reply was lost")
        if any("bad" in job.id for job in jobs):
            raise BrokerRejected("refused")
        return await self.real.enqueue(jobs, origin)


def gathered(broker: Refuses, *calls: list[Job]) -> list[Any]:
    async def main() -> list[Any]:
        await broker.real.open()
        enqueue = AsyncEnqueue(broker, 5)  # type: ignore[arg-type]  # only enqueue is asked of it
        told = await asyncio.gather(*(enqueue.enqueue(jobs) for jobs in calls), return_exceptions=True)
        await broker.real.close()
        return [each if isinstance(each, Exception) else [answer.id for answer in each] for each in told]

    return asyncio.run(main())


def test_concurrent_async_calls_share_round_trips(app: Penstock) -> None:
    broker = Refuses(app)
    told = gathered(broker, *([job(str(number))] for number in range(1_200)))
    assert told == [[f"default:{number}"] for number in range(1_200)]
    sizes = [len(ids) for _, ids in broker.calls]
    assert sum(sizes) == 1_200
    assert max(sizes) <= broker.capabilities.batch
    assert len(sizes) <= 1_200 / broker.capabilities.batch + 2
    assert asyncio.run(count(app)) == 1_200


def test_only_so_many_bytes_go_together(app: Penstock) -> None:
    broker = Refuses(app)
    large = [Job(f"default:{number}", "default", b"x" * (WHOLE_BYTES // 3)) for number in range(7)]
    gathered(broker, *([each] for each in large[:4]), large[4:])
    assert [len(ids) for _, ids in broker.calls] == [3, 1, 3]
    # More would be stored in several steps there, of which a refusal may come after the first.
    assert redis_enqueueing.SLICE_BYTES >= WHOLE_BYTES
    assert RedisBroker.capabilities.batch <= redis_enqueueing.SLICE_JOBS


def test_queues_are_refused_apart(app: Penstock) -> None:
    broker = Refuses(app)
    bad = Job("bad:1", "bad", b"{}")
    good, refused, also = gathered(broker, [job("1")], [bad], [job("2")])
    assert (good, also) == (["default:1"], ["default:2"])
    assert isinstance(refused, BrokerRejected)
    assert [ids for _, ids in broker.calls] == [["default:1", "default:2"], ["bad:1"]]
    assert asyncio.run(count(app)) == 2


def test_a_call_that_spans_queues_goes_alone(app: Penstock) -> None:
    broker = Refuses(app)
    both = [job("1"), Job("bad:1", "bad", b"{}")]
    refused, good, nothing = gathered(broker, both, [job("2")], [])
    assert isinstance(refused, BrokerRejected)
    assert (good, nothing) == (["default:2"], [])
    assert [ids for _, ids in broker.calls] == [["default:1", "bad:1"], ["default:2"]]
    assert len({origin.producer for origin, _ in broker.calls}) == 2


def test_only_the_caller_whose_job_is_refused_hears_of_it(app: Penstock) -> None:
    broker = Refuses(app)
    told = gathered(broker, [job("1")], [job("2"), job("bad")], [job("3"), job("4")])
    assert (told[0], told[2]) == (["default:1"], ["default:3", "default:4"])
    assert isinstance(told[1], BrokerRejected)
    assert [len(ids) for _, ids in broker.calls] == [5, 1, 2, 2]
    assert [origin.number for origin, _ in broker.calls] == [1, 2, 3, 4]
    assert asyncio.run(count(app)) == 3


def test_what_may_be_stored_already_is_not_sent_apart(app: Penstock) -> None:
    broker = Refuses(app, unanswered=1)
    told = gathered(broker, [job("1")], [job("bad")])
    assert all(isinstance(each, BrokerRejected) for each in told)
    assert [origin.number for origin, _ in broker.calls] == [1, 1]


def test_a_redis_that_refuses_one_queue_stores_the_others(redis_url: str) -> None:
    app = Penstock("refused", broker=redis_url)

    async def main() -> list[Any]:
        client, key = redis.Redis.from_url(redis_url), QueueKeys("penstock", "bad").named("jobs")
        client.set(key, "not a hash")
        queues = ["good", "bad", "good", "bad", "other"]
        calls = (app.asend("t", number, options={"queue": queue}) for number, queue in enumerate(queues))
        told = await asyncio.gather(*calls, return_exceptions=True)
        client.delete(key)
        client.close()
        ready = {each.queue: each.ready for each in await (await app.inspector()).queues()}
        assert {"good": 2, "other": 1}.items() <= ready.items()
        return [type(each).__name__ for each in told]

    assert asyncio.run(main()) == ["JobHandle", "BrokerRejected", "JobHandle", "BrokerRejected", "JobHandle"]


def test_an_async_call_that_is_never_answered_ends_in_time(app: Penstock) -> None:
    class Silent:
        capabilities = Capabilities()

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


@pytest.fixture
def app_on(broker_url: str) -> Iterator[Penstock]:
    """An application on each broker."""
    application = Penstock("test", broker=broker_url)
    yield application
    application.close()


def parts_of(app: Penstock, count: int) -> Iterator[tuple[int]]:
    """Rows, with another job enqueued by the same thread in the middle of making them."""
    for number in range(count):
        if number == count // 2:
            app.send("beside", number)
        yield (number,)


def test_whoever_makes_the_rows_may_enqueue_meanwhile(app_on: Penstock) -> None:
    app = app_on

    @app.task(name="add")
    def add(number: int) -> None: ...

    for _ in range(2):
        jobs = add.delay_many(parts_of(app, 2_100))
        assert len({job.id for job in jobs}) == 2_100
    assert asyncio.run(count(app)) == 2 * 2_101


def test_rows_that_end_in_an_error_leave_a_producer_that_works(app_on: Penstock) -> None:
    app = app_on

    @app.task(name="add")
    def add(number: int) -> None: ...

    def rows() -> Iterator[tuple[int]]:
        for number in range(1_700):
            yield (number,)
        raise KeyError("no more")

    add.delay(1)
    with pytest.raises(KeyError):
        add.delay_many(rows())
    add.delay(2)
    assert asyncio.run(count(app)) == 1_502


def test_an_unanswered_part_is_repeated_with_its_number(
    app: Penstock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossy = LosesReplies(connect_blocking(app.address), lost=2)
    monkeypatch.setattr(app, "_blocking", BlockingEnqueue(lambda: lossy, 5.0))

    @app.task(name="add")
    def add(number: int) -> None: ...

    add.delay_many([(number,) for number in range(1_200)])
    assert [origin.number for origin in lossy.origins] == [1, 1, 1, 2, 3]
    assert asyncio.run(count(app)) == 1_200


def test_progress_is_told_after_each_slice(app: Penstock) -> None:
    @app.task
    def f(n: int) -> None: ...

    seen: list[int] = []
    handles = f.delay_many([(n,) for n in range(SLICE * 2 + 7)], progress=seen.append)
    assert len(handles) == SLICE * 2 + 7
    assert seen == [SLICE, SLICE * 2, SLICE * 2 + 7]

    async def call() -> list[int]:
        told: list[int] = []
        await f.adelay_many(({"n": n} for n in range(SLICE + 1)), progress=told.append)
        await app.aclose()
        return told

    assert asyncio.run(call()) == [SLICE, SLICE + 1]


@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts open files where the system lists them"
)
def test_a_thread_that_ends_takes_its_connection_along(app_on: Penstock) -> None:
    @app_on.task(name="add")
    def add(number: int) -> None: ...

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    for number in range(20):
        thread = threading.Thread(target=add.delay, args=(number,))
        thread.start()
        thread.join()
        if number == 1:
            before = open_files()
    # Of the last one too, once anybody calls: what ends says nothing itself.
    add.delay(20)
    assert not producer._ended
    assert open_files() <= before
    assert asyncio.run(count(app_on)) == 21


def test_a_line_that_is_collected_closes_nothing_by_itself(tmp_path: Path) -> None:
    """The collector may run where this thread holds the very lock that closing takes, as in a fork."""

    def use_and_drop() -> weakref.ref[BlockingEnqueue]:
        app = Penstock("dropped", broker=f"sqlite:///{tmp_path}/jobs.db")
        app.send("t", 1)
        (line,) = app._blocking._lines
        database = line.way._database  # type: ignore[attr-defined]  # SQLite's
        database.before_fork()
        dropped = weakref.ref(app._blocking)
        del app, line
        thread = threading.Thread(target=gc.collect, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "the collector waits for a lock"
        database.after_fork(child=False)
        return dropped

    assert use_and_drop()() is None
    assert len(producer._ended) == 1
    beside = Penstock("beside", broker=f"memory://{new_id()}")
    beside.send("t", 2)
    assert not producer._ended
    beside.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_has_ended_is_the_parents_after_a_fork(redis_url: str) -> None:
    app = Penstock("forks", broker=redis_url)
    thread = threading.Thread(target=app.send, args=("t", 1))
    thread.start()
    thread.join()
    assert producer._ended
    child = os.fork()
    if child == 0:
        os._exit(len(producer._ended) + len(producer._ways))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert producer._ended
    app.close()
    assert not producer._ended
