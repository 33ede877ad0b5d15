"""What becomes of a job in a worker: outcomes, retries, progress, cancellation, timeouts."""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

from penstock import (
    JobCancelled,
    JobFailed,
    Penstock,
    Reject,
    Retry,
    RetryLater,
    current_job,
)
from penstock.errors import BrokerUnavailable, PenstockError
from penstock.runtime.limits import Limits
from tests.runtime.conftest import WITHIN_S, Beside, Working, wait_for


def test_both_kinds_of_jobs_share_the_slots(app: Penstock) -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def step(by: int) -> None:
        nonlocal at_work, most
        with lock:
            at_work += by
            most = max(most, at_work)

    @app.task(result_ttl=0)
    def on_thread(pause_s: float) -> None:
        step(1)
        time.sleep(pause_s)
        step(-1)

    @app.task(result_ttl=0)
    async def on_loop(pause_s: float) -> None:
        step(1)
        await asyncio.sleep(pause_s)
        step(-1)

    # Stretches of one kind, of all lengths around the number of slots, and of jobs that are over at once or are not.
    draw = random.Random(7)
    calls = [
        (draw.choice((on_thread, on_loop)), draw.randint(1, 9), draw.choice((0, 0.003))) for _ in range(150)
    ]
    for task, count, pause_s in calls:
        task.delay_many([(pause_s,)] * count)
    assert Beside(app, concurrency=4, burst=True).end() == 0
    assert (at_work, most) == (0, 4)


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
        wait_for(lambda: beside.worker._engine._executor.held()[0].ask is not None)
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


