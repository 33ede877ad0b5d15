"""What was lost with its worker, and what comes too late."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from penstock import (
    JobFailed,
    JobState,
    LeaseLost,
    Penstock,
    current_job,
)
from penstock.ports.broker import Beat, Started, WorkerCard
from penstock.runtime import executor
from tests.runtime.bench import delivery
from tests.runtime.conftest import WITHIN_S, Beside, Working, wait_for


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


def test_a_full_house_of_suspects_does_not_hold_up_others(
    app: Penstock, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "HOARD_S", 600.0)  # none of them is given to others
    begun, go = threading.Event(), threading.Event()

    @app.task
    def slow() -> None:
        begun.set()
        assert go.wait(WITHIN_S)

    @app.task
    def quick(number: int) -> int:
        return number

    lost = slow.delay_many([()] * 20)
    app.call(_lose(app, 20, 0.2))
    with working(lease_s=0.2, concurrency=2, max_crashes=9):
        assert begun.wait(WITHIN_S)
        good = quick.delay_many([(number,) for number in range(50)])
        assert [job.result(WITHIN_S) for job in good] == list(range(50))
        assert not any(job.status() is JobState.SUCCEEDED for job in lost)
        go.set()
        for job in lost:
            job.result(WITHIN_S)


def test_at_most_once_jobs_pass_a_flood(app: Penstock, working: Working) -> None:
    flood = threading.Event()

    @app.task
    def plain() -> None:
        flood.wait(0.002)

    @app.task(delivery="at_most_once", priority=9)
    def once() -> None:
        flood.set()

    jobs = plain.delay_many([()] * 20_000)
    with working(concurrency=4):
        wait_for(lambda: jobs[500].status() is JobState.SUCCEEDED)  # it fetches far ahead by now
        once.delay().result(WITHIN_S)
        assert jobs[-1].status() is JobState.READY
        for job in jobs[-3:]:
            job.result(WITHIN_S)


def test_a_worker_that_stops_while_it_marks_gives_back_at_once(app: Penstock) -> None:
    @app.task(delivery="at_most_once")
    def once() -> None: ...

    beside = Beside(app).ready()
    marking = threading.Event()

    async def never(*args: object) -> Beat:
        marking.set()
        await asyncio.Event().wait()
        raise AssertionError

    beside.worker._engine._gate._consumer = Unanswering(never)
    job = once.delay()
    assert marking.wait(WITHIN_S)
    began = time.monotonic()
    beside.stop()
    assert beside.end() == 0
    assert time.monotonic() - began < 5.0
    assert job.status() is JobState.READY


class Unanswering:
    def __init__(self, beat: Callable[..., Awaitable[Beat]]) -> None:
        self.beat = beat


def test_at_most_once_is_not_run_again(
    app: Penstock, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
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
    assert "those that run at most once and had started: they go to the dead set" in caplog.text
    assert caplog.text.count("it runs at most once, so it is in the dead set") == 1


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
        [run] = worker._engine._executor.held()
        worker._post(lambda: worker._engine._on_beat(Beat(lost=frozenset({run.delivery.token}))))
        wait_for(lambda: run.ask is not None)
        go.set()
        assert job.status() is JobState.RUNNING
    assert "was lost to another worker" in caplog.text


def test_progress_of_what_is_lost_ends_the_run(
    app: Penstock, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go = threading.Event(), threading.Event()
    told: list[LeaseLost] = []

    @app.task
    def work() -> None:
        current_job().progress(1)
        begun.set()
        assert go.wait(WITHIN_S)
        try:
            current_job().progress(2)
        except LeaseLost as error:
            told.append(error)
            raise

    with working() as beside:
        job = work.delay()
        assert begun.wait(WITHIN_S)
        worker = beside.worker
        [run] = worker._engine._executor.held()
        worker._post(lambda: worker._engine._on_beat(Beat(lost=frozenset({run.delivery.token}))))
        wait_for(lambda: run.ask is not None)
        go.set()
        wait_for(lambda: bool(told))
        assert job.status() is JobState.RUNNING
    assert f"job {job.id} belongs to another worker now" in str(told[0])
    assert "failed: LeaseLost" not in caplog.text


def test_a_settlement_that_comes_too_late(
    app: Penstock, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    with working() as beside:
        worker = beside.worker
        worker._post(lambda: worker._engine._on_settled(1, [delivery()]))
        wait_for(lambda: worker._engine._lost == 1)
    assert (
        "came too late and were refused: the jobs belong to other workers now, or are stored no more ("
        in caplog.text
    )
