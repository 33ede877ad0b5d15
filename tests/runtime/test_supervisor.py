"""The supervisor over stub workers, as real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.runtime import engine, executor, process_lane, telling
from penstock.runtime.supervisor import CLOSE_WITHIN_S, Supervisor
from tests.faults.processes import Process, gone
from tests.runtime.conftest import WITHIN_S, Doorbell, wait_for


@contextlib.contextmanager
def supervisor(
    bell: Doorbell, mode: str, processes: int = 2, grace_s: float = 600, **environment: str
) -> Iterator[Process]:
    command = ["-m", "tests.runtime.run_supervisor", mode, str(processes), str(grace_s)]
    with Process(command, {"TEST_BELL": bell.path, **environment}) as process:
        yield process
        if process.running:  # in order, so that what it ran is measured
            process.signal(signal.SIGTERM)
            process.wait_for("stopping")
            process.signal(signal.SIGTERM)
            process.wait(WITHIN_S)


def ready(bell: Doorbell, processes: int = 2) -> set[int]:
    return {int(bell.wait("ready")) for _ in range(processes)}


def test_it_waits_for_all_that_a_worker_may_still_do() -> None:
    parts = (
        executor.POLICY_WITHIN_S,
        engine.CLOSE_WITHIN_S,  # the outcomes
        engine.CLOSE_WITHIN_S,  # the lease
        telling.END_WITHIN_S,  # failures that wait for their hooks
        telling.END_WITHIN_S,  # hooks of the worker's end
        engine.CLOSE_WITHIN_S,  # the I/O thread
        2 * process_lane.CLOSE_WITHIN_S,  # children: asked, and killed
    )
    assert sum(parts) < CLOSE_WITHIN_S


def test_it_heeds_a_stop_while_it_still_starts_many(bell: Doorbell, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nmkdir {tmp_path}/told 2>&- && kill -TERM $PPID\nexec sleep 600\n")
    program.chmod(0o700)
    many = 300
    with supervisor(bell, "drains", many, TEST_PROGRAM=str(program)) as process:
        assert process.wait(WITHIN_S) == 0
        assert 1 <= process.count(r"worker process \d+ .*started") < many


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains_its_workers(bell: Doorbell, number: signal.Signals) -> None:
    with supervisor(bell, "drains", 3) as process:
        pids = ready(bell, 3)
        process.signal(number)
        assert {int(bell.wait("SIGTERM")) for _ in range(3)} == pids
        assert process.wait(WITHIN_S) == 0
        process.wait_for("stopping 3 worker processes")


def test_work_left_behind_wins(bell: Doorbell) -> None:
    with supervisor(bell, "leaves-behind") as process:
        ready(bell)
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 4


def test_a_second_signal_hurries(bell: Doorbell) -> None:
    with supervisor(bell, "hurries") as process:
        pids = ready(bell)
        process.signal(signal.SIGTERM)
        process.wait_for("stopping")
        process.signal(signal.SIGTERM)
        assert {int(bell.wait("SIGUSR2")) for _ in range(2)} == pids
        assert process.wait(WITHIN_S) == 4


def test_one_that_does_not_end_is_killed(bell: Doorbell) -> None:
    with supervisor(bell, "wedged", grace_s=0.1) as process:
        pids = ready(bell)
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 4
        assert process.count("did not end in time and is killed") == 2
        assert all(gone(pid) for pid in pids)


def test_only_those_that_do_not_end_are_killed(bell: Doorbell) -> None:
    with supervisor(bell, "one-drains", grace_s=0.1) as process:
        ready(bell)
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 4
        assert process.count("did not end in time and is killed") == 1
        assert process.count("ended with exit code 0") == 1


def test_other_signals_are_passed_on(bell: Doorbell) -> None:
    with supervisor(bell, "drains") as process:
        pids = ready(bell)
        for number in (signal.SIGTSTP, signal.SIGUSR1):
            process.signal(number)
            assert {int(bell.wait(number.name)) for _ in range(2)} == pids
        victim = pids.pop()
        os.kill(victim, signal.SIGKILL)
        [new] = ready(bell, 1)
        assert int(bell.wait("SIGTSTP")) == new  # what is quiet stays so


def test_a_worker_that_dies_is_replaced(bell: Doorbell) -> None:
    with supervisor(bell, "drains") as process:
        pids = ready(bell)
        victim = pids.pop()
        os.kill(victim, signal.SIGKILL)
        [new] = ready(bell, 1)
        assert new not in {victim, *pids}
        process.wait_for(rf"\(pid {victim}\) was killed by SIGKILL .*; another is started")
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0


def test_a_crash_loop_is_backed_off(bell: Doorbell) -> None:
    with supervisor(bell, "crash", 1) as process:
        for _ in range(3):
            bell.wait("started")
        process.wait_for(r"ended with exit code 7; another is started")
        process.wait_for(r"2 times in a row soon after its start; the next start is in 1 s")
        process.wait_for(r"3 times in a row soon after its start; the next start is in 2 s")
        process.signal(signal.SIGTERM)  # nobody runs: it ends at once
        assert process.wait(1.5) == 7


def test_one_that_has_run_for_a_while_is_replaced_at_once(bell: Doorbell) -> None:
    with supervisor(bell, "drains", 1, TEST_SOON_S="0") as process:
        for _ in range(3):
            [pid] = ready(bell, 1)
            os.kill(pid, signal.SIGKILL)
        process.wait_for("another is started", times=3)
        ready(bell, 1)


def test_a_wrong_configuration_ends_all(bell: Doorbell) -> None:
    with supervisor(bell, "config") as process:
        assert process.wait(WITHIN_S) == 2
        process.wait_for("cannot work as it is configured")


def test_a_wrong_configuration_later_does_not(bell: Doorbell, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\n[ -e {tmp_path}/broken ] && exit 2\nexec {sys.executable} "$@"\n')
    program.chmod(0o700)
    with supervisor(bell, "drains", TEST_PROGRAM=str(program)) as process:
        first, second = ready(bell)
        (tmp_path / "broken").touch()
        os.kill(first, signal.SIGKILL)
        process.wait_for("ended with exit code 2, 2 times in a row")
        assert not gone(second)
        (tmp_path / "broken").unlink()
        ready(bell, 1)


def test_it_ends_when_all_have_ended(bell: Doorbell) -> None:
    with supervisor(bell, "once", 3) as process:
        assert process.wait(WITHIN_S) == 0
        assert process.count("has ended, as it was told to") == 3


def test_a_program_that_is_not_there(bell: Doorbell) -> None:
    with supervisor(bell, "once", 1, TEST_PROGRAM="/nowhere/python") as process:
        process.wait_for("worker process 1 cannot be started: .*No such file", times=2)
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0


def test_a_signal_while_a_worker_boots(bell: Doorbell, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/booting\nexec sleep 600\n")
    program.chmod(0o700)
    with supervisor(bell, "once", 1, TEST_PROGRAM=str(program)) as process:
        wait_for((tmp_path / "booting").exists)
        process.signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0  # killed by that signal, but nothing was left behind


def test_it_beats_for_a_silent_worker(bell: Doorbell) -> None:
    with supervisor(bell, "silent") as process:
        [pid, other] = ready(bell)
        for _ in range(4):
            assert bell.wait("extended") == "abc ['default'] 0.6"
        process.wait_for("is silent, as in a call that holds the GIL", times=2)
        os.kill(pid, signal.SIGSTOP)
        os.kill(other, signal.SIGSTOP)
        bell.fades("extended", 1.2)


@pytest.mark.parametrize(("mode", "guard"), [("drains", "yes"), ("without", "yes"), ("silent", "no")])
def test_it_does_not_beat_for_others(bell: Doorbell, mode: str, guard: str) -> None:
    with supervisor(bell, mode, TEST_GUARD=guard):
        ready(bell)
        with pytest.raises(AssertionError, match="was not heard"):
            bell.wait("extended", within_s=1.0)


def test_it_reaps_what_others_left(bell: Doorbell) -> None:
    """As process 1 of a container it is the parent of every orphan."""
    with supervisor(bell, "leaves-orphans", TEST_REAPS="1"):
        orphans = [Path("/proc") / bell.wait("orphan") for _ in range(2)]
        ready(bell)
        wait_for(lambda: not any(orphan.exists() for orphan in orphans))


def test_its_workers_end_with_it(bell: Doorbell) -> None:
    with supervisor(bell, "wedged") as process:
        pids = ready(bell)
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: all(gone(pid) for pid in pids))


def test_a_worn_one_is_known_as_such_as_soon_as_it_says_so() -> None:
    """Also when all are told to stop in that same turn: its jobs have no grace of their own, so it must be hurried."""

    class Said:
        wants_successor = ""
        ready = True

        def hear(self, data: bytes, mono_now: float) -> None:
            self.wants_successor = "has done enough"

        def wait_s(self, mono_now: float) -> float:
            return 1.0

        def due(self, mono_now: float) -> bool:
            return False

    supervisor = Supervisor(["x"], 1, grace_s=1.0, connect=lambda *_: pytest.fail("connects"))
    (slot,) = supervisor._slots
    bell, ring = os.pipe()
    slot.reading, writing = os.pipe()
    slot.pid, slot.ward = os.getpid(), Said()  # type: ignore[assignment]
    os.write(writing, b"worn")
    supervisor._wait(bell)
    assert slot.worn
    for file in (bell, ring, slot.reading, writing):
        os.close(file)
