"""A worker that is asked or failed at an awkward moment: before it is connected, twice, in the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from penstock import (
    BrokerUnavailable,
    JobFailed,
    Penstock,
    current_job,
)
from penstock.ports.broker import Beat, Broker, Command, Consumer
from penstock.runtime import worker as worker_module
from penstock.runtime.worker import Worker
from penstock.runtime.worker_settings import WorkerSettings
from tests.runtime.conftest import WITHIN_S, Beside, Working, wait_for


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
            lambda: (
                [worker._engine._on_beat(Beat(commands=[Command("c1", "quiet")])) for _ in range(3)] and None
            )
        )
        wait_for(lambda: worker._engine._feeder.quiet)
        worker._post(worker._engine._feeder.resume)
        worker._post(lambda: worker._engine._on_beat(Beat(commands=[Command("c1", "quiet")])))
        done = threading.Event()
        worker._post(done.set)
        assert done.wait(WITHIN_S)
        assert not worker._engine._feeder.quiet


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
    assert beside.worker._engine._feeder.quiet
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
            beside.worker._engine._unknown(f"name-{number}")
        assert len(beside.worker._engine._unknown_seen) == 1_000
