"""Jobs in child processes: reused, asked, killed, crashing, and what they say meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import JobCancelled, JobFailed, JobState, Penstock
from penstock.core.spec import declare
from penstock.ids import new_id
from penstock.runtime import process_lane
from penstock.runtime.ended import Ended
from penstock.runtime.frames import Inbox, Logged, Stopping, Told, frame
from penstock.runtime.process_lane import ProcessLane
from penstock.runtime.run import Ask
from tests.faults.processes import gone
from tests.runtime import children_app as tasks
from tests.runtime.bench import run_of, spec_of
from tests.runtime.conftest import WITHIN_S, Beside, Doorbell, wait_for

REFERENCE = "tests.runtime.children_app:app"
Start = Callable[..., Beside]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, bell: Doorbell) -> Iterator[Penstock]:
    """The application of the children, on a fresh broker."""
    monkeypatch.setenv("TEST_BELL", bell.path)
    tasks.app.configure({"broker_url": f"memory://{new_id()}"})
    known = dict(tasks.app.tasks)
    yield tasks.app
    tasks.app.tasks.clear()
    tasks.app.tasks.update(known)
    tasks.app.close()


@pytest.fixture
def start(app: Penstock) -> Iterator[Start]:
    """Starts a worker; it is stopped at the end of the test."""
    started: list[Beside] = []

    def begin(**settings: object) -> Beside:
        beside = Beside(
            app, **{"app_reference": REFERENCE, "concurrency": 2, "lease_s": 0.9} | settings
        ).ready()
        started.append(beside)
        return beside

    yield begin
    for beside in started:
        beside.stop(at_once=True)
        beside.end()


def lane_of(beside: Beside) -> process_lane.ProcessLane:
    lane = next(
        lane for lane in beside.worker._engine._lanes.values() if isinstance(lane, process_lane.ProcessLane)
    )
    assert isinstance(lane, process_lane.ProcessLane)
    return lane


def test_functions_and_coroutines_run_in_children(start: Start) -> None:
    start()
    assert tasks.add.delay(1, 2).result(WITHIN_S) == 3
    assert tasks.about.delay().result(WITHIN_S) == f"{tasks.about.name} 1 of 25 in default"
    assert tasks.greet.delay("a").result(WITHIN_S) == "clean async a"
    assert tasks.greet.delay("b").result(WITHIN_S) == "clean async b"  # no context leaks from job to job
    assert tasks.look.delay("c").result(WITHIN_S) == "clean"
    assert tasks.look.delay("d").result(WITHIN_S) == "clean"


def test_a_child_is_reused_and_closes_its_resources(start: Start, bell: Doorbell) -> None:
    beside = start()
    (pid, first), (again, second) = (tasks.count.delay().result(WITHIN_S) for _ in range(2))
    assert (pid, first, second) == (again, 1, 2)
    assert pid != os.getpid()
    assert bell.wait("open") == str(pid)
    beside.stop()
    assert beside.end() == 0
    assert bell.wait("close") == str(pid)
    assert gone(pid)


def test_a_childs_loop_goes_on_between_jobs(start: Start, bell: Doorbell) -> None:
    beside = start(concurrency=1)
    tasks.greet.delay("a").result(WITHIN_S)
    for _ in range(3):
        bell.wait("tick")
    assert tasks.add.delay(1, 1).result(WITHIN_S) == 2
    beside.stop()
    assert beside.end() == 0
    bell.wait("aclose")


def test_no_more_children_than_slots(start: Start) -> None:
    beside = start(concurrency=2)
    jobs = [tasks.count.delay() for _ in range(30)]
    assert len({job.result(WITHIN_S)[0] for job in jobs}) <= 2
    assert len(lane_of(beside)._children) <= 2


def test_log_records_come_to_the_worker(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    start()
    with pytest.raises(JobFailed, match="no"):
        tasks.log_and_fail.delay().result(WITHIN_S)
    records = [record for record in caplog.records if record.name == "shop.orders"]
    assert records[0].getMessage() == "order 7 is odd"
    assert (records[0].levelname, Path(records[0].pathname).name) == ("WARNING", "children_app.py")
    assert "ValueError: inner" in records[1].getMessage()
    assert any("was rejected by its task" in record.getMessage() for record in caplog.records)


def test_levels_are_those_of_the_worker(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    start()
    with pytest.raises(JobFailed):
        tasks.log_and_fail.delay().result(WITHIN_S)
    assert [record.levelname for record in caplog.records if record.name == "shop.orders"] == ["ERROR"]


def test_progress_and_cancellation_while_it_runs(start: Start, bell: Doorbell) -> None:
    start()
    job = tasks.obedient.delay()
    bell.wait("begun")
    wait_for(lambda: (progress := job.progress()) is not None and progress.done > 3)
    job.cancel()
    bell.wait("asked")
    with pytest.raises(JobCancelled):
        job.result(WITHIN_S)


def test_cancellation_of_what_waits_and_of_what_will_not_listen(start: Start, bell: Doorbell) -> None:
    start(concurrency=1)
    running = tasks.deaf_for_ever.delay()
    pid = int(bell.wait("begun"))
    waiting = tasks.add.delay(1, 1)
    waiting.cancel()
    running.cancel()
    for job in (running, waiting):
        with pytest.raises(JobCancelled):
            job.result(WITHIN_S)
    wait_for(lambda: gone(pid))


def test_a_timeout_kills(start: Start, bell: Doorbell, caplog: pytest.LogCaptureFixture) -> None:
    start()
    with pytest.raises(JobFailed) as caught:
        tasks.deaf.delay().result(WITHIN_S)
    assert caught.value.cause == "timeout"
    pids = {int(bell.wait("begun")) for _ in range(2)}  # it was tried twice
    assert len(pids) == 2
    wait_for(lambda: all(gone(pid) for pid in pids))


def test_a_timeout_cancels_a_coroutine_in_order(start: Start, bell: Doorbell) -> None:
    beside = start(concurrency=1)
    with pytest.raises(JobFailed) as caught:
        tasks.patient.delay().result(WITHIN_S)
    assert caught.value.cause == "timeout"
    bell.wait("cleaned up")
    [child] = lane_of(beside)._children
    assert not gone(child.pid)


def test_what_a_job_has_started_is_killed_with_it(start: Start, bell: Doorbell) -> None:
    start()
    job = tasks.with_family.delay()
    pid = int(bell.wait("family"))
    job.cancel()
    wait_for(lambda: gone(pid))


def test_a_lost_delivery_is_killed_and_told_to_nobody(start: Start, bell: Doorbell) -> None:
    beside = start()
    job = tasks.deaf_for_ever.delay()
    pid = int(bell.wait("begun"))
    [run] = beside.worker._engine._executor.held()
    beside.worker._post(lambda: beside.worker._engine._executor.lose([run.delivery.token]) and None)
    wait_for(lambda: gone(pid))
    assert job.status() is JobState.RUNNING  # as far as the broker knows


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "ended with exit code 3"),
        ("segv", "was killed by SIGSEGV"),
        ("9", "was killed by SIGKILL (by hand, or by the kernel for want of memory)"),
        ("40", "was killed by signal 40"),
    ],
)
def test_a_crash_comes_back_as_a_suspect_until_it_is_poison(
    start: Start, caplog: pytest.LogCaptureFixture, how: str, said: str
) -> None:
    start(max_crashes=2)
    good = [tasks.add.delay(number, 1) for number in range(5)]
    job = tasks.crash.delay(how)
    with pytest.raises(JobFailed) as caught:
        job.result(WITHIN_S)
    assert caught.value.cause == "poison"
    text = str(caught.value)
    assert f"Poison: its child process {said}, peak memory " in text
    assert text.count("lost with its worker or child process 2 time(s)") == 1
    lines = [record.getMessage() for record in caplog.records if f"{job.id} of" in record.getMessage()]
    assert [said in line for line in lines] == [True, True, True]
    assert "peak memory" in lines[0]
    assert [each.result(WITHIN_S) for each in good] == [1, 2, 3, 4, 5]


def test_at_most_once_is_not_run_again_after_a_crash(start: Start, bell: Doorbell) -> None:
    start()
    with pytest.raises(JobFailed) as caught:
        tasks.crash_once.delay().result(WITHIN_S)
    assert caught.value.cause == "lost"
    assert "WorkerLost: its child process ended with exit code" in str(caught.value)
    bell.wait("ran")
    assert not bell.heard


def test_signals_for_everybody_do_not_reach_the_children(start: Start) -> None:
    start()
    assert tasks.signalled.delay().result(WITHIN_S) == "True"


def test_bodies_and_results_of_any_size(start: Start) -> None:
    start()
    text = "x" * 900_000
    jobs = [tasks.echo.delay(text) for _ in range(4)]
    assert all(job.result(WITHIN_S) == text for job in jobs)


def test_jobs_are_told_that_the_worker_drains(start: Start, bell: Doorbell) -> None:
    beside = start()
    job = tasks.stops_early.delay()
    bell.wait("begun")
    beside.stop()
    assert beside.end() == 0
    assert job.result(1) == "stopped early"


def test_the_end_of_the_grace_period_kills(start: Start, bell: Doorbell) -> None:
    beside = start(grace_s=0.05)
    job = tasks.deaf_for_ever.delay()
    pid = int(bell.wait("begun"))
    beside.stop()
    assert beside.end() == 4
    assert gone(pid)
    assert job.status() is JobState.READY


def test_a_child_that_cannot_load_the_application(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_lane, "FIRST_BACKOFF_S", 0.3)
    beside = start(app_reference="tests.runtime.nowhere:app")
    jobs = [tasks.add.delay(1, 1), tasks.add.delay(2, 2)]
    wait_for(lambda: "could not load the application tests.runtime.nowhere:app" in caplog.text)
    assert "ModuleNotFoundError: No module named 'tests.runtime.nowhere'" in caplog.text
    assert "the next try is in 0.3 s" in caplog.text
    wait_for(lambda: all(job.status() is JobState.SCHEDULED for job in jobs))
    # It tries again, one child at a time, and goes on when it works.
    lane_of(beside)._hello.app_reference = REFERENCE
    assert [job.result(WITHIN_S) for job in jobs] == [2, 4]
    assert beside.worker._engine._executor.failed <= 8  # it was deferred now and then, it did not spin


def test_a_child_that_ends_while_it_loads(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dies_at_import.py").write_text("import os; os._exit(7)")
    (tmp_path / "hangs_at_import.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(process_lane, "FIRST_BACKOFF_S", 0.05)
    beside = start(app_reference="dies_at_import:app")
    job = tasks.add.delay(1, 1)
    wait_for(lambda: "dies_at_import:app: ended with exit code 7" in caplog.text)
    monkeypatch.setattr(process_lane, "START_WITHIN_S", 0.3)
    lane_of(beside)._hello.app_reference = "hangs_at_import:app"
    wait_for(lambda: "hangs_at_import:app: it has not loaded the application in 0.3 s" in caplog.text)
    job.cancel()


def test_a_python_that_cannot_be_started(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    job = tasks.add.delay(1, 1)
    wait_for(lambda: "it cannot be started: [Errno 2]" in caplog.text)
    job.cancel()


def test_idle_children_end_after_a_while(
    start: Start, monkeypatch: pytest.MonkeyPatch, bell: Doorbell
) -> None:
    monkeypatch.setattr(process_lane, "IDLE_FOR_S", 0.05)
    start()
    pid, _ = tasks.count.delay().result(WITHIN_S)
    assert bell.wait("close") == str(pid)
    wait_for(lambda: gone(pid))
    assert tasks.count.delay().result(WITHIN_S)[1] == 1


def test_an_idle_child_that_dies_is_replaced(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    beside = start()
    pid, _ = tasks.count.delay().result(WITHIN_S)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: f"idle child process {pid} was killed by SIGKILL" in caplog.text)
    assert not lane_of(beside)._children
    assert tasks.add.delay(1, 1).result(WITHIN_S) == 2


def test_a_task_that_only_the_worker_knows_waits(
    app: Penstock, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(lane="process")
    def only_here() -> None:
        pass

    start()
    job = only_here.delay()
    wait_for(lambda: "a child process does not know" in caplog.text)
    wait_for(lambda: job.status() is JobState.SCHEDULED)


def test_code_that_has_changed_since_the_worker_began(app: Penstock, start: Start) -> None:
    def add(x: str, y: int) -> str:
        return x * y

    app.tasks[tasks.add.name] = declare(add, name=tasks.add.name, lane="process")
    start()
    job = app.send(tasks.add.name, "a", 2)
    with pytest.raises(JobFailed) as caught:
        job.result(WITHIN_S)
    assert caught.value.cause == "arguments"


def test_a_stop_while_a_child_is_starting(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "slow_at_import.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    beside = start(app_reference="slow_at_import:app")
    job = tasks.add.delay(1, 1)
    wait_for(lambda: any(child.pid for child in lane_of(beside)._children))
    beside.stop()
    assert beside.end() == 0
    assert job.status() is JobState.READY


def test_lanes_share_the_slots(start: Start) -> None:
    start(concurrency=2)
    jobs = [task.delay() for _ in range(10) for task in (tasks.on_thread, tasks.on_loop, tasks.count)]
    here = [job.result(WITHIN_S) == os.getpid() for job in jobs]
    assert here == [True, True, False] * 10


# --- the lane alone


def test_asked_too_late(start: Start) -> None:
    """The child has said what became of the run, and the executor has not heard it yet."""
    beside = start()
    tasks.add.delay(1, 1).result(WITHIN_S)
    lane = lane_of(beside)
    ended = run_of(spec_of(tasks.add.spec.function), 1, 1)
    ended.ask = Ask.CANCEL
    done = threading.Event()

    def ask() -> None:
        lane.ask(ended)
        done.set()

    beside.worker._post(ask)
    assert done.wait(WITHIN_S)


def test_an_application_whose_threads_outlive_its_failure(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half_loaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\nraise ValueError('half')"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    start(app_reference="half_loaded:app")
    tasks.add.delay(1, 1)
    wait_for(lambda: "half_loaded:app: ValueError: half" in caplog.text)


def test_a_child_that_will_not_end_is_killed(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "stays.py").write_text(
        "import threading, time\n"
        "from tests.runtime.children_app import app\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(process_lane, "CLOSE_WITHIN_S", 0.2)
    monkeypatch.setattr(process_lane.ProcessLane.join, "__defaults__", (0.2,))
    beside = start(app_reference="stays:app")
    pid, _ = tasks.count.delay().result(WITHIN_S)
    beside.stop()
    assert beside.end() == 0
    assert f"child process {pid} did not end in 0.2 s and was killed" in caplog.text
    assert gone(pid)


def test_killed_before_it_has_begun(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane closes while a child's thread is still starting the process."""
    go = threading.Event()
    popen = subprocess.Popen
    started: list[int] = []

    def slow(*args: Any, **kwargs: Any) -> Any:
        assert go.wait(WITHIN_S)
        process = popen(*args, **kwargs)
        started.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", slow)
    beside = start()
    job = tasks.add.delay(1, 1)
    wait_for(lambda: bool(lane_of(beside)._children))
    beside.stop()
    wait_for(lambda: not beside.worker._io_loop or beside.worker._io_loop.is_closed())
    go.set()
    assert beside.end() == 0
    assert gone(started[0])
    assert job.status() is JobState.READY


