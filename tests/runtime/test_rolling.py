"""Rolling restarts: over stub workers, and with workers that run jobs."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import Penstock
from tests.faults.processes import ROOT, Process, descendants, gone
from tests.runtime.conftest import WITHIN_S, Doorbell, wait_for
from tests.runtime.test_supervisor import ready, supervisor


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A Python that fails where a file ``broken`` is there, and hangs where ``slow`` is."""
    made = tmp_path / "program"
    made.write_text(
        "#!/bin/sh\n"
        f"[ -e {tmp_path}/broken ] && exit 2\n"
        f"if [ -e {tmp_path}/slow ]; then touch {tmp_path}/booting; exec sleep 600; fi\n"
        f'exec {sys.executable} "$@"\n'
    )
    made.chmod(0o700)
    return made


def test_each_is_replaced_once_its_successor_is_ready(bell: Doorbell) -> None:
    with supervisor(bell, "drains", 2) as process:
        old = ready(bell, 2)
        process.signal(signal.SIGHUP)
        new: set[int] = set()
        drained: set[int] = set()
        while len(drained) < 2:
            word, _, pid = bell.wait("").partition(" ")
            if word == "started" and int(pid) not in old:  # it says so before it is ready
                new.add(int(pid))
            elif word == "SIGTERM":
                drained.add(int(pid))
                assert len(new) >= len(drained)  # its successor was there before it was asked to end
        assert drained == old
        process.wait_for("rolling restart is done")
        process.wait_for(r", which was replaced, ended with exit code 0", times=2)
        assert not new & old
        assert process.count("another is started") == 0  # no failure
        process.signal(signal.SIGTERM)
        assert {int(bell.wait("SIGTERM")) for _ in range(2)} == new
        assert process.wait(WITHIN_S) == 0
        said = [line for line in process.output() if "is ready, " in line]
        assert len(said) == 2


def test_a_fresh_one_that_cannot_start_stops_the_roll(bell: Doorbell, program: Path) -> None:
    with supervisor(bell, "drains", 2, TEST_PROGRAM=str(program), TEST_HAS_CHILDREN="yes") as process:
        old = ready(bell, 2)
        broken = program.with_name("broken")
        broken.touch()
        process.signal(signal.SIGHUP)
        process.wait_for(
            "ERROR a fresh worker process ended with exit code 2 before it was ready .*; the rolling restart stops, "
            "and the 2 that run go on; process lane: children that they start from now on load the code on disk"
        )
        assert not any(gone(pid) for pid in old)
        broken.unlink()
        process.signal(signal.SIGHUP)
        process.wait_for("rolling restart is done")
        assert not ready(bell, 2) & old


def test_a_fresh_one_that_hangs_is_not_waited_for_when_all_stop(bell: Doorbell, program: Path) -> None:
    with supervisor(bell, "drains", 2, TEST_PROGRAM=str(program)) as process:
        ready(bell, 2)
        program.with_name("slow").touch()
        process.signal(signal.SIGHUP)
        wait_for(program.with_name("booting").exists)
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
        process.wait_for("stopping 3 worker processes")


def test_a_signal_during_a_roll_queues_one_more(bell: Doorbell) -> None:
    with supervisor(bell, "drains", 1) as process:
        ready(bell, 1)
        process.signal(signal.SIGHUP)
        process.wait_for("rolling restart of 1 worker process")
        for _ in range(3):  # signals that come together are one
            process.signal(signal.SIGHUP)
            process.wait_for("another rolling restart follows this one|rolling restart is done")
        process.wait_for("rolling restart is done", times=2)
        assert len({int(bell.wait("SIGTERM")) for _ in range(2)}) == 2


def test_one_that_dies_while_its_successor_starts_is_not_started_again(bell: Doorbell, program: Path) -> None:
    with supervisor(bell, "drains", 1, TEST_PROGRAM=str(program)) as process:
        [old] = ready(bell, 1)
        slow = program.with_name("slow")
        slow.touch()
        process.signal(signal.SIGHUP)
        wait_for(program.with_name("booting").exists)
        os.kill(old, signal.SIGKILL)
        process.wait_for("its successor is being started already")
        slow.unlink()
        [heir] = descendants(process.pid)
        os.kill(heir, signal.SIGKILL)
        process.wait_for("a fresh worker process was killed by SIGKILL")
        ready(bell, 1)  # its place is filled as after any failure


def test_one_that_does_not_drain_is_killed(bell: Doorbell) -> None:
    with supervisor(bell, "wedged", 1, grace_s=0.1) as process:
        [old] = ready(bell, 1)
        process.signal(signal.SIGHUP)
        ready(bell, 1)
        process.wait_for("did not end in time and is killed")
        process.wait_for("which was replaced, was killed by SIGKILL")
        assert gone(old)


def most_at_once(process: Process) -> int:
    """How many worker processes there were at most, as their supervisor has logged it."""
    there = most = 0
    for line in process.output():
        there += bool(re.search(r"worker process \d+ \(pid \d+\) started", line))
        there -= bool(
            re.search(r"worker process \d+(, which was replaced,| \(pid \d+\)) (ended|was killed)", line)
        )
        most = max(most, there)
    return most


