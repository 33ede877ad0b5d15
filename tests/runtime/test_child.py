"""A child's side of the wire, in this process: the test is the worker. As a process: ``test_process_lane.py``."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.core.job import Delivery, JobError
from penstock.core.settlement import Again, Cancelled, Cause, Dead, Defer, Done, Release, Settlement
from penstock.runtime import child as module
from penstock.runtime import orphan
from penstock.runtime.child import Child, Line, set_up_logging
from penstock.runtime.frames import (
    Asked,
    FromChild,
    Hello,
    Inbox,
    Logged,
    Ready,
    Settled,
    Stopping,
    ToChild,
    Told,
    Unfit,
    Work,
    decode_from_child,
    frame,
    settled,
    settlement_of,
)
from penstock.runtime.run import Ask
from tests.runtime import children_app as tasks
from tests.runtime.bench import delivery
from tests.runtime.conftest import WITHIN_S, Doorbell, wait_for

REFERENCE = "tests.runtime.children_app:app"


# What ends a process ends a thread here.
ends_a_thread = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Wire:
    """The worker's end, and the child on a thread.

    Attributes:
        code: The child's exit code, or that with which it would have ended the process.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._socket, self.theirs = socket.socketpair()
        self._socket.settimeout(WITHIN_S)
        self._inbox = Inbox()
        self._heard: queue.SimpleQueue[FromChild] = queue.SimpleQueue()
        self.code: int | None = None
        self.exits: list[int] = []
        monkeypatch.setattr(os, "_exit", self._exit)
        self.child = Child(self.theirs)
        self.thread = threading.Thread(target=self._main, daemon=True)

    def _exit(self, code: int) -> None:
        self.exits.append(code)
        raise SystemExit  # ends the thread

    def _main(self) -> None:
        with contextlib.suppress(OSError):
            self.code = self.child.main()

    def start(self, reference: str = REFERENCE, **options: Any) -> Wire:
        self.thread.start()
        self.say(Hello(reference, list(sys.path), {}, {"": logging.WARNING, "penstock": logging.WARNING}))
        return self

    def say(self, *values: ToChild) -> None:
        """All at once."""
        self._socket.sendall(b"".join(frame(value) for value in values))

    def hear(self) -> FromChild:
        while self._heard.empty():
            data = self._socket.recv(65_536)
            assert data, "the child has ended"
            for part in self._inbox.feed(data):
                self._heard.put(decode_from_child(part))
        return self._heard.get()

    def work(self, task: object, *args: object) -> Delivery:
        made = delivery(task.name, *args)  # type: ignore[attr-defined]
        self.say(Work(made, False, 1_000, "penstock"))
        return made

    def outcome(self, of: Delivery) -> Settlement:
        while not isinstance(said := self.hear(), Settled):
            assert isinstance(said, Told | Logged)
        return settlement_of(said, of)

    def hang_up(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        self._socket.close()

    def close(self) -> None:
        self._socket.close()
        self.thread.join(WITHIN_S)
        for thread in threading.enumerate():
            if thread.name == "penstock-listen":  # what ends it belongs to this test
                thread.join(WITHIN_S)
        self.theirs.close()
        assert not self.thread.is_alive()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, bell: Doorbell) -> Iterator[Wire]:
    monkeypatch.setattr(tasks, "bell", bell.path)
    path, ours = list(sys.path), logging.getLogger("penstock")
    level = ours.level
    made = Wire(monkeypatch)
    yield made
    made.close()
    sys.path[:] = path
    ours.setLevel(level)


def ended(wire: Wire) -> int | None:
    wire.thread.join(WITHIN_S)
    assert not wire.thread.is_alive()
    return wire.code


def test_jobs_one_after_the_other(wire: Wire) -> None:
    wire.start()
    assert isinstance(wire.hear(), Ready)
    for x in range(3):
        done = wire.outcome(wire.work(tasks.add, x, 1))
        assert isinstance(done, Done)
        assert done.result == str(x + 1).encode()
    too_large = wire.outcome(wire.work(tasks.echo, "x" * 2_000))
    assert isinstance(too_large, Dead)
    assert too_large.cause is Cause.RESULT
    wire.hang_up()
    assert ended(wire) == 0


def test_the_first_words_may_come_in_pieces_and_with_others(wire: Wire) -> None:
    wire.thread.start()
    hello = frame(Hello(REFERENCE, list(sys.path), {}, {"": 30, "penstock": 30}))
    wire._socket.sendall(hello[:3])
    wait_for(lambda: not select.select([wire.theirs], [], [], 0)[0])
    wire._socket.sendall(hello[3:] + frame(Stopping()))
    assert isinstance(wire.hear(), Ready)
    wire.hang_up()
    assert ended(wire) == 0