def test_levels_below_the_workers_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    process_lane._log(Logged("shop", logging.WARNING, "not this", "a.py", 1, 5.0))
    process_lane._log(Logged("shop", logging.ERROR, "this", "a.py", 1, 5.0))
    assert [record.getMessage() for record in caplog.records] == ["this"]
    assert caplog.records[0].created == 5.0


class Wire:
    """A socket that does what a test says."""

    def __init__(self, *does: object) -> None:
        self._does = list(does)
        self.closed = False

    def fileno(self) -> int:
        return -1 if self.closed else 999

    def send(self, data: bytes) -> int:
        return self._next()

    def recv(self, most: int) -> bytes:
        return self._next()

    def _next(self) -> Any:
        done = self._does.pop(0)
        if isinstance(done, Exception):
            raise done
        return done

    def close(self) -> None:
        self.closed = True


class Loop:
    """Notes what is watched."""

    def __init__(self) -> None:
        self.watched: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.watched.append(name)


@pytest.fixture
def child() -> process_lane._Child:
    """One without a process."""
    made = object.__new__(process_lane._Child)
    made._loop = Loop()  # type: ignore[assignment]
    made._unsent = bytearray()
    made._inbox = Inbox()
    made._timer = None
    made._lane = ProcessLane(1, REFERENCE, lambda settlement: None)
    made._lane._stopping = True
    made.run = None
    made.ready = made.retired = False
    return made