def test_one_more_than_wanted_at_most(bell: Doorbell) -> None:
    """Though none of the old ones drains in its time."""
    with supervisor(bell, "wedged", 3, grace_s=0.1) as process:
        old = ready(bell, 3)
        process.signal(signal.SIGHUP)
        process.wait_for("which was replaced, was killed by SIGKILL", times=3)
        process.wait_for("rolling restart is done")
        assert all(gone(pid) for pid in old)
        assert most_at_once(process) == 4
        assert len(descendants(process.pid)) == 3


def test_a_roll_bounds_what_a_worn_one_may_take(bell: Doorbell) -> None:
    with supervisor(bell, "worn", 1, grace_s=0.1) as process:
        [worn] = ready(bell, 1)
        os.kill(worn, signal.SIGUSR1)
        process.wait_for(rf"\(pid {worn}\) drains")
        process.signal(signal.SIGHUP)
        assert int(bell.wait("SIGUSR2")) == worn  # at the end of the grace period
        process.wait_for(rf"\(pid {worn}\) did not end in time and is killed")
        process.wait_for("rolling restart is done")
        assert most_at_once(process) == 2


def test_worn_ones_wait_for_each_other(bell: Doorbell) -> None:
    with supervisor(bell, "worn", 2) as process:
        first, second = ready(bell, 2)
        os.kill(first, signal.SIGUSR1)
        process.wait_for(rf"is ready, worker process \d \(pid {first}\) drains")
        os.kill(second, signal.SIGUSR1)
        process.wait_for(rf"\(pid {second}\) is worn; it is replaced once .* \(pid {first}\) has ended")
        assert len(descendants(process.pid)) == 3
        os.kill(first, signal.SIGKILL)
        process.wait_for(rf"is ready, worker process \d \(pid {second}\) drains")
        assert most_at_once(process) == 3


def worn_behind_one_that_never_ends(process: Process, bell: Doorbell) -> tuple[int, int]:
    """Two worn processes of which neither ends: the second drains without a successor, as the first takes too long."""
    first, second = ready(bell, 2)
    os.kill(first, signal.SIGUSR1)
    process.wait_for(rf"is ready, worker process \d \(pid {first}\) drains")
    ready(bell, 1)
    os.kill(second, signal.SIGUSR1)
    process.wait_for(
        rf"\(pid {first}\) has drained for \d+ s and is not waited for any more: "
        rf"worker process \d \(pid {second}\) drains before its successor is started"
    )
    return first, second


def test_one_that_never_ends_is_not_waited_for(bell: Doorbell) -> None:
    with supervisor(bell, "worn", 2, TEST_PATIENCE_S="0") as process:
        first, second = worn_behind_one_that_never_ends(process, bell)
        assert len(descendants(process.pid)) == 3
        os.kill(second, signal.SIGKILL)
        [third] = ready(bell, 1)  # what follows it
        os.kill(third, signal.SIGUSR1)
        process.wait_for(rf"worker process \d \(pid {third}\) drains before its successor is started")
        assert not gone(first)
        process.signal(signal.SIGTERM)
        process.wait_for("stopping 3 worker processes")
        process.signal(signal.SIGTERM)
        for _ in range(3):
            os.kill(int(bell.wait("SIGUSR2")), signal.SIGKILL)
        assert process.wait(WITHIN_S) == 4
        assert most_at_once(process) == 3


def test_one_that_drains_first_is_followed_as_soon_as_there_is_room(bell: Doorbell) -> None:
    with supervisor(bell, "worn", 2, grace_s=0.1, TEST_PATIENCE_S="0") as process:
        first, second = worn_behind_one_that_never_ends(process, bell)
        os.kill(first, signal.SIGKILL)
        ready(bell, 1)
        assert not gone(second)
        process.signal(signal.SIGHUP)
        process.wait_for("rolling restart of 2 worker process")
        assert int(bell.wait("SIGUSR2")) == second  # a roll gives it the grace period
        os.kill(second, signal.SIGKILL)
        process.wait_for("rolling restart is done")
        assert most_at_once(process) == 3


def test_the_only_one_that_takes_jobs_never_drains_first(bell: Doorbell) -> None:
    with supervisor(bell, "worn", 1, TEST_PATIENCE_S="0") as process:
        [first] = ready(bell, 1)
        os.kill(first, signal.SIGUSR1)
        process.wait_for(rf"is ready, worker process \d \(pid {first}\) drains")
        [second] = ready(bell, 1)
        os.kill(second, signal.SIGUSR1)
        process.wait_for(rf"\(pid {second}\) is worn; it is replaced once .* \(pid {first}\) has ended")
        os.kill(first, signal.SIGKILL)
        process.wait_for(rf"is ready, worker process \d \(pid {second}\) drains")
        assert process.count("is not waited for any more") == 0
        assert most_at_once(process) == 2


