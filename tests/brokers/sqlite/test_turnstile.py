"""The way to the write lock: in turns, and never for ever."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread, active_count

import pytest

from penstock.brokers.sqlite.turnstile import Turnstile

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no such locks")


class Stand:
    """Somebody who goes in on a thread of his own, and out when he is told to."""

    def __init__(self, gate: Turnstile) -> None:
        self.inside, self._go = Event(), Event()
        self._gate = gate
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._gate.enter()
        self.inside.set()
        self._go.wait(30)
        self._gate.leave()

    def go(self) -> None:
        self._go.set()
        self._thread.join()


@pytest.fixture
def gates(path: Path) -> Iterator[list[Turnstile]]:
    path.touch()
    with ExitStack() as closing:
        gates = [Turnstile(path, patient=patient) for patient in (False, True, False)]
        for gate in gates:
            gate.open(path.stat())
            closing.callback(gate.close)
        yield gates


def test_one_at_a_time_and_who_has_just_had_it_lets_the_waiting_in(gates: list[Turnstile]) -> None:
    first, second, third = gates
    holder = Stand(first)
    assert holder.inside.wait(30)
    waiting = Stand(second)
    assert not waiting.inside.wait(0.05)
    holder.go()
    again = Stand(third)
    assert waiting.inside.wait(30)
    assert not again.inside.wait(0.05)
    waiting.go()
    assert again.inside.wait(30)
    again.go()


def test_a_wait_that_lasts_too_long_goes_on_without_it(
    gates: list[Turnstile],
) -> None:
    stopped, _, producer = gates
    producer.patience_s = 0.05
    holder = Stand(stopped)
    assert holder.inside.wait(30)
    for _ in range(2):
        producer.enter()  # does not wait for who does not go
        producer.leave()
    holder.go()
    producer.enter()
    producer.leave()
    # What was given up is not kept by the thread that waited for it.
    after = Stand(stopped)
    assert after.inside.wait(30)
    after.go()


def test_who_is_in_line_and_gives_up_lets_the_line_go_on(
    gates: list[Turnstile],
) -> None:
    stopped, patient, producer = gates
    producer.patience_s = 0.05
    holder = Stand(stopped)
    assert holder.inside.wait(30)
    waiting = Stand(patient)
    assert not waiting.inside.wait(0.05)
    producer.enter()  # behind one who stands in the first lock
    producer.leave()
    holder.go()
    assert waiting.inside.wait(30)
    waiting.go()


@pytest.mark.parametrize("of_first_lock", [False, True])
def test_who_comes_again_and_again_has_one_place_in_line(gates: list[Turnstile], of_first_lock: bool) -> None:
    stopped, patient, producer = gates
    producer.patience_s = 0.01
    holder = Stand(stopped)
    assert holder.inside.wait(30)
    if of_first_lock:
        waiting = Stand(patient)
        assert not waiting.inside.wait(0.05)
    producer.enter()
    producer.leave()
    before = active_count()
    for _ in range(20):
        producer.enter()
        producer.leave()
    assert active_count() == before
    holder.go()
    if of_first_lock:
        assert waiting.inside.wait(30)
        waiting.go()
    producer.patience_s = 30.0
    producer.enter()
    behind = Stand(stopped)
    assert not behind.inside.wait(0.05)  # it is held, though an earlier wait for it was given up
    producer.leave()
    assert behind.inside.wait(30)
    behind.go()