def test_a_wire_that_takes_little_at_a_time(child: process_lane._Child) -> None:
    size = len(frame(Stopping()))
    child._wire = Wire(BlockingIOError(), 3, size - 3 + size)  # type: ignore[assignment]
    child.say(Stopping())
    child.say(Stopping())  # goes behind the first
    child._write()
    child._write()
    assert child._loop.watched == ["add_writer", "add_writer", "remove_writer"]  # type: ignore[attr-defined]


def test_a_wire_that_is_gone(child: process_lane._Child) -> None:
    child._wire = Wire(BrokenPipeError(), ConnectionResetError(), BlockingIOError())  # type: ignore[assignment]
    child.say(Stopping())
    assert not child._unsent
    child._readable()
    child._readable()
    assert child._loop.watched == ["remove_writer", "remove_reader"]  # type: ignore[attr-defined]


def test_an_end_after_the_lanes(child: process_lane._Child) -> None:
    child._wire = Wire(b"")  # type: ignore[assignment]
    child._ended(Ended(0))  # while the worker drains: nobody complains
    assert child._wire.fileno() < 0
    child._ended(Ended(0))
    loop = asyncio.new_event_loop()
    loop.close()
    child._loop = loop
    child._post(Ended(0))


def test_progress_of_a_job_that_has_ended(child: process_lane._Child) -> None:
    told: list[tuple[int, bytes]] = []
    child.run = run_of(spec_of(tasks.add.spec.function), 1, 1, told=told)
    token = child.run.delivery.token
    child._lane.heard(child, Told(token - 1, b"stale"))
    child._lane.heard(child, Told(token, b"new"))
    child.run = None
    child._lane.heard(child, Told(token, b"late"))
    assert told == [(token, b"new")]


def test_what_was_cancelled_while_it_waited(child: process_lane._Child) -> None:
    settled: list[object] = []
    lane = ProcessLane(1, REFERENCE, settled.append)
    lane._stopping = True
    run = run_of(spec_of(tasks.add.spec.function), 1, 1)
    run.ask = Ask.CANCEL
    lane.submit([run])
    assert [type(each).__name__ for each in settled] == ["Cancelled"]
    lane.ask(run)
    process_lane._Child.at_once(child)
