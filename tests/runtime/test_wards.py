"""When a watcher beats for a worker, and when it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest

from penstock.core.job import Enqueued, Job, Origin
from penstock.errors import BrokerUnavailable
from penstock.runtime import wards
from penstock.runtime.wards import Ward, is_stopped
from tests.runtime.conftest import WITHIN_S, wait_for

LEASE_S = 10.0


class Producer:
    """Takes extensions; fails when it is told to."""

    def __init__(self) -> None:
        self.extended = threading.Semaphore(0)
        self.calls: list[tuple[str, list[str], float]] = []
        self.fails = False
        self.has_lease = True
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()

    def extend(self, consumer_id: str, queues: Sequence[str], lease_s: float) -> bool:
        assert self.gate.wait(WITHIN_S)
        self.calls.append((consumer_id, list(queues), lease_s))
        self.extended.release()
        if self.fails:
            raise BrokerUnavailable("gone")
        return self.has_lease

    def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        raise NotImplementedError

    def begin(self, jobs: Sequence[Job], origin: Origin) -> Callable[[], Sequence[Enqueued]]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1

    def abandon(self) -> None:
        raise NotImplementedError


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def ward(producer: Producer, said: list[str]) -> Ward:
    def connect(url: str, scheme: str, namespace: str) -> Producer:
        assert (url, scheme, namespace) == ("redis://:secret@x", "redis", "penstock")
        return producer

    return Ward(os.getpid(), connect, said.append)


INTRODUCTION = json.dumps([("redis://:secret@x", "redis", "penstock"), "abc", ["mail", "default"]])
HELLO = f"i {LEASE_S} {INTRODUCTION}\n".encode()


def beat(ward: Ward, producer: Producer) -> None:
    ward.beat()
    assert producer.extended.acquire(timeout=WITHIN_S)
    wait_for(lambda: not ward._under_way)


def test_nothing_is_done_for_a_worker_that_was_not_heard(ward: Ward) -> None:
    assert not ward.due(1e9)
    ward.hear(HELLO, 0.0)
    assert not ward.ready
    assert not ward.due(1e9)
    assert ward.wait_s(0.0) > 1_000


def test_it_beats_for_a_silent_worker(ward: Ward, producer: Producer, said: list[str]) -> None:
    ward.hear(HELLO[:7], 0.0)
    ward.hear(HELLO[7:] + b"p -\n", 0.0)
    assert ward.ready
    assert not ward.due(3.9)
    assert ward.wait_s(3.9) == pytest.approx(0.1)
    assert ward.due(4.5)
    beat(ward, producer)
    assert producer.calls == [("abc", ["mail", "default"], LEASE_S)]
    assert not ward.due(7.8)
    assert ward.due(7.9)
    beat(ward, producer)
    assert len(said) == 1
    assert "is silent" in said[0]
    ward.hear(b"p -\n", 9.0)
    assert said[1].endswith("beats again by itself")
    assert producer.closed == 1
    assert not ward.due(12.9)
    ward.hear(b"p -\n", 12.9)
    assert len(said) == 2


def test_a_short_lease_leaves_no_time_to_import_a_driver(ward: Ward, producer: Producer) -> None:
    ward.hear(f"i 2.0 {INTRODUCTION}\n".encode(), 0.0)
    wait_for(lambda: producer.closed == 1)


def test_it_gives_up_in_the_end(ward: Ward, producer: Producer, said: list[str]) -> None:
    ward.hear(HELLO + b"p 30.0\n", 100.0)
    assert ward.due(129.0)
    assert not ward.due(133.0)
    assert "longer than its jobs may take" in said[0]
    assert "secret" not in str(said)
    assert ward.wait_s(134.0) > 1_000
    assert not ward.due(135.0)
    ward.hear(b"p 30.0\n", 140.0)
    assert ward.due(146.0)


@pytest.mark.parametrize(("told", "kept_s"), [(b"-", 600.0), (b"99999", 600.0), (b"0", LEASE_S)])
def test_how_long_it_beats(ward: Ward, told: bytes, kept_s: float) -> None:
    ward.hear(HELLO + b"p " + told + b"\n", 0.0)
    assert ward.due(kept_s - 0.1)
    assert not ward.due(kept_s + 4.0)


def test_a_broker_that_is_not_there(ward: Ward, producer: Producer, said: list[str]) -> None:
    ward.hear(HELLO + b"p -\n", 0.0)
    producer.fails = True
    assert ward.due(5.0)
    beat(ward, producer)
    assert not said
    ward._mono_next = 5.5
    producer.fails = False
    assert ward.due(5.6)
    beat(ward, producer)
    assert len(said) == 1


def test_a_lease_that_is_gone_is_not_talked_about(ward: Ward, producer: Producer, said: list[str]) -> None:
    ward.hear(HELLO + b"p -\n", 0.0)
    producer.has_lease = False
    assert ward.due(5.0)
    beat(ward, producer)
    assert not said


def test_one_beat_at_a_time(ward: Ward, producer: Producer) -> None:
    ward.hear(HELLO + b"p -\n", 0.0)
    producer.gate.clear()
    assert ward.due(5.0)
    ward.beat()
    assert not ward.due(100.0)
    ward.hear(b"p -\n", 101.0)  # the connection is in use and stays
    assert producer.closed == 0
    producer.gate.set()
    wait_for(lambda: not ward._under_way)


def test_a_stopped_worker_gets_no_beats(producer: Producer, said: list[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        ward = Ward(process.pid, lambda *address: producer, said.append)
        ward.hear(HELLO + b"p -\n", 0.0)
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(process.pid))
        assert not ward.due(5.0)
        assert ward.wait_s(5.0) == pytest.approx(LEASE_S / 15)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: not is_stopped(process.pid))
        assert ward.due(6.0)
        process.kill()
    assert not is_stopped(process.pid)  # it is no more


def test_where_nobody_can_tell(
    ward: Ward, producer: Producer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wards, "_HAS_PROC", False)
    ward.hear(HELLO + b"p -\n", 0.0)
    assert ward.due(5.0)
    beat(ward, producer)
    assert "nobody can tell here whether it was stopped" in said[0]
