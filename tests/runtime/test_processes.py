"""Workers as people start them: signals, the guard, several processes, and what is left when somebody is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from penstock import JobHandle, JobState, Penstock
from tests.faults.processes import ROOT, Process, descendants, gone
from tests.runtime import children_app as tasks
from tests.runtime.conftest import WITHIN_S, Doorbell, wait_for

LEASE_S = 1.0
LONGER_S = 2.0  # a guard must have the time to import its driver on a busy machine


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Penstock]:
    app = Penstock("client", broker=url)
    yield app
    app.close()


@pytest.fixture
def start(bell: Doorbell, url: str) -> Iterator[Callable[..., Process]]:
    """Starts ``penstock worker`` with more arguments, and waits until it is ready."""
    with contextlib.ExitStack() as processes:

        def begin(*more: str, ready: int = 1, **environment: str) -> Process:
            command = ["-m", "penstock", "-A", "tests.runtime.children_app:app", "worker", *more]
            settings = {"PENSTOCK_BROKER_URL": url, "PENSTOCK_LEASE": str(LEASE_S), "TEST_BELL": bell.path}
            process = processes.enter_context(Process(command, settings | environment))
            if ready:
                process.wait_for("is ready", times=ready)
            return process

        yield begin


Start = Callable[..., Process]


def send(client: Penstock, task: object, *args: object) -> JobHandle[object]:
    return client.send(task.name, *args)  # type: ignore[attr-defined,no-any-return]


# --- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains(start: Start, client: Penstock, bell: Doorbell, number: signal.Signals) -> None:
    process = start()
    job = send(client, tasks.waits, "a")
    bell.wait("begun")
    process.signal(number)
    assert process.wait(WITHIN_S) == 0
    assert process.count("SIGHUP without a supervisor: draining; --processes N") == (number == signal.SIGHUP)
    assert job.result(timeout=1) == "a"
    assert process.all_gone(1.0)


def test_a_second_signal_is_at_once(start: Start, client: Penstock, bell: Doorbell) -> None:
    process = start("--grace", "600")
    job = send(client, tasks.ignores_all, "a")
    bell.wait("begun")
    process.signal(signal.SIGINT)
    process.wait_for("stopping: running jobs have 600 s")
    process.wait_for(r"waiting up to 600 s for 1 job\(s\)")
    process.signal(signal.SIGINT)
    assert process.wait(WITHIN_S) == 4
    assert job.status() is JobState.READY


def test_the_end_of_the_grace_period(start: Start, client: Penstock, bell: Doorbell) -> None:
    process = start("--grace", "0.2")
    job = send(client, tasks.ignores_all, "a")
    bell.wait("begun")
    process.signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 4
    assert job.status() is JobState.READY


def test_quiet_by_a_signal(start: Start, client: Penstock) -> None:
    process = start()
    process.signal(signal.SIGTSTP)
    process.wait_for("quiet: running jobs go on")
    job = send(client, tasks.on_thread)
    assert client.call(_workers(client))[0].state in {"running", "quiet"}
    wait_for(lambda: client.call(_workers(client))[0].state == "quiet")
    assert job.status() is JobState.READY
    process.signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0


def test_stacks_by_a_signal(start: Start, client: Penstock, bell: Doorbell) -> None:
    process = start()
    send(client, tasks.waits, "a")
    bell.wait("begun")
    process.signal(signal.SIGUSR1)
    process.wait_for("--- thread penstock-thread-1")
    process.wait_for("--- idle: .*penstock-fetch")
    process.signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment in which this loop is used."""
    if request.param == "uvloop":
        return {}
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ImportError")
    return {"PYTHONPATH": f"{hidden}:{ROOT}"}


def test_signals_while_the_users_loop_is_blocked(
    start: Start, client: Penstock, bell: Doorbell, loop: dict[str, str]
) -> None:
    process = start(**loop)
    send(client, tasks.blocks_the_loop, 1.5)
    bell.wait("begun")
    before = time.monotonic()
    process.signal(signal.SIGTERM)
    process.wait_for("stopping")
    assert time.monotonic() - before < 1.0
    assert process.wait(WITHIN_S) == 0
    bell.wait("ended")


