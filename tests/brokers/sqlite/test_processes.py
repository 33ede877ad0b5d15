"""Several processes on one file: nothing lost and nothing twice, killed or not; fair turns; quick wake-ups."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from penstock.brokers import Address
from penstock.brokers.sqlite import SQLiteProducer, open_blocking
from penstock.core.job import Job, Origin
from penstock.errors import BrokerUnavailable

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Starts a program and waits for its first line, where it has one; ends it after the test."""
    with ExitStack() as programs:

        def start(*arguments: str, first: str = "") -> subprocess.Popen[str]:
            program = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.brokers.sqlite.programs",
                    arguments[0],
                    str(path),
                    *arguments[1:],
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            programs.callback(_end, program)
            if first:
                assert program.stdout is not None
                assert program.stdout.readline().strip() == first
            return program

        yield start


def _end(program: subprocess.Popen[str]) -> None:
    program.kill()
    program.communicate()


def _done(path: Path) -> Counter[str]:
    files = path.parent.glob(f"{path.name}.*.done")
    return Counter(line for file in files for line in file.read_text().splitlines())


def _counts(producer: SQLiteProducer) -> tuple[int, ...]:
    rows = producer._database.rows(
        "SELECT scheduled, ready, running, failed, enqueued_total, succeeded_total FROM queues"
    )
    return tuple(rows[0])


def _wait_until_empty(producer: SQLiteProducer, mono_end: float) -> None:
    while _counts(producer)[:3] != (0, 0, 0):
        assert time.monotonic() < mono_end, _counts(producer)
        time.sleep(0.05)  # another process empties it, and there is nothing else to see it by


def test_workers_that_are_killed_lose_nothing(
    path: Path, start: Start, put: Callable[..., list[str]], producer: SQLiteProducer
) -> None:
    ids = [id for _ in range(20) for id in put(*[b"{}"] * 100)]
    chance = random.Random(1)
    for round in range(4):
        workers = [start("drain", f"worker-{round}-{n}", "1", first="draining") for n in range(2)]
        time.sleep(chance.uniform(0.0, 0.2))  # a moment at random is what is tested
        for worker in workers:
            worker.kill()
            worker.wait()
        ids += put(*[b"{}"] * 100)
    start("drain", "last", "1", first="draining")
    _wait_until_empty(producer, time.monotonic() + 30)
    done = _done(path)
    # What was settled and killed before it was written down is missing there; the file has counted it.
    assert set(done) <= set(ids)
    assert max(done.values()) == 1
    assert _counts(producer)[3:] == (0, len(ids), len(ids))


def test_producers_in_several_processes_do_not_disturb_each_other(
    start: Start, producer: SQLiteProducer
) -> None:
    programs = [start("enqueue", f"producer-{n}", "50") for n in range(4)]
    assert [program.wait(30) for program in programs] == [0] * 4
    producer.enqueue([], Origin("opens", 1))
    assert _counts(producer) == (0, 200, 0, 0, 200, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such locks")
def test_a_producer_gets_its_turn_beside_workers_that_drain(
    start: Start, put: Callable[..., list[str]], producer: SQLiteProducer
) -> None:
    for _ in range(100):
        put(*[b"{}"] * 200)
    for n in range(2):
        start("drain", f"worker-{n}", "15", first="draining")
    waits_s: list[float] = []
    for _ in range(50):
        mono_begin = time.monotonic()
        put(b"{}")
        waits_s.append(time.monotonic() - mono_begin)
    # By SQLite's own waiting single calls took up to 4.5 s; the rest is left to a busy machine.
    assert statistics.median(waits_s) < 0.25
    assert max(waits_s) < 2.0


def test_a_waiting_worker_is_woken_by_another_process(start: Start, put: Callable[..., list[str]]) -> None:
    waiter = start("wait", "20", first="waiting")
    waits_s: list[float] = []
    for _ in range(20):
        put(repr(time.time()).encode())
        assert waiter.stdout is not None
        waits_s.append(float(waiter.stdout.readline()))
    # Without being woken it looks once a second.
    assert statistics.median(waits_s) < 0.1


def test_a_process_that_is_stopped_in_a_write_is_told_from_a_slow_one(
    address: Address, start: Start, put: Callable[..., list[str]]
) -> None:
    put(b"{}")
    holder = start("hold", first="holding")
    producer = open_blocking(address)
    producer.answer_s = 0.4
    with pytest.raises(BrokerUnavailable, match="has held its write lock for too long"):
        producer.enqueue([Job("q:1", "q", b"{}")], Origin("p", 1))
    holder.communicate("")
    assert producer.enqueue([Job("q:1", "q", b"{}")], Origin("p", 1))[0].added
    producer.close()


def test_a_killed_writer_does_not_keep_the_others_out(start: Start, put: Callable[..., list[str]]) -> None:
    put(b"{}")
    holder = start("hold", first="holding")
    os.kill(holder.pid, signal.SIGKILL)
    assert put(b"{}")