def test_a_fresh_process_is_not_taken_for_the_worn_one_before(bell: Doorbell) -> None:
    with supervisor(bell, "worn", 2, grace_s=0.1) as process:
        first, second = ready(bell, 2)
        os.kill(first, signal.SIGUSR1)
        ready(bell, 1)
        process.wait_for(rf"is ready, worker process \d \(pid {first}\) drains")
        os.kill(second, signal.SIGUSR1)
        process.wait_for(rf"\(pid {second}\) is worn")
        os.kill(second, signal.SIGKILL)  # before its turn comes
        [fresh] = ready(bell, 1)
        os.kill(first, signal.SIGKILL)
        process.wait_for("which was replaced, was killed by SIGKILL")
        process.signal(signal.SIGHUP)
        process.wait_for(rf"\(pid {fresh}\) did not end in time and is killed")
        process.wait_for("rolling restart is done")
        with pytest.raises(
            AssertionError, match="was not heard"
        ):  # it is not hurried as one that takes its time
            bell.wait(f"SIGUSR2 {fresh}", within_s=0.1)
        assert process.count(r"worker process \d \(pid \d+\) started") == 6  # nor replaced but by the roll
        assert most_at_once(process) == 3


def test_a_quiet_fleet_stays_quiet(bell: Doorbell) -> None:
    with supervisor(bell, "drains", 1) as process:
        ready(bell, 1)
        process.signal(signal.SIGTSTP)
        bell.wait("SIGTSTP")
        process.signal(signal.SIGHUP)
        [fresh] = ready(bell, 1)
        assert int(bell.wait("SIGTSTP")) == fresh


@pytest.mark.parametrize("outlives", [False, True])
def test_a_terminal_that_hangs_up(bell: Doorbell, tmp_path: Path, outlives: bool) -> None:
    """It stops what was started by hand, unless that was meant to outlive it."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        os.chdir(ROOT)
        # Whoever runs the tests may have been started by nohup itself.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if outlives else signal.SIG_DFL)
        argv = [sys.executable, "-m", "tests.runtime.run_supervisor", "drains", "1", "60"]
        os.execve(sys.executable, argv, {**os.environ, "TEST_BELL": bell.path, "PYTHONPATH": str(ROOT)})
    family = [pid]
    try:
        [worker] = ready(bell, 1)
        family.append(worker)
        os.close(terminal)
        if outlives:
            os.kill(pid, signal.SIGHUP)  # the first tells it that the terminal is gone, if the kernel has not
            os.kill(pid, signal.SIGHUP)
            wait_for(lambda: gone(worker) or bool(os.kill(pid, signal.SIGHUP)))
            ready(bell, 1)
            os.kill(pid, signal.SIGTERM)
        assert int(bell.wait("SIGTERM")) == worker
        wait_for(lambda: gone(pid))
    finally:
        for each in {*family, *descendants(pid)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        os.waitpid(pid, 0)


TASKS = """
import os, socket, time
from penstock import Penstock
app = Penstock("rolled")
VERSION = 1

@app.task
def version() -> tuple[int, int]:
    return VERSION, os.getpid()

@app.task
def waits(bell: str, until_there: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(f"begun {os.getpid()}".encode(), bell)
    while not os.path.exists(until_there):
        time.sleep(0.01)
    return VERSION
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Penstock]:
    app = Penstock("client", broker=f"sqlite:///{tmp_path / 'jobs.db'}")
    yield app
    app.close()


def test_new_code_comes_and_what_runs_ends(client: Penstock, bell: Doorbell, tmp_path: Path) -> None:
    module = tmp_path / "rolled.py"
    module.write_text(TASKS)
    command = ["-m", "penstock", "-A", str(module), "worker", "--processes", "2"]
    with Process(command, {"PENSTOCK_BROKER_URL": f"sqlite:///{tmp_path / 'jobs.db'}"}) as process:
        process.wait_for("is ready: ", times=2)
        old = descendants(process.pid)
        there = tmp_path / "there"
        running = [client.send("rolled.waits", bell.path, str(there)) for _ in range(3)]
        for _ in running:
            bell.wait("begun")
        module.write_text(TASKS.replace("VERSION = 1", "VERSION = 2 +"))
        process.signal(signal.SIGHUP)
        process.wait_for("the rolling restart stops, and the 2 that run go on")
        assert process.count(r"importing rolled failed at .*rolled.py:\d+: SyntaxError") == 1
        assert client.send("rolled.version").result(timeout=WITHIN_S)[0] == 1
        module.write_text(TASKS.replace("VERSION = 1", "VERSION = 1 + 1"))  # no length of before
        process.signal(signal.SIGHUP)
        process.wait_for("stopping: running jobs have 25 s")
        assert not any(gone(pid) for pid in old)
        there.touch()
        process.wait_for("rolling restart is done")
        assert client.send("rolled.version").result(timeout=WITHIN_S)[0] == 2
        assert [job.result(timeout=WITHIN_S) for job in running] == [1, 1, 1]
        wait_for(lambda: all(gone(pid) for pid in old))
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
        assert process.count("stopped: .* 0 given back while running, .* 0 lost") == 4
