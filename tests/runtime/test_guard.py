"""Both ends of the guard's pipe, in this process. As a process: ``test_processes.py``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from penstock.runtime import guard as module
from penstock.runtime import orphan
from penstock.runtime.guard import SUPERVISED, Pulse, fork_guard
from tests.runtime.test_wards import Producer


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


class Exited(BaseException):
    """In place of the end of this process."""


def read(fd: int) -> bytes:
    return os.read(fd, 65_536)


def test_what_a_worker_tells(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    pulse = Pulse(writing, guard=0)
    assert pulse.supervised
    pulse.introduce(("redis://x", "redis", "penstock"), "abc", ["mail"], 15.0)
    pulse.beat(None)
    pulse.beat(2.5)
    assert read(reading) == b'i 15.0 [["redis://x", "redis", "penstock"], "abc", ["mail"]]\np -\np 2.5\n'
    pulse.close()
    pulse.close()
    pulse.beat(None)
    assert read(reading) == b""


def test_a_watcher_that_is_stopped_costs_nothing(pipe: tuple[int, int]) -> None:
    pulse = Pulse(pipe[1], guard=0)
    for _ in range(50_000):
        pulse.beat(None)
    pulse.close()


def test_a_watcher_that_is_gone(pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    os.close(pipe[0])
    pulse = Pulse(pipe[1], guard=0)
    pulse.beat(None)
    pulse.beat(None)
    assert caplog.text.count("the guard has ended") == 1


def test_a_guard_that_somebody_has_waited_for(pipe: tuple[int, int]) -> None:
    Pulse(pipe[1], guard=2**22 + 1).close()


def test_a_supervised_worker_needs_no_guard(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    died_with: list[int] = []
    monkeypatch.setattr(orphan, "die_with", died_with.append)
    monkeypatch.setenv(SUPERVISED, f"{os.getppid()}:{pipe[1]}")
    os.set_inheritable(pipe[1], True)
    pulse = fork_guard(_no_connection)
    assert pulse is not None
    assert pulse.supervised
    assert died_with == [os.getppid()]
    assert not os.get_inheritable(pipe[1])
    assert SUPERVISED not in os.environ
    pulse.close()


def test_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fork_guard(_no_connection, wanted=False) is None
    monkeypatch.delattr(os, "fork")
    assert fork_guard(_no_connection) is None


def _no_connection(url: str, scheme: str, namespace: str) -> Producer:
    raise AssertionError("nobody is silent")


@pytest.fixture
def in_the_child(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the guard's process would do to itself is written down here."""
    done: list[object] = []

    def exit_(code: int) -> None:
        done.append(("exit", code))
        raise Exited

    monkeypatch.setattr(os, "_exit", exit_)
    monkeypatch.setattr(os, "dup2", lambda old, new: done.append(("dup2", new)))
    monkeypatch.setattr(os, "closerange", lambda low, high: done.append(("closerange", low)))
    monkeypatch.setattr(signal, "signal", lambda number, action: done.append(("ignore", number)))
    monkeypatch.setattr(os, "fork", lambda: 0)
    return done


def test_it_settles_in_and_ends_with_its_worker(
    in_the_child: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", os.getppid)  # so that its parent is the worker
    with pytest.raises(Exited):
        fork_guard(_no_connection)
    assert ("exit", 0) in in_the_child
    assert {("dup2", 0), ("dup2", 1), ("ignore", signal.SIGTERM)} <= set(in_the_child)


def test_it_ends_when_its_parent_is_another(in_the_child: list[object]) -> None:
    with pytest.raises(Exited):
        fork_guard(_no_connection)


def test_a_bug_in_it_is_seen(
    in_the_child: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(reading: int, ward: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "_watch", fails)
    with pytest.raises(Exited):
        fork_guard(_no_connection)
    assert "RuntimeError: a bug" in capsys.readouterr().err


def test_it_beats_and_says_so(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reading, writing = pipe
    producer = Producer()
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.01)
    ward = module.Ward(os.getppid(), lambda *address: producer, module._say)
    os.write(writing, b'i 0.05 [["u", "s", "n"], "abc", ["mail"]]\np -\n')

    def extended(consumer_id: str, queues: object, lease_s: float) -> bool:
        os.close(writing)
        return True

    monkeypatch.setattr(producer, "extend", extended)
    module._watch(reading, ward)
    while ward._under_way:
        pass
    assert "penstock guard: worker" in capfd.readouterr().err