def test_a_worker_that_says_nothing(wire: Wire) -> None:
    wire.thread.start()
    wire.hang_up()
    assert ended(wire) == 0


def test_a_worker_that_says_something_else_first(wire: Wire) -> None:
    wire.thread.start()
    wire.say(Stopping())
    assert ended(wire) == 0


def test_an_application_that_is_not_there(wire: Wire) -> None:
    wire.start("tests.runtime.nowhere:app")
    said = wire.hear()
    assert isinstance(said, Unfit)
    assert said.reason.startswith("ModuleNotFoundError")
    assert ended(wire) == 2


def test_a_worker_that_does_not_know_where_its_application_is(wire: Wire) -> None:
    wire.start("")
    said = wire.hear()
    assert isinstance(said, Unfit)
    assert "app_reference" in said.reason
    assert ended(wire) == 2


def test_progress_is_told_while_it_runs_and_asks_are_heard(wire: Wire, bell: Doorbell) -> None:
    wire.start()
    assert isinstance(wire.hear(), Ready)
    job = wire.work(tasks.obedient)
    bell.wait("begun")
    assert isinstance(wire.hear(), Told)
    wire.say(Asked(job.token + 1, Ask.CANCEL))  # another's, that has ended
    assert isinstance(wire.hear(), Told)
    wire.say(Asked(job.token, Ask.CANCEL))
    assert isinstance(wire.outcome(job), Cancelled)
    wire.say(Asked(job.token, Ask.CANCEL), Stopping())  # it has ended
    job = wire.work(tasks.stops_early)
    bell.wait("begun")
    wire.say(Stopping())
    assert isinstance(wire.outcome(job), Done)
    wire.hang_up()
    assert ended(wire) == 0


def test_asks_that_come_before_the_run(wire: Wire, monkeypatch: pytest.MonkeyPatch, bell: Doorbell) -> None:
    decode = module.decode_envelope
    ask: list[ToChild] = []

    def slow_decode(body: bytes) -> Any:
        if ask:
            wire.say(*ask)
            wait_for(lambda: (job := wire.child._job) is not None and (job.ask is not None or job.stopping))
        return decode(body)

    monkeypatch.setattr(module, "decode_envelope", slow_decode)
    wire.start()
    assert isinstance(wire.hear(), Ready)
    job = delivery(tasks.add.name, 1, 1)
    ask.append(Asked(job.token, Ask.CANCEL))
    wire.say(Work(job, False, 1_000, "penstock"))
    assert isinstance(wire.outcome(job), Cancelled)
    ask[:] = [Stopping()]
    job = wire.work(tasks.stops_early)
    assert isinstance(wire.outcome(job), Done)
    wire.hang_up()
    assert ended(wire) == 0