def test_signals_while_the_users_loop_is_idle(start: Start, client: Penstock, loop: dict[str, str]) -> None:
    process = start(**loop)
    send(client, tasks.on_loop).result(timeout=WITHIN_S)
    process.signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0


def test_burst(start: Start, client: Penstock) -> None:
    jobs = [send(client, tasks.on_thread) for _ in range(20)]
    process = start("--burst", ready=0)
    assert process.wait(WITHIN_S) == 0
    assert len({job.result(timeout=1) for job in jobs}) == 1


async def _workers(client: Penstock) -> list[object]:
    return list(await (await client.inspector()).workers())  # type: ignore[return-value]


# --- the guard


def guard_of(process: Process) -> int:
    [guard] = descendants(process.pid)
    return guard


def test_the_guard_ends_with_its_worker(start: Start) -> None:
    process = start()
    guard = guard_of(process)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        os.kill(guard, number)
    assert not gone(guard)
    process.signal(signal.SIGKILL)
    wait_for(lambda: gone(guard))


def test_the_guard_holds_nothing_of_the_workers(start: Start) -> None:
    process = start()
    folder = Path(f"/proc/{guard_of(process)}/fd")
    held: dict[int, str] = {}

    def nothing_else() -> (
        bool
    ):  # it opens files of its own for a moment, to read a module or how its worker stands
        held.clear()
        try:
            held.update({int(fd.name): str(fd.readlink()) for fd in folder.iterdir()})
        except FileNotFoundError:  # just closed
            return False
        return all(
            target == "/dev/null" or target.startswith("pipe:") for fd, target in held.items() if fd > 2
        )

    wait_for(nothing_else)
    assert held[0] == held[1] == "/dev/null"
    assert len([target for fd, target in held.items() if fd > 2 and target.startswith("pipe:")]) == 1


def test_a_guard_that_dies_is_missed(start: Start) -> None:
    process = start()
    os.kill(guard_of(process), signal.SIGKILL)
    process.wait_for("the guard has ended")
    process.signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0
    assert process.count("the guard has ended") == 1


@pytest.mark.parametrize("more", [["--no-guard"], ["PENSTOCK_GUARD"]])
def test_without_a_guard(start: Start, more: list[str]) -> None:
    options = [word for word in more if word.startswith("--")]
    process = start(*options, **({} if options else {more[0]: "no"}))
    wait_for(lambda: not descendants(process.pid))


@pytest.fixture
def redis_start(start: Start, redis_url: str) -> Start:
    """On Redis: a process that stands still while it has a lock on SQLite's file stops everybody else's leases too."""
    return partial(start, PENSTOCK_BROKER_URL=redis_url, PENSTOCK_LEASE=str(LONGER_S))


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Penstock]:
    app = Penstock("client", broker=redis_url)
    yield app
    app.close()


@pytest.fixture
def other(redis_start: Start) -> Process:
    """A worker that reclaims, and takes nothing. It is there first: reclaiming needs a witness."""
    process = redis_start("--no-guard")
    process.signal(signal.SIGTSTP)
    process.wait_for("quiet")
    return process


@pytest.mark.parametrize("how", ["guard", "supervisor"])
def test_holding_the_gil_costs_no_lease(
    other: Process, redis_start: Start, redis_client: Penstock, bell: Doorbell, how: str
) -> None:
    process = redis_start() if how == "guard" else redis_start("--processes", "2", ready=2)
    job = send(redis_client, tasks.thread_holds_the_gil, 2.5 * LONGER_S)
    bell.wait("begun")
    process.wait_for(
        "is silent, as in a call that holds the GIL or just after its broker was away; its lease is kept"
    )
    bell.wait("ended")
    assert job.result(timeout=WITHIN_S) is None
    process.wait_for("beats again by itself")
    assert not other.count("taken back from a lost worker")


