"""A worker from start to end, in this process, on the memory broker."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable

import pytest

from penstock import (
    BrokerMisconfigured,
    BrokerUnavailable,
    JobCancelled,
    JobFailed,
    JobState,
    Penstock,
    Reject,
    Retry,
    RetryLater,
    current_job,
)
from penstock.errors import PenstockError
from penstock.ports.broker import Beat, Broker, Command, Consumer, Started, WorkerCard
from penstock.runtime import worker as worker_module
from penstock.runtime.stacks import every_stack
from penstock.runtime.worker import Worker, WorkerSettings
from tests.runtime.bench import delivery
from tests.runtime.conftest import WITHIN_S, Beside, Working, wait_for


def test_running_jobs_finish_and_waiting_ones_are_given_back(app: Penstock) -> None:
    begun, go = threading.Barrier(3), threading.Event()

    @app.task
    def work(number: int) -> int:
        begun.wait(WITHIN_S)
        assert go.wait(WITHIN_S)
        return number

    jobs = work.delay_many([(number,) for number in range(10)])
    beside = Beside(app, concurrency=2)
    begun.wait(WITHIN_S)
    beside.stop()
    go.set()
    assert beside.end() == 0
    states = [job.status() for job in jobs]
    assert states.count(JobState.SUCCEEDED) == 2
    assert states.count(JobState.READY) == 8


def test_what_outlasts_the_grace_period_is_given_back(
    app: Penstock, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def work() -> None:
        begun.set()
        assert go.wait(WITHIN_S)

    job = work.delay()
    beside = Beside(app, grace_s=0.1)
    assert begun.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 4
    assert job.status() is JobState.READY
    assert "1 job(s) were still running at the end of the grace period" in caplog.text
    go.set()


def test_a_second_stop_is_at_once(app: Penstock) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def work() -> None:
        begun.set()
        assert go.wait(WITHIN_S)

    job = work.delay()
    beside = Beside(app, grace_s=600)
    assert begun.wait(WITHIN_S)
    beside.stop()
    beside.stop()
    assert beside.end() == 4
    assert job.status() is JobState.READY
    go.set()


def test_a_coroutine_that_outlasts_the_grace_period_is_cancelled(app: Penstock) -> None:
    begun, seen = threading.Event(), []

    @app.task
    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            seen.append(current_job().cancelled())
            raise

    job = work.delay()
    beside = Beside(app, grace_s=0.05)
    assert begun.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 4
    assert seen == [True]
    assert job.status() is JobState.READY


def test_jobs_are_told_that_the_worker_drains(app: Penstock) -> None:
    begun = threading.Event()

    @app.task
    def work() -> str:
        begun.set()
        while not current_job().stopping():
            time.sleep(0.005)
        return "cut short"

    job = work.delay()
    beside = Beside(app)
    assert begun.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 0
    assert job.result(1) == "cut short"


def test_stopped_before_it_began(app: Penstock) -> None:
    opened = threading.Event()

    class Never(Exception):
        pass

    async def open_() -> list[str]:
        opened.set()
        raise BrokerUnavailable("nobody is there")

    connect = app.connect

    def broken() -> Broker:
        broker = connect()
        broker.open = open_  # type: ignore[method-assign]
        return broker

    app.connect = broken  # type: ignore[method-assign]
    beside = Beside(app)
    assert opened.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 0


def test_it_waits_for_a_broker_that_is_not_there_yet(app: Penstock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fails = [2, 2]

    def flaky() -> Broker:
        broker = connect()
        open_, consumer = broker.open, broker.consumer

        async def later_open() -> object:
            if fails[0]:
                fails[0] -= 1
                raise BrokerUnavailable("nobody is there")
            return await open_()

        async def later_consumer(*args: object, **kwargs: object) -> object:
            if fails[1]:
                fails[1] -= 1
                raise BrokerUnavailable("gone again")
            return await consumer(*args, **kwargs)  # type: ignore[arg-type]

        broker.open, broker.consumer = later_open, later_consumer  # type: ignore[assignment,method-assign]
        return broker

    connect = app.connect
    app.connect = flaky  # type: ignore[method-assign]

    @app.task
    def work() -> int:
        return 1

    job = work.delay()
    beside = Beside(app).ready()
    assert job.result(WITHIN_S) == 1
    beside.stop()
    assert beside.end() == 0
    assert fails == [0, 0]
    assert "connect: nobody is there; trying again" in caplog.text


def test_a_broker_that_would_lose_jobs_is_refused(app: Penstock) -> None:
    connect = app.connect

    def warning() -> Broker:
        broker = connect()

        async def open_() -> list[str]:
            return ["nothing is kept on disk"]

        broker.open = open_  # type: ignore[method-assign]
        return broker

    app.connect = warning  # type: ignore[method-assign]
    with pytest.raises(BrokerMisconfigured, match="nothing is kept on disk"):
        Beside(app, strict=True).end()
    beside = Beside(app).ready()
    beside.stop()
    assert beside.end() == 0


def test_burst_ends_when_nothing_is_left(app: Penstock) -> None:
    @app.task(retry=Retry(attempts=2, base=0.01))
    def work(number: int) -> int:
        return number

    jobs = work.delay_many([(number,) for number in range(500)])
    assert Beside(app, burst=True).end() == 0
    assert [job.result(1) for job in jobs] == list(range(500))


def test_burst_on_nothing(app: Penstock) -> None:
    assert Beside(app, burst=True).end() == 0


def test_commands(app: Penstock, working: Working) -> None:
    began = threading.Event()

    @app.task
    def work() -> int:
        began.set()
        return 1

    async def command(verb: str) -> str:
        inspector = await app.inspector()
        id_ = await inspector.command(beside.worker.id, verb, 30)
        while (answer := await inspector.answer(id_)) is None:  # noqa: ASYNC110 - nobody signals an answer
            await asyncio.sleep(0.01)
        return answer

    async def state() -> str:
        return (await (await app.inspector()).workers())[0].state

    with working(lease_s=0.3) as beside:
        assert app.call(command("quiet")) == "quiet: takes nothing new"
        assert app.call(state()) in {"running", "quiet"}  # as it said with its beat before
        job = work.delay()
        assert not began.wait(1.2)  # a fetch under way when it went quiet ends within a second
        assert job.status() is JobState.READY
        assert app.call(command("resume")) == "running"
        assert job.result(WITHIN_S) == 1
        assert "penstock-io" in app.call(command("dump"))
        assert app.call(command("dance")) == "unknown command 'dance'"
        assert app.call(command("stop")) == "draining"
        assert beside.end() == 0


def test_an_unknown_task_is_told_once_and_waits(app: Penstock, working: Working) -> None:
    names: list[str] = []
    told = threading.Event()

    def on_unknown(name: str) -> None:
        names.append(name)
        told.set()

    with working(on_unknown=on_unknown):
        jobs = [app.send("elsewhere.task", 1), app.send("elsewhere.task", 2)]
        assert told.wait(WITHIN_S)
        wait_for(lambda: all(job.status() is JobState.SCHEDULED for job in jobs))
    assert names == ["elsewhere.task"]


def test_context_does_not_leak_from_job_to_job(app: Penstock, working: Working) -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")

    def look(text: str) -> str:
        before = mark.get()
        mark.set(text)
        return before

    @app.task
    def on_thread(text: str) -> str:
        return look(text)

    @app.task
    async def on_loop(text: str) -> str:
        await asyncio.sleep(0)
        return look(text)

    with working(concurrency=1):
        for task in (on_thread, on_loop):
            for text in ("a", "b", "c"):
                assert task.delay(text).result(WITHIN_S) == "clean"
    with pytest.raises(PenstockError, match="outside a job"):
        current_job()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_job_raises_is_its_own_outcome(
    app: Penstock, working: Working, kind: type[BaseException]
) -> None:
    @app.task(retry=False)
    def on_thread() -> None:
        raise kind("x")

    @app.task(retry=False)
    async def on_loop() -> None:
        await asyncio.sleep(0)
        raise kind("x")

    with working():
        for task in (on_thread, on_loop):
            with pytest.raises(JobFailed) as caught:
                task.delay().result(WITHIN_S)
            assert caught.value.error_type == kind.__name__
        on_thread.delay()
        with pytest.raises(JobFailed):  # the worker lives on
            on_thread.delay().result(WITHIN_S)


def test_a_coroutine_that_cancels_itself_has_failed(app: Penstock, working: Working) -> None:
    @app.task(retry=False)
    async def raises() -> None:
        raise asyncio.CancelledError

    @app.task(retry=False)
    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(600)

    with working():
        for task in (raises, cancels):
            with pytest.raises(JobFailed, match="cancelled by its own code"):
                task.delay().result(WITHIN_S)


def test_retries(app: Penstock, working: Working, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(retry=Retry(attempts=3, base=0.05, jitter=0))
    def unlucky(until: int) -> int:
        job = current_job()
        if job.attempt < until:
            raise ValueError("unlucky")
        return job.attempt * 10 + job.max_attempts

    with working():
        job = unlucky.delay(3)
        assert job.result(WITHIN_S) == 33
        first, second = [r.getMessage() for r in caplog.records if job.id in r.getMessage()]
        assert "ValueError in attempt 1 of 3. It runs again in 0.1 s and up to 2 times more" in first
        assert f"penstock cancel {job.id}, or retry=False" in first
        assert "It runs again in 0.1 s" in second
        assert "penstock cancel" not in second
        with pytest.raises(JobFailed) as caught:
            unlucky.delay(9).result(WITHIN_S)
        assert caught.value.cause == "error"
        assert "raise ValueError" in caught.value.remote_traceback
        assert "lanes.py" not in caught.value.remote_traceback
        # Numbers travel with the call; what is code stays with the task.
        assert unlucky.options(retry=Retry(attempts=4, base=0.01)).delay(4).result(WITHIN_S) == 44
        with pytest.raises(JobFailed):
            unlucky.options(retry=1).delay(2).result(WITHIN_S)


def test_retry_later_spends_nothing_and_reject_ends(app: Penstock, working: Working) -> None:
    calls: list[int] = []

    @app.task(retry=1)
    def later() -> int:
        calls.append(current_job().attempt)
        if len(calls) < 4:
            raise RetryLater(0.01)
        return len(calls)

    @app.task
    def never() -> None:
        raise Reject("not today")

    with working():
        assert later.delay().result(WITHIN_S) == 4
        assert calls == [1, 1, 1, 1]
        with pytest.raises(JobFailed, match="not today") as caught:
            never.delay().result(WITHIN_S)
        assert caught.value.cause == "rejected"


def test_a_result_that_cannot_be_stored_is_not_run_again(app: Penstock, working: Working) -> None:
    calls: list[int] = []

    @app.task
    def odd() -> object:
        calls.append(1)
        return object()

    @app.task(result_ttl=0)
    def ignored() -> object:
        return object()

    with working():
        with pytest.raises(JobFailed) as caught:
            odd.delay().result(WITHIN_S)
        assert caught.value.cause == "result"
        assert calls == [1]
        job = ignored.delay()
        wait_for(lambda: _gone(job.status))


def test_progress_reaches_whoever_asks(app: Penstock, working: Working) -> None:
    told, go = threading.Event(), threading.Event()

    @app.task
    def work() -> None:
        current_job().progress(1, 4, "a quarter")
        current_job().progress(2, 4, "half")
        told.set()
        assert go.wait(WITHIN_S)

    with working(lease_s=0.3):
        job = work.delay()
        assert told.wait(WITHIN_S)
        wait_for(lambda: job.progress() is not None)
        progress = job.progress()
        assert progress is not None
        assert (progress.done, progress.total, progress.note) == (2, 4, "half")
        go.set()
        job.result(WITHIN_S)


def test_cancel_waiting_and_running(app: Penstock, working: Working) -> None:
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    @app.task
    def on_thread() -> None:
        begun.release()
        while not current_job().cancelled():
            time.sleep(0.005)
        ended.release()

    @app.task
    async def on_loop() -> None:
        begun.release()
        try:
            await asyncio.sleep(600)
        finally:
            ended.release()

    for task in (on_thread, on_loop):
        with working(concurrency=1, lease_s=0.6):
            running = task.delay()
            assert begun.acquire(timeout=WITHIN_S)
            waiting = task.delay()
            waiting.cancel()
            with pytest.raises(JobCancelled):
                waiting.result(WITHIN_S)
            running.cancel()
            assert ended.acquire(timeout=WITHIN_S)
            with pytest.raises(JobCancelled):
                running.result(WITHIN_S)


def test_a_thread_that_ignores_its_cancellation_keeps_its_result(app: Penstock, working: Working) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def work() -> int:
        begun.set()
        assert go.wait(WITHIN_S)
        return 7

    with working(lease_s=0.3) as beside:
        job = work.delay()
        assert begun.wait(WITHIN_S)
        job.cancel()
        wait_for(lambda: beside.worker._executor.held()[0].ask is not None)
        go.set()
        assert job.result(WITHIN_S) == 7


def test_timeouts(app: Penstock, working: Working, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(timeout=0.1, retry=Retry(attempts=2, base=0.01))
    async def on_loop() -> None:
        await asyncio.sleep(600)

    @app.task(timeout=0.1, retry=False)
    def on_thread() -> None:
        while not current_job().cancelled():
            time.sleep(0.005)

    with working():
        for task, attempts in ((on_loop, 2), (on_thread, 1)):
            job = task.delay()
            with pytest.raises(JobFailed) as caught:
                job.result(WITHIN_S)
            assert caught.value.error_type == "TimedOut"
            assert caught.value.cause == "timeout"
            assert f"attempt {attempts} of {attempts}" in caplog.text
    assert "A thread cannot be stopped" in caplog.text


def test_a_deadline_is_seen_inside(app: Penstock, working: Working) -> None:
    @app.task(timeout=50)
    def timed() -> float:
        deadline = current_job().deadline_at
        assert deadline is not None
        return deadline.timestamp() - time.time()

    @app.task
    def free() -> str:
        job = current_job()
        return f"{job.deadline_at} {job.queue} {job.task} {job.headers['a']} {job.enqueued_at.tzinfo} {job!r}"

    with working():
        assert 40 < timed.delay().result(WITHIN_S) <= 50
        job = free.options(headers={"a": "b"}).delay()
        task = free.name
        expected = f"None default {task} b UTC <CurrentJob {job.id} {task} attempt 1 of 25>"
        assert job.result(WITHIN_S) == expected


def test_a_thread_that_is_slow_to_heed_its_timeout_ends_no_worker(
    app: Penstock, caplog: pytest.LogCaptureFixture
) -> None:
    asked, go, beats = threading.Event(), threading.Event(), threading.Semaphore(0)

    @app.task(timeout=0.05, retry=False)
    def slow() -> None:
        while not current_job().cancelled():
            time.sleep(0.005)
        asked.set()
        assert go.wait(WITHIN_S)  # what it has begun it ends

    job = slow.delay()
    beside = Beside(app, concurrency=1, lease_s=0.3, on_beat=lambda longest_s: beats.release())
    assert asked.wait(WITHIN_S)
    while beats.acquire(blocking=False):
        pass
    for _ in range(3):  # with each of them the stuck are counted
        assert beats.acquire(timeout=WITHIN_S)
    go.set()
    with pytest.raises(JobFailed, match="timeout"):
        job.result(WITHIN_S)
    beside.stop()
    assert beside.end() == 0
    assert "ignore their timeout" not in caplog.text


def test_too_many_stuck_threads_end_the_worker(
    app: Penstock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.runtime.executor.STUCK_S", 0.1)
    go = threading.Event()

    @app.task(timeout=0.05, retry=False)
    def deaf() -> None:
        assert go.wait(WITHIN_S)

    @app.task
    def fine() -> int:
        return 1

    jobs = deaf.delay_many([(), ()])
    beside = Beside(app, concurrency=4, lease_s=0.3, grace_s=0.2)
    assert beside.end() == 4
    assert "2 of 4 slots are held by threads that ignore their timeout" in caplog.text
    assert all(job.status() is JobState.READY for job in jobs)
    go.set()


def test_hoarded_jobs_go_to_others(app: Penstock) -> None:
    started: dict[int, float] = {}
    go = threading.Event()

    @app.task(result_ttl=0)
    def quick() -> None:
        pass

    @app.task(result_ttl=0)
    def long(number: int) -> None:
        started[number] = time.monotonic()
        assert go.wait(WITHIN_S)

    quick.delay_many([()] * 5_000)
    long.delay_many([(number,) for number in range(50)])
    workers = [Beside(app, concurrency=10) for _ in range(5)]
    try:
        wait_for(lambda: len(started) == 50)
        first = min(started.values())
        assert max(started.values()) - first < 2.0, sorted(round(at - first, 2) for at in started.values())
    finally:
        go.set()
        for beside in workers:
            beside.stop()
        assert [beside.end() for beside in workers] == [0] * 5


def test_lanes_share_the_slots(app: Penstock, working: Working) -> None:
    lock = threading.Lock()
    running, most = 0, 0

    def count(step: int) -> None:
        nonlocal running, most
        with lock:
            running += step
            most = max(most, running)

    @app.task
    def on_thread() -> None:
        count(1)
        time.sleep(0.005)
        count(-1)

    @app.task
    async def on_loop() -> None:
        count(1)
        await asyncio.sleep(0.005)
        count(-1)

    with working(concurrency=3):
        jobs = [task.delay() for _ in range(30) for task in (on_thread, on_loop)]
        for job in jobs:
            job.result(WITHIN_S)
    assert most == 3


def test_the_guard_hears_the_longest_timeout(app: Penstock, working: Working) -> None:
    heard: list[float | None] = []
    told = threading.Event()

    def on_beat(longest_s: float | None) -> None:
        heard.append(longest_s)
        told.set()

    @app.task(timeout=5)
    def short() -> None:
        pass

    with working(on_beat=on_beat, lease_s=0.3):
        assert told.wait(WITHIN_S)
    assert heard[-1] == 5.0

    @app.task
    def endless() -> None:
        pass

    told.clear()
    with working(on_beat=on_beat, lease_s=0.3):
        assert told.wait(WITHIN_S)
    assert heard[-1] is None


def _gone(look: Callable[[], object]) -> bool:
    try:
        look()
    except LookupError:
        return True
    return False


# --- crashes and suspects


async def _lose(app: Penstock, started: int, lease_s: float) -> None:
    """A worker takes what is there, marks some of it as started, and is never seen again."""
    broker = app.connect()
    await broker.open()
    card = WorkerCard("lost", "test")
    consumer = await broker.consumer(["default"], window=100, lease_s=lease_s, card=card)
    fetched = (await consumer.fetch(100, 10**6, 0)).deliveries
    await consumer.beat(lease_s, [Started(delivery) for delivery in fetched[:started]])


def test_suspects_run_one_at_a_time_and_the_guilty_one_is_poison(app: Penstock, working: Working) -> None:
    lock = threading.Lock()
    running = most = 0

    @app.task
    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return number

    jobs = work.delay_many([(number,) for number in range(8)])
    app.call(_lose(app, 1, 0.2))
    with working(lease_s=0.2, max_crashes=1):
        with pytest.raises(JobFailed) as caught:
            jobs[0].result(WITHIN_S)
        assert caught.value.cause == "poison"
        assert [job.result(WITHIN_S) for job in jobs[1:]] == list(range(1, 8))
    assert most == 1


def test_at_most_once_is_not_run_again(app: Penstock, working: Working) -> None:
    ran: list[int] = []

    @app.task(delivery="at_most_once")
    def work(number: int) -> int:
        ran.append(number)
        return number

    started, waiting = work.delay_many([(0,), (1,)])
    app.call(_lose(app, 1, 0.2))
    with working(lease_s=0.2):
        with pytest.raises(JobFailed) as caught:
            started.result(WITHIN_S)
        assert caught.value.cause == "lost"
        assert waiting.result(WITHIN_S) == 1  # it had not begun
        assert work.delay(2).result(WITHIN_S) == 2
    assert ran == [1, 2]


def test_what_is_lost_is_not_recorded(
    app: Penstock, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def work() -> int:
        begun.set()
        assert go.wait(WITHIN_S)
        return 1

    with working() as beside:
        job = work.delay()
        assert begun.wait(WITHIN_S)
        worker = beside.worker
        [run] = worker._executor.held()
        worker._post(lambda: worker._on_beat(Beat(lost=frozenset({run.delivery.token}))))
        wait_for(lambda: run.ask is not None)
        go.set()
        assert job.status() is JobState.RUNNING
    assert "was lost to another worker" in caplog.text


def test_a_settlement_that_comes_too_late(
    app: Penstock, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    with working() as beside:
        worker = beside.worker
        worker._post(lambda: worker._on_settled(1, [delivery()]))
        wait_for(lambda: worker._lost == 1)
    assert "came too late and were refused" in caplog.text


# --- a broker that fails in the end


def _with_consumer(app: Penstock, change: Callable[[Consumer], None]) -> None:
    connect = app.connect

    def changed() -> Broker:
        broker = connect()
        make = broker.consumer

        async def consumer(*args: object, **kwargs: object) -> Consumer:
            made = await make(*args, **kwargs)  # type: ignore[arg-type]
            change(made)
            return made

        broker.consumer = consumer  # type: ignore[assignment,method-assign]
        return broker

    app.connect = changed  # type: ignore[method-assign]


def test_outcomes_that_cannot_be_told(
    app: Penstock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = threading.Event()

    @app.task
    def work() -> None:
        ran.set()

    async def gone(*_: object) -> None:
        raise BrokerUnavailable("gone")

    def change(consumer: Consumer) -> None:
        consumer.settle = consumer.close = gone  # type: ignore[assignment,method-assign]

    monkeypatch.setattr(worker_module, "CLOSE_WITHIN_S", 0.1)
    _with_consumer(app, change)
    work.delay()
    beside = Beside(app)
    assert ran.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 4
    assert "1 outcome(s) could not be told to the broker" in caplog.text
    assert "the lease could not be given back (gone)" in caplog.text


def test_a_stop_before_it_runs(app: Penstock) -> None:
    worker = Worker(app.tasks, app.connect, WorkerSettings(queues=["default"]))
    worker.stop()
    assert worker.run(signals=False) == 0
    worker.stop()  # and after it has ended


def test_one_command_is_obeyed_once(app: Penstock, working: Working) -> None:
    with working() as beside:
        worker = beside.worker
        worker._post(
            lambda: [worker._on_beat(Beat(commands=[Command("c1", "quiet")])) for _ in range(3)] and None
        )
        wait_for(lambda: worker._feeder.quiet)
        worker._post(worker._feeder.resume)
        worker._post(lambda: worker._on_beat(Beat(commands=[Command("c1", "quiet")])))
        done = threading.Event()
        worker._post(done.set)
        assert done.wait(WITHIN_S)
        assert not worker._feeder.quiet


def test_draining_is_asked_once(app: Penstock) -> None:
    """By a supervisor, and by whoever signals all of its workers."""
    begun = threading.Event()

    @app.task
    def work() -> str:
        begun.set()
        while not current_job().stopping():
            time.sleep(0.005)
        time.sleep(0.05)
        return "done"

    job = work.delay()
    beside = Beside(app).ready()
    assert begun.wait(WITHIN_S)
    beside.worker._post(beside.worker._quiet)
    beside.worker._post(beside.worker._quiet)
    for _ in range(3):
        beside.worker._drain_once()
    assert beside.end() == 0
    assert job.result(1) == "done"


def test_quiet_before_it_is_connected(app: Penstock, caplog: pytest.LogCaptureFixture) -> None:
    """It may be asked while the broker is not there."""
    tries, go = threading.Event(), threading.Event()
    connect = app.connect

    def waiting() -> Broker:
        broker = connect()
        open_ = broker.open

        async def later() -> object:
            tries.set()
            if not go.is_set():
                raise BrokerUnavailable("nobody is there")
            return await open_()

        broker.open = later  # type: ignore[assignment,method-assign]
        return broker

    app.connect = waiting  # type: ignore[method-assign]
    caplog.set_level(logging.INFO)
    beside = Beside(app)
    assert tries.wait(WITHIN_S)
    beside.worker._post(beside.worker._quiet)
    go.set()
    beside.ready()
    assert beside.worker._feeder.quiet
    beside.stop()
    assert beside.end() == 0
    beside.worker._post(beside.worker._quiet)  # it has ended


def test_stopped_before_it_has_a_consumer(app: Penstock) -> None:
    connect = app.connect
    tried = threading.Event()

    async def consumer(*_: object, **__: object) -> None:
        tried.set()
        raise BrokerUnavailable("gone again")

    def broken() -> Broker:
        broker = connect()
        broker.consumer = consumer  # type: ignore[assignment,method-assign]
        return broker

    app.connect = broken  # type: ignore[method-assign]
    beside = Beside(app)
    assert tried.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 0


def test_progress_is_a_finite_number(app: Penstock, working: Working) -> None:
    @app.task(retry=False)
    def work(done: float, total: float | None) -> None:
        current_job().progress(done, total and total * 1e308 * 10)

    with working():
        work.delay(1, None).result(WITHIN_S)
        with pytest.raises(JobFailed, match="finite"):
            work.delay(1, 5).result(WITHIN_S)


def test_many_unknown_names_are_bounded(app: Penstock, working: Working) -> None:
    with working() as beside:
        for number in range(1_200):
            beside.worker._unknown(f"name-{number}")
        assert len(beside.worker._unknown_seen) == 1_000


# --- loops


def test_nothing_blocks_the_io_loop(app: Penstock, working: Working, no_blocking: object) -> None:
    @app.task(retry=Retry(attempts=2, base=0.01))
    def on_thread(number: int) -> int:
        if current_job().attempt == 1:
            raise ValueError(number)
        return number

    @app.task
    async def on_loop(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    with working():
        jobs = [task.delay(number) for number in range(50) for task in (on_thread, on_loop)]
        assert [job.result(WITHIN_S) for job in jobs] == [number for number in range(50) for _ in range(2)]


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_on_either_loop(
    app: Penstock, working: Working, monkeypatch: pytest.MonkeyPatch, has_uvloop: bool
) -> None:
    if not has_uvloop:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    @app.task
    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__

    with working() as beside:
        assert which.delay().result(WITHIN_S).startswith("uvloop" if has_uvloop else "asyncio")
        assert type(beside.worker._io_loop).__module__.startswith("uvloop" if has_uvloop else "asyncio")


def test_a_worker_with_threads_alone_makes_no_loop_for_the_user(app: Penstock, working: Working) -> None:
    @app.task
    def work() -> None: ...

    with working() as beside:
        work.delay().result(WITHIN_S)
        assert beside.worker._user_loop is None


def test_stacks_while_tasks_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def changing(loop: object) -> None:
        raise RuntimeError("Set changed size during iteration")

    async def main() -> str:
        loop = asyncio.get_running_loop()
        shown = every_stack([loop])
        monkeypatch.setattr(asyncio, "all_tasks", changing)
        return shown + "---\n" + every_stack([loop])

    before, _, after = asyncio.run(main()).rpartition("---\n--- thread")
    assert "--- task" in before
    assert "--- task" not in after
