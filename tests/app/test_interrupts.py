"""An interrupt at any moment of an enqueue: what comes after it is answered as if nothing had been."""

from __future__ import annotations

import fcntl
import gc
import inspect
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis

import penstock
from penstock import Penstock, producer
from penstock.task import Task

# A signal's handler runs where a Python function begins, among other places.
_WATCHED = tuple(str(Path(module.__file__ or "").parent) for module in (penstock, redis))


class Interrupted(BaseException):
    """As KeyboardInterrupt, which pytest would take for itself."""


@pytest.fixture
def app(broker_url: str) -> Iterator[Penstock]:
    application = Penstock("test", broker=broker_url)
    yield application
    application.close()


def interrupted(moment: int, call: Callable[[], object]) -> bool:
    """Makes ``call``, and interrupts it where its ``moment``-th function begins; whether it had so many."""
    left = moment

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left
        # What the collector may call could only complain.
        if (
            event != "call"
            or frame.f_code.co_name == "__del__"
            or frame.f_code.co_flags & inspect.CO_GENERATOR
        ):
            return
        if frame.f_code.co_filename.startswith(_WATCHED):
            left -= 1
            if left == 0:
                raise Interrupted(frame.f_code.co_name)

    before = sys.gettrace()
    gc.disable()
    sys.settrace(watch)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return False


def nobody_is_kept_waiting(folder: Path) -> None:
    """SQLite: what stands before the file is free, whatever became of the call."""
    for path in [*folder.glob("*-turn"), *folder.glob("*-write")]:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check(task: Task[[int], None], moment: int) -> None:
    """What each call is told is what became of its own job."""
    for turn in range(2):
        taken = task.options(job_id="taken").delay(0)
        fresh = task.options(job_id=f"fresh-{moment}-{turn}").delay(0)
        assert (taken.added, fresh.added) == (False, True), f"interrupted at function {moment}"


def test_no_call_is_told_what_the_one_before_it_should_have_been(app: Penstock, tmp_path: Path) -> None:
    @app.task(name="add")
    def add(number: int) -> None: ...

    add.options(job_id="taken").delay(0)
    moment = 1
    while interrupted(moment, lambda: add.delay(1)):
        nobody_is_kept_waiting(tmp_path)
        check(add, moment)
        moment += 1
    assert moment > 15


def test_nor_after_many_rows(app: Penstock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "SLICE", 2)

    @app.task(name="add")
    def add(number: int) -> None: ...

    add.options(job_id="taken").delay(0)
    told: list[int] = []
    rows = [(number,) for number in range(5)]
    moment = 1
    while interrupted(moment, lambda: add.delay_many(rows, progress=told.append)):
        assert told in ([], [2], [2, 4], [2, 4, 5]), f"interrupted at function {moment}"
        told.clear()
        nobody_is_kept_waiting(tmp_path)
        check(add, moment)
        moment += 1
    assert told == [2, 4, 5]
    assert moment > 30


def test_a_signal_may_enqueue_in_the_middle_of_an_enqueue(redis_url: str) -> None:
    # The other brokers are in this process, and hold a lock meanwhile.
    app = Penstock("test", broker=redis_url)

    @app.task(name="add")
    def add(number: int) -> None: ...

    inner: list[bool] = []

    def handler(*_: object) -> None:
        inner.append(add.options(job_id="taken").delay(0).added)

    add.options(job_id="taken").delay(0)
    moment = 1
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        while signalled(moment, add):
            moment += 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert inner == [False] * (moment - 1)
    app.close()


def signalled(moment: int, task: Task[[int], None]) -> bool:
    """Enqueues, with a signal in the middle."""
    left = moment

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left
        if event == "call" and frame.f_code.co_filename.startswith(_WATCHED):
            left -= 1
            if left == 0:
                sys.settrace(before)
                signal.raise_signal(signal.SIGUSR1)

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        assert task.options(job_id=f"outer-{moment}").delay(1).added
    finally:
        sys.settrace(before)
    return left <= 0


_SIGNALLED = """
import random, signal, sys, time
from penstock import Penstock

class Late(Exception):
    pass

def late(number, frame):
    raise Late

app = Penstock("t", broker=sys.argv[1])
add = app.task(name="add")(lambda: None)
taken = add.options(job_id="taken")
taken.delay()
signal.signal(signal.SIGALRM, late)
until, interrupted = time.monotonic() + 2.0, 0
while time.monotonic() < until:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(20e-6, 400e-6))
        add.delay()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Late:
        interrupted += 1
        assert not taken.delay().added, "the answer of another call"
assert interrupted > 50, interrupted
"""


def test_signals_at_any_moment_neither_end_the_process_nor_mix_answers_up(redis_url: str) -> None:
    """Also within C code of the driver, where no function is entered."""
    done = subprocess.run(
        [sys.executable, "-c", _SIGNALLED, redis_url], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