def test_without_a_guard_it_does(
    other: Process, redis_start: Start, redis_client: Penstock, bell: Doorbell
) -> None:
    redis_start("--no-guard")
    # It goes on until the worker is killed: on a busy machine the witness may need several leases to be sure.
    send(redis_client, tasks.thread_holds_the_gil, 600)
    bell.wait("begun")
    other.wait_for("taken back from a lost worker", within_s=40)


def test_a_stopped_worker_loses_its_lease(
    other: Process, redis_start: Start, redis_client: Penstock, bell: Doorbell
) -> None:
    process = redis_start()
    send(redis_client, tasks.waits, "a")
    bell.wait("begun")
    process.signal(signal.SIGSTOP)
    other.wait_for("taken back from a lost worker")
    process.signal(signal.SIGCONT)
    process.wait_for("was lost to another worker")


# --- several processes


def test_processes_drain_once_though_everybody_is_signalled(
    start: Start, client: Penstock, bell: Doorbell
) -> None:
    process = start("--processes", "2", ready=2)
    jobs = [send(client, tasks.waits, name) for name in ("a", "b")]
    for _ in jobs:
        bell.wait("begun")
    for pid in [*descendants(process.pid), process.pid]:
        os.kill(pid, signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0
    assert [job.result(timeout=1) for job in jobs] == ["a", "b"]


def test_processes_hurry_at_the_second_signal(start: Start, client: Penstock, bell: Doorbell) -> None:
    process = start("--processes", "2", "--grace", "600", ready=2)
    send(client, tasks.ignores_all, "a")
    bell.wait("begun")
    process.signal(signal.SIGTERM)
    process.wait_for("stopping: running jobs have 600 s", times=2)
    process.signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 4
    assert process.all_gone(1.0)


def test_one_process_that_was_asked_for_is_replaced_at_sighup(start: Start) -> None:
    process = start("--processes", "1")
    [old] = descendants(process.pid)
    process.signal(signal.SIGHUP)
    process.wait_for("the rolling restart is done")
    wait_for(lambda: gone(old))
    assert process.running
    process.signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0


def test_processes_burst(start: Start, client: Penstock) -> None:
    jobs = [send(client, tasks.on_thread) for _ in range(20)]
    process = start("--processes", "2", "--burst", ready=0)
    assert process.wait(WITHIN_S) == 0
    assert {job.status() for job in jobs} == {JobState.SUCCEEDED}


def test_nothing_outlives_a_killed_parent(start: Start, client: Penstock, bell: Doorbell) -> None:
    process = start("--processes", "2", "-c", "2", ready=2)
    send(client, tasks.holds_the_gil, 600)
    send(client, tasks.deaf_for_ever)
    for _ in range(2):
        bell.wait("begun")
    # Last: a worker whose GIL is held starts no child.
    send(client, tasks.thread_holds_the_gil, 600)
    bell.wait("begun")
    family = descendants(process.pid)
    assert len(family) == 4
    process.signal(signal.SIGKILL)
    wait_for(lambda: all(gone(pid) for pid in family))


def test_children_do_not_outlive_a_killed_worker(start: Start, client: Penstock, bell: Doorbell) -> None:
    process = start("--no-guard")
    send(client, tasks.holds_the_gil, 600)
    send(client, tasks.deaf_for_ever)
    children = [int(bell.wait("begun")) for _ in range(2)]
    process.signal(signal.SIGKILL)
    wait_for(lambda: all(gone(pid) for pid in children))


def test_children_know_the_command_line(start: Start, client: Penstock, url: str, tmp_path: Path) -> None:
    """A job that enqueues in a child does so where its worker was told to work."""
    start("-b", url, PENSTOCK_BROKER_URL=f"sqlite:///{tmp_path / 'elsewhere.db'}")
    job = send(client, tasks.enqueues)
    inner = client.job(str(job.result(timeout=WITHIN_S)))
    assert inner.result(timeout=WITHIN_S) == 5
