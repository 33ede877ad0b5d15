"""Processes that have done enough or have grown too large are replaced, and what runs ends first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Penstock
from penstock.ids import new_id
from penstock.runtime import limits
from penstock.runtime.frames import FromChild, Settled, Worn
from penstock.runtime.limits import MB, NO_LIMITS, Limits, resident_bytes
from penstock.runtime.process_lane import ProcessLane
from penstock.runtime.stopping import Stopping
from tests.faults.processes import Process, descendants, gone
from tests.runtime import children_app as tasks
from tests.runtime.conftest import WITHIN_S, Beside, Doorbell, wait_for
from tests.runtime.test_rolling import most_at_once

Start = Callable[..., Beside]


def test_what_is_reached() -> None:
    assert NO_LIMITS.reached(10**9) == ""
    assert Limits(jobs=3).reached(2) == ""
    assert Limits(jobs=3).reached(3) == "has done 3 job(s) (max_jobs_per_process is 3)"
    assert Limits(memory_mb=1).reached(0) == ""  # its successor would be as large
    assert Limits(memory_mb=1).reached(1).startswith("holds ")
    assert Limits(memory_mb=1_000_000).reached(1) == ""


def test_a_bound_below_the_size_of_a_process_that_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "resident_bytes", lambda: 80 * MB)
    assert NO_LIMITS.too_small("a process") == ""
    assert Limits(memory_mb=80).too_small("a process") == ""
    assert Limits(jobs=1, memory_mb=79).too_small("a process") == (
        "max_memory_mb is 79, but a process holds 80 MB before its first job: each is replaced as soon as it has done "
        "one, for ever. Set it well above that, as to 200, or to 0 for no limit"
    )


def test_the_size_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = resident_bytes()
    assert before > 10 * MB
    ballast = bytearray(os.urandom(1)) * (64 * MB)
    after = resident_bytes()
    assert 60 * MB < after - before < 80 * MB
    del ballast
    monkeypatch.setattr(limits, "_STATM", tmp_path / "nothing")
    assert resident_bytes() > after - 5 * MB  # the most it ever held, which the kernel counts a little late


def test_a_worn_worker_takes_its_time_unless_it_is_hurried() -> None:
    stopping = Stopping(3)
    stopping.take_time()
    stopping.ask()
    assert stopping.grace_s == float("inf")
    stopping.ask(at_once=True)
    assert stopping.grace_s == 0
    begun = Stopping(3)
    begun.ask()
    begun.take_time()
    assert begun.grace_s == 3


# --- children


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, bell: Doorbell) -> Iterator[Start]:
    monkeypatch.setenv("TEST_BELL", bell.path)
    tasks.app.configure({"broker_url": f"memory://{new_id()}"})
    started: list[Beside] = []

    def begin(limits: Limits) -> Beside:
        beside = Beside(
            tasks.app, app_reference="tests.runtime.children_app:app", concurrency=1, limits=limits
        )
        started.append(beside)
        return beside.ready()

    yield begin
    for beside in started:
        beside.stop(at_once=True)
        beside.end()
    tasks.app.close()


def test_a_child_is_replaced_after_so_many_jobs(
    start: Start, bell: Doorbell, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "penstock.worker")
    start(Limits(jobs=2))
    counts = [tasks.count.delay().result(WITHIN_S) for _ in range(5)]
    assert [n for _, n in counts] == [1, 2, 1, 2, 1]
    first, _, second, _, third = [pid for pid, _ in counts]
    assert len({first, second, third}) == 3
    assert bell.wait("close") == str(first)  # it ends in order
    wait_for(lambda: gone(first))
    assert f"child process {first} has done 2 job(s) (max_jobs_per_process is 2); it ends" in caplog.text
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


def test_a_child_that_has_grown_is_replaced(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "penstock.worker")
    start(Limits(memory_mb=1))
    first, _ = tasks.count.delay().result(WITHIN_S)
    second, _ = tasks.count.delay().result(WITHIN_S)
    assert first != second
    assert f"child process {first} holds " in caplog.text
    assert caplog.text.count("max_memory_mb is 1, but a child process of the process lane holds ") == 1


def idle_mb(start: Start) -> int:
    """What a child holds that has done next to nothing."""
    beside = start(NO_LIMITS)
    held = tasks.held.delay().result(WITHIN_S) // MB
    beside.stop()
    beside.end()
    return held


def test_a_child_that_has_grown_in_a_quick_job_is_replaced_when_it_falls_idle(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "penstock.worker")
    most = idle_mb(start) + 50
    start(Limits(memory_mb=most))
    first, _ = tasks.count.delay().result(WITHIN_S)  # it is looked at, and not again for a second
    assert tasks.grow.delay(100).result(WITHIN_S) == first
    wait_for(lambda: gone(first))
    assert f"(max_memory_mb is {most}); it ends" in caplog.text
    assert tasks.count.delay().result(WITHIN_S)[0] != first


def test_a_child_that_falls_idle_as_its_next_job_comes_is_replaced_behind_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of itself crosses the job on the wire."""
    crossed = threading.Event()
    heard = ProcessLane.heard

    def late(lane: ProcessLane, child: Any, said: FromChild) -> None:
        if isinstance(said, Settled) and not crossed.is_set():
            crossed.set()
            heard(lane, child, Worn("is worn"))
        heard(lane, child, said)

    monkeypatch.setattr(ProcessLane, "heard", late)
    start(NO_LIMITS)
    first, _ = tasks.count.delay().result(WITHIN_S)
    assert crossed.is_set()
    assert tasks.count.delay().result(WITHIN_S)[0] != first