def test_an_ask_as_the_coroutine_begins(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Child._await

    async def late(self: Child, job: Any, run: Any) -> Settlement:
        job.ask = run.ask = Ask.CANCEL
        return await begin(self, job, run)

    monkeypatch.setattr(Child, "_await", late)
    wire.start()
    assert isinstance(wire.hear(), Ready)
    job = wire.work(tasks.patient)
    assert isinstance(wire.outcome(job), Cancelled)
    wire.hang_up()
    assert ended(wire) == 0


def test_coroutines(wire: Wire, bell: Doorbell) -> None:
    wire.start()
    assert isinstance(wire.hear(), Ready)
    done = wire.outcome(wire.work(tasks.greet, "a"))
    assert isinstance(done, Done)
    assert done.result == b'"clean async a"'
    job = wire.work(tasks.patient)
    wait_for(lambda: (now := wire.child._job) is not None and now.cancel is not None)
    wire.say(Asked(job.token, Ask.TIMEOUT))
    bell.wait("cleaned up")
    dead = wire.outcome(job)
    assert isinstance(dead, Dead)
    assert dead.cause is Cause.TIMEOUT
    bell.wait("tick")
    wire.hang_up()
    assert ended(wire) == 0
    bell.wait("aclose")


@ends_a_thread
def test_a_worker_that_is_gone_while_a_job_runs(wire: Wire, bell: Doorbell) -> None:
    wire.start()
    assert isinstance(wire.hear(), Ready)
    job = wire.work(tasks.stops_early)
    bell.wait("begun")
    wire.hang_up()
    wait_for(lambda: wire.exits == [1])
    run = wire.child._job.run if wire.child._job else None
    assert run is not None
    run.stopping = True
    assert isinstance(wire.outcome(job), Done)
    wire.child._give(None)
    assert ended(wire) == 0


@ends_a_thread
def test_a_wire_that_breaks(wire: Wire, bell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(line: Line, value: FromChild) -> None:
        raise OSError("broken")

    wire.start()
    assert isinstance(wire.hear(), Ready)
    monkeypatch.setattr(Line, "say", broken)
    wire.work(tasks.obedient)  # its progress cannot be told
    wait_for(lambda: wire.exits == [1])
    assert wire.child._job is not None
    assert wire.child._job.run is not None
    wire.child._job.run.ask = Ask.CANCEL
    assert ended(wire) is None


def test_unknown_tasks_and_other_arguments(wire: Wire) -> None:
    wire.start()
    assert isinstance(wire.hear(), Ready)
    nobody = delivery("nobody")
    wire.say(Work(nobody, False, 1_000, "penstock"))
    assert isinstance(wire.outcome(nobody), Defer)
    wrong = wire.outcome(wire.work(tasks.add, "a", "b"))
    assert isinstance(wrong, Dead)
    assert wrong.cause is Cause.ARGUMENTS
    wire.hang_up()
    assert ended(wire) == 0


# --- logging


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The root logger as a fresh process has it."""
    fresh = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(module.logging, "getLogger", lambda name="": fresh.getChild(name) if name else fresh)
    return fresh


class Ears(Line):
    def __init__(self) -> None:
        self.heard: list[FromChild] = []

    def say(self, value: FromChild) -> None:
        self.heard.append(value)


def test_records_go_to_the_worker(root: logging.Logger) -> None:
    ears = Ears()
    root.handlers.clear()  # pytest's own
    set_up_logging({"": logging.ERROR, "penstock": logging.INFO}, ears)
    assert root.level == logging.ERROR
    root.error("order %d", 7)
    root.warning("not this")
    [said] = ears.heard
    assert isinstance(said, Logged)
    assert (said.text, said.level) == ("order 7", logging.ERROR)


def test_an_application_that_set_up_logging_keeps_it(root: logging.Logger) -> None:
    ears = Ears()
    root.addHandler(logging.NullHandler())
    set_up_logging({"": logging.ERROR, "penstock": logging.INFO}, ears)
    root.error("order %d", 7)
    assert not ears.heard
    assert root.level == logging.WARNING


def test_a_record_that_cannot_be_sent(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Ears):
        def say(self, value: FromChild) -> None:
            raise BrokenPipeError

    root.handlers.clear()
    set_up_logging({"": logging.ERROR, "penstock": logging.INFO}, Broken())
    root.error("order %d", 7)
    assert "BrokenPipeError" in capsys.readouterr().err


# --- frames


@pytest.mark.parametrize(
    "settlement",
    [
        Done(delivery(), b"1", 5.0),
        Done(delivery(), None, 5.0),
        Again(delivery(), 2.0, JobError("ValueError", "x", "trace")),
        Defer(delivery(), 3.0, "later", 2),
        Dead(delivery(), JobError("ValueError"), Cause.REJECTED, spent=False),
        Cancelled(delivery(), 9.0),
        Release(delivery(), front=False, crashed=True),
    ],
)
def test_settlements_cross_whole(settlement: Settlement) -> None:
    of = settlement.delivery
    data = frame(settled(settlement))
    assert of.body not in data
    inbox = Inbox()
    parts = [part for at in range(len(data)) for part in inbox.feed(data[at : at + 1])]
    said = decode_from_child(parts[0])
    assert isinstance(said, Settled)
    back = settlement_of(said, of)
    settlement.delivery = of
    assert back == settlement
    assert back.delivery is of


# --- the process


def test_the_process_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Callable[..., None]] = {}
    monkeypatch.setattr(signal, "signal", lambda number, action: handlers.update({number: action}))
    monkeypatch.setattr(module, "die_with", lambda parent: None)
    monkeypatch.setattr(module.faulthandler, "enable", lambda: None)
    monkeypatch.setattr(module.faulthandler, "register", lambda number: None)
    monkeypatch.setattr(
        module, "sys", type("sys", (), {"stdout": type("out", (), {"reconfigure": lambda **_: None})})
    )
    for broken in (False, True):
        ours, theirs = socket.socketpair()
        if broken:
            monkeypatch.setattr(Child, "main", _gone)
        ours.close()
        assert module.main([str(os.dup(theirs.fileno())), "1"]) == (1 if broken else 0)
        theirs.close()
    assert handlers[signal.SIGTERM](signal.SIGTERM, None) is None


def _gone(_child: Child) -> int:
    raise ConnectionResetError


def test_an_orphan_ends_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not see to it."""
    started: list[object] = []

    class Thread(threading.Thread):
        def start(self) -> None:
            started.append(self)

    def exit_(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", exit_)
    monkeypatch.setattr(sys, "platform", "other")
    monkeypatch.setattr(orphan, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(orphan.threading, "Thread", Thread)
    orphan.die_with(os.getppid())
    assert len(started) == 1
    parents = iter([5, 5, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    with pytest.raises(SystemExit):
        orphan._look(5)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(SystemExit):  # it had ended before
        orphan.die_with(5)