def test_a_worker_that_was_idle_tells_soon_of_its_work(
    app: Penstock, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.runtime.engine.BUSY_EVERY_S", 0.05)
    go, beats = threading.Event(), threading.Semaphore(0)

    @app.task
    def work() -> None:
        current_job().progress(1, 2)
        assert go.wait(WITHIN_S)

    # Idle it beats every 20 s, so whatever is seen before is due to the job.
    with working(lease_s=60.0, on_beat=lambda longest_s: beats.release()):
        assert beats.acquire(timeout=WITHIN_S)
        job = work.delay()
        try:
            wait_for(lambda: job.progress() is not None, within_s=10)
        finally:
            go.set()
        job.result(WITHIN_S)


@pytest.mark.parametrize("supervised", [True, False])
def test_too_many_stuck_threads_end_the_worker(
    app: Penstock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, supervised: bool
) -> None:
    monkeypatch.setattr("penstock.runtime.overtime.STUCK_S", 0.1)
    runs, go = threading.Semaphore(0), threading.Event()

    @app.task(timeout=0.05, retry=False)
    def deaf() -> None:
        runs.release()
        assert go.wait(WITHIN_S)

    @app.task(timeout=0.05, delivery="at_most_once")
    def careful() -> None:
        runs.release()
        assert go.wait(WITHIN_S)

    jobs = [deaf.delay(), careful.delay()]
    beside = Beside(app, concurrency=4 if supervised else 2, lease_s=0.3, grace_s=0.2, supervised=supervised)
    assert beside.end() == 4
    said = "2 of 4 slots are held" if supervised else "2 of 2 slots are held"
    assert said in caplog.text
    assert ("supervisor starts a fresh one" in caplog.text) is supervised
    assert ("Restart=always" in caplog.text) is not supervised
    for job in jobs:
        with pytest.raises(JobFailed) as caught:
            job.result(1)
        assert caught.value.cause == "timeout"
    # The next worker has nothing left to run, so each ran once.
    assert Beside(app, burst=True).end() == 0
    assert [runs.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    go.set()


def test_a_worn_worker_does_not_wait_for_what_ignores_its_timeout(
    app: Penstock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.runtime.overtime.STUCK_S", 0.1)
    go, ends, begun = threading.Event(), threading.Event(), threading.Semaphore(0)

    @app.task(timeout=0.05, retry=False)
    def deaf() -> None:
        begun.release()
        assert go.wait(WITHIN_S)

    @app.task
    def long() -> int:
        begun.release()
        assert ends.wait(WITHIN_S)
        return 1

    never, well = deaf.delay(), long.delay()
    beside = Beside(app, concurrency=4, limits=Limits(jobs=1), supervised=True)
    assert begun.acquire(timeout=WITHIN_S)
    assert begun.acquire(timeout=WITHIN_S)
    beside.worker._stopping.take_time()  # as one that has done enough does with its beat
    beside.stop()
    wait_for(lambda: "runs longer than its timeout" in caplog.text)
    ends.set()  # what is no more than long is let end
    assert beside.end() == 4
    assert well.result(1) == 1
    with pytest.raises(JobFailed) as caught:
        never.result(1)
    assert caught.value.cause == "timeout"
    assert "1 job(s) were still running when nothing else did: 1 had ignored their timeout" in caplog.text
    go.set()


@pytest.mark.parametrize("how", ["quiet", "drains"])
def test_one_that_fetches_no_more_says_that_the_broker_is_back(
    app: Penstock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    caplog.set_level("INFO")
    go, begun = threading.Event(), threading.Event()

    @app.task
    def long() -> None:
        begun.set()
        assert go.wait(WITHIN_S)

    async def away(*_: object) -> NoReturn:
        raise BrokerUnavailable("gone")

    job = long.delay()
    beside = Beside(app, concurrency=2, lease_s=0.3)
    assert begun.wait(WITHIN_S)
    engine = beside.worker._engine
    assert engine is not None
    monkeypatch.setattr(engine._consumer, "fetch", away)
    wait_for(lambda: "fetch: gone; trying again" in caplog.text)
    assert "works again" not in caplog.text
    if how == "quiet":
        beside.worker._post(beside.worker._quiet)
    else:
        beside.stop()
    wait_for(lambda: "fetch: works again" in caplog.text)  # its beats are answered
    monkeypatch.undo()
    go.set()
    job.result(WITHIN_S)
    if how == "quiet":
        beside.stop()
    assert beside.end() == 0
    assert caplog.text.count("works again") == 1


def test_a_worn_worker_says_again_and_again_what_it_waits_for(
    app: Penstock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.runtime.long_wait.PATIENCE_S", 0.02)
    go, begun = threading.Event(), threading.Semaphore(0)

    @app.task
    def endless() -> None:
        begun.release()
        assert go.wait(WITHIN_S)

    jobs = endless.delay_many([()] * 4)
    beside = Beside(app, concurrency=4, app_reference="shop:app")
    for _ in jobs:
        assert begun.acquire(timeout=WITHIN_S)
    beside.worker._stopping.take_time()
    beside.stop()
    wait_for(lambda: caplog.text.count("it waits for 4 job(s) that run: ") == 2)
    go.set()
    assert beside.end() == 0
    said = next(record.getMessage() for record in caplog.records if "it waits for" in record.getMessage())
    assert f"(pid {os.getpid()}) has drained for 0 s" in said
    assert sum(job.id in said for job in jobs) == 3
    assert f"of {endless.name} (for 0 s) and 1 more. " in said
    assert f"penstock -A shop:app workers {beside.worker.id[:13]} dump; " in said


def test_a_worker_without_a_supervisor_goes_on_with_the_slots_that_are_left(
    app: Penstock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.runtime.overtime.STUCK_S", 0.1)
    go, beats = threading.Event(), threading.Semaphore(0)

    @app.task(timeout=0.05, retry=False)
    def deaf() -> None:
        assert go.wait(WITHIN_S)

    @app.task
    def fine() -> int:
        return 1

    deaf.delay_many([(), ()])
    beside = Beside(app, concurrency=3, lease_s=0.3, on_beat=lambda longest_s: beats.release())
    wait_for(lambda: "2 of 3 slots are held by jobs that ignore their timeout" in caplog.text)
    while beats.acquire(blocking=False):
        pass
    for _ in range(3):  # with each of them the stuck are counted
        assert beats.acquire(timeout=WITHIN_S)
    assert caplog.text.count("slots are held") == 1
    assert fine.delay().result(WITHIN_S) == 1
    monkeypatch.setattr("penstock.runtime.engine.REPORT_STUCK_EVERY_S", 0.0)
    wait_for(lambda: caplog.text.count("slots are held") > 1)
    go.set()
    beside.stop()
    assert beside.end() == 0


def _gone(look: Callable[[], object]) -> bool:
    try:
        look()
    except LookupError:
        return True
    return False