# --- worker processes


TASKS = """
import os, socket, time
from penstock import Penstock
app = Penstock("worn")
ballast = bytearray()

@app.task
def pid() -> int:
    return os.getpid()

@app.task(lane="process")
def child() -> int:
    return os.getpid()

@app.task
def held() -> int:
    from penstock.runtime.limits import resident_bytes
    return resident_bytes()

@app.task
def grow() -> int:
    ballast.extend(os.urandom(1) * 100_000_000)
    return os.getpid()

@app.task
def waits(bell: str, until_there: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"begun", bell)
    while not os.path.exists(until_there):
        time.sleep(0.01)
    return os.getpid()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "worn.py").write_text(TASKS)
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[Penstock]:
    app = Penstock("client", broker=f"sqlite:///{folder / 'jobs.db'}")
    yield app
    app.close()


def worker(folder: Path, *more: str, processes: int = 1, **environment: str) -> Process:
    command = ["-m", "penstock", "-A", str(folder / "worn.py"), "worker", *more]
    process = Process(command, {"PENSTOCK_BROKER_URL": f"sqlite:///{folder / 'jobs.db'}", **environment})
    process.wait_for("is ready: ", times=processes)
    return process


def test_a_worker_process_is_replaced_after_so_many_jobs(
    folder: Path, client: Penstock, bell: Doorbell
) -> None:
    with worker(folder, "--max-jobs-per-process", "3", "--grace", "0.1") as process:
        [first] = descendants(process.pid)
        there = folder / "there"
        long = client.send("worn.waits", bell.path, str(there))
        bell.wait("begun")
        assert {client.send("worn.pid").result(timeout=WITHIN_S) for _ in range(3)} == {first}
        process.wait_for(
            rf"\(pid {first}\) has done 3 job\(s\) \(max_jobs_per_process is 3\); it is replaced"
        )
        process.wait_for("is ready, worker process 1 .* drains")
        process.wait_for("stopping: running jobs are let end")
        assert client.send("worn.pid").result(timeout=WITHIN_S) != first
        assert not gone(first)  # though the grace period is over
        there.touch()
        assert long.result(timeout=WITHIN_S) == first
        process.wait_for("which was replaced, ended with exit code 0")
        assert process.count("another is started|soon after its start") == 0
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0


def test_a_worker_process_that_has_grown_is_replaced(folder: Path, client: Penstock) -> None:
    with worker(folder) as process:  # what this build of Python takes, with the same modules
        held = client.send("worn.held").result(timeout=WITHIN_S) // MB
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
    most = str(held + 50)
    with worker(folder, "--processes", "2", "--max-memory-mb", most, processes=2) as process:
        grown = client.send("worn.grow").result(timeout=WITHIN_S)
        process.wait_for(rf"\(pid {grown}\) holds \d+ MB \(max_memory_mb is {most}\); it is replaced")
        process.wait_for("which was replaced, ended with exit code 0")
        assert gone(grown)
        assert len(descendants(process.pid)) == 2


def test_a_bound_that_every_worker_is_above_is_told_once(folder: Path, client: Penstock) -> None:
    with worker(folder, "--processes", "2", "--max-memory-mb", "1", processes=2) as process:
        process.wait_for(
            r"WARNING .*max_memory_mb is 1, but a worker process of this application holds \d+ MB before its first job"
        )
        first = client.send("worn.pid").result(timeout=WITHIN_S)
        process.wait_for(rf"\(pid {first}\) holds .*; it is replaced")
        process.wait_for("which was replaced, ended with exit code 0")
        assert client.send("worn.child").result(timeout=WITHIN_S)
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
        assert process.count("max_memory_mb is 1, but a ") == 1


def test_one_more_process_at_most_though_long_jobs_go_on(
    folder: Path, client: Penstock, bell: Doorbell
) -> None:
    with worker(folder, "--max-jobs-per-process", "1", "-c", "2") as process:
        [first] = descendants(process.pid)
        long = []
        for number in range(2):
            long.append(client.send("worn.waits", bell.path, str(folder / f"there{number}")))
            bell.wait("begun")
            client.send("worn.pid").result(timeout=WITHIN_S)
            process.wait_for(r"has done \d job.s. .*it is replaced", times=number + 1)
            if not number:
                process.wait_for("is ready, worker process 1 .* drains")
        process.wait_for(rf"it is replaced once worker process 1 \(pid {first}\) has ended")
        assert most_at_once(process) == 2
        (folder / "there0").touch()
        assert long[0].result(timeout=WITHIN_S) == first
        process.wait_for("is ready, worker process 1 .* drains", times=2)
        (folder / "there1").touch()
        long[1].result(timeout=WITHIN_S)
        process.wait_for("which was replaced, ended with exit code 0", times=2)
        assert most_at_once(process) == 2


def test_a_worn_worker_that_will_not_end_is_hurried_when_all_stop(
    folder: Path, client: Penstock, bell: Doorbell
) -> None:
    with worker(folder, "--max-jobs-per-process", "1", "--grace", "0.5") as process:
        job = client.send("worn.waits", bell.path, str(folder / "never"))
        bell.wait("begun")
        client.send("worn.pid").result(timeout=WITHIN_S)
        process.wait_for("stopping: running jobs are let end")
        process.signal(signal.SIGTERM)
        process.wait_for("1 job.s. were still running when the stop was hurried: 1 were given back")
        assert process.wait(WITHIN_S) == 4
        assert job.status() == "ready"
