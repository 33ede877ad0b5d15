"""A child process of the process lane: ``python -m penstock.runtime.child FD``. Runs one job at a time.

The main thread runs the jobs, as libraries expect. Another thread listens to the worker, so that a running job can be
asked to end, and sends progress, so that ``progress()`` never blocks. When the worker ends, so does the child.
"""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from time import monotonic
from types import FrameType
from typing import Any, Final

from penstock.core.codec import decode_envelope
from penstock.core.job import Delivery, JobError
from penstock.core.settlement import Cause, Dead, Settlement
from penstock.core.spec import TaskSpec
from penstock.errors import ConfigError, InvalidArguments
from penstock.runtime.crossing import Crossing, Said
from penstock.runtime.frames import (
    Asked,
    FromChild,
    Hello,
    Inbox,
    Logged,
    Ready,
    Stopping,
    Told,
    Unfit,
    Work,
    Worn,
    decode_to_child,
    frame,
    settled,
)
from penstock.runtime.lanes import acall, call
from penstock.runtime.limits import NO_LIMITS
from penstock.runtime.loops import new_event_loop
from penstock.runtime.onion import Onion, aperform
from penstock.runtime.orphan import die_with
from penstock.runtime.outcome import not_begun, unknown
from penstock.runtime.resources import ResourcePool
from penstock.runtime.run import Ask, Home, Run, run_of

TELL_EVERY_MS: Final = 200
LOOK_EVERY_S: Final = 1.0
RECEIVE_BYTES: Final = 262_144
EXIT_UNFIT: Final = 2
EXIT_ORPHAN: Final = 1

log: logging.Logger = logging.getLogger("penstock.worker")


class Line:
    """The child's end of the wire. ``say`` may be called from any thread."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._lock = threading.Lock()

    def say(self, value: FromChild) -> None:
        """Sends one value, whole."""
        with self._lock:
            self._wire.sendall(frame(value))


class _ToWorker(logging.Handler):
    """Hands log records to the worker, whose handlers are the ones that somebody set up."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self._formatter.format(record)
            self._line.say(
                Logged(record.name, record.levelno, text, record.pathname, record.lineno, record.created)
            )
        except Exception:
            self.handleError(record)


def _told_by_listening(_delivery: Delivery, _data: bytes) -> None:
    """Progress stays with its run, where the listening thread finds it."""


class _Job:
    """What both threads know of the job in hand."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.ask: Ask | None = None
        self.stopping = work.stopping
        self.run: Run | None = None
        self.cancel: Callable[[], object] | None = None
        self.told: bytes | None = None


class Child:
    """Receives jobs, runs them, tells what became of them.

    Args:
        wire: The child's end of the socket pair.
    """

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._line = Line(wire)
        self._inbox = Inbox()
        self._pool = ResourcePool()
        self._tasks: Mapping[str, TaskSpec] = {}
        self._onion: Onion | None = None
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._job: _Job | None = None
        self._runner: asyncio.Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()
        self._limits = NO_LIMITS
        self._done = 0
        self._mono_look = 0.0
        self._unseen = False

    def main(self) -> int:
        """Runs until the worker closes the wire; returns the exit code."""
        hello = self._hello()
        if hello is None:
            return 0
        try:
            self._tasks, self._onion = load(hello)
        except BaseException as error:  # SystemExit too: whatever the application's modules do when imported
            self._line.say(Unfit(f"{type(error).__name__}: {error}"))
            return EXIT_UNFIT
        self._limits = hello.limits
        set_up_logging(hello.log_levels, self._line)
        threading.Thread(target=self._listen, name="penstock-listen", daemon=True).start()
        self._line.say(Ready(self._limits.too_small("a child process of the process lane")))
        while (job := self._next()) is not None:
            settlement = self._perform(job)
            self._tell(job)
            worn = self._worn()
            self._job = None  # behind it: the listening thread looks the other way round
            self._line.say(settled(settlement, worn))
        self._close()
        return 0

    def _worn(self) -> str:
        """Why this child is to be replaced; its memory is looked at once a second, and when it falls idle."""
        self._done += 1
        limits, now = self._limits, monotonic()
        if limits.memory_mb:
            self._unseen = now < self._mono_look
            if self._unseen:
                limits = limits._replace(memory_mb=0)
            else:
                self._mono_look = now + LOOK_EVERY_S
        return limits.reached(self._done)

    def _look_when_idle(self, poll: select.poll) -> None:
        """On the listening thread: the jobs since the last look were too quick for another, and none has followed."""
        if self._unseen and not poll.poll(max(self._mono_look - monotonic(), 0.0) * 1_000):
            self._unseen = False
            why = self._limits.reached(self._done)
            if why:
                self._line.say(Worn(why))

    # --- the worker's words

    def _hello(self) -> Hello | None:
        while data := self._wire.recv(RECEIVE_BYTES):
            for part in self._inbox.feed(data):
                said = decode_to_child(part)
                return said if isinstance(said, Hello) else None
        return None

    def _listen(self) -> None:
        """On its own thread: hears the worker, and sends progress while a job runs."""
        poll = select.poll()  # select() knows no descriptor above 1,023
        poll.register(self._wire, select.POLLIN)
        data = b""  # whatever came right behind the first words is in the inbox
        try:
            while True:
                for part in self._inbox.feed(data):
                    self._hear(part)
                job = self._job
                while job is not None and not poll.poll(TELL_EVERY_MS):
                    self._tell(job)
                    job = self._job
                self._look_when_idle(poll)
                data = self._wire.recv(RECEIVE_BYTES)
                if not data:
                    break
        except OSError:
            os._exit(EXIT_ORPHAN)
        if self._job is not None:  # nobody will take its outcome
            os._exit(EXIT_ORPHAN)
        self._give(None)

    def _hear(self, part: bytes) -> None:
        said, job = decode_to_child(part), self._job
        match said:
            case Work():
                self._job = _Job(said)
                self._give(self._job)
            case Asked() if job is not None and job.work.delivery.token == said.token:
                # Before the run is looked for: the main thread sets and looks the other way round.
                job.ask = said.why
                if job.run is not None:
                    job.run.ask = said.why
                if job.cancel is not None and self._loop is not None:
                    self._loop.call_soon_threadsafe(job.cancel)
            case Stopping() if job is not None:
                job.stopping = True
                if job.run is not None:
                    job.run.stopping = True
            case _:
                return  # of a job that has ended meanwhile

    def _give(self, job: _Job | None) -> None:
        self._waiting.put(job)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _tell(self, job: _Job) -> None:
        data = None if job.run is None else job.run.progress
        if data is not None and data is not job.told:
            job.told = data
            self._line.say(Told(job.work.delivery.token, data))

    # --- the jobs

    def _next(self) -> _Job | None:
        """The next job. Where there is a loop it goes on meanwhile: what a resource started lives there."""
        if self._runner is None:
            return self._waiting.get()
        return self._runner.run(self._anext())

    async def _anext(self) -> _Job | None:
        while True:
            self._arrived.clear()
            try:
                return self._waiting.get_nowait()
            except queue.Empty:
                await self._arrived.wait()

    def _perform(self, job: _Job) -> Settlement:
        delivery = job.work.delivery
        envelope = decode_envelope(delivery.body)
        spec = self._tasks.get(envelope.task)
        if spec is None:
            log.warning("a child process does not know %s: does its module always define it?", envelope.task)
            return unknown(delivery, envelope.task)
        try:
            home = Home(job.work.max_result, job.work.shell, _told_by_listening)
            run = run_of(delivery, envelope, spec, home, monotonic())
        except (InvalidArguments, ConfigError, TypeError) as error:
            # The code has changed since the worker began.
            return Dead(delivery, JobError(type(error).__name__, str(error)), Cause.ARGUMENTS, spent=False)
        run.mono_started = run.mono_taken
        job.run = run
        run.ask, run.stopping = job.ask, job.stopping
        if run.ask is not None:
            return not_begun(run)
        if not spec.is_async and self._onion is None:
            return contextvars.Context().run(call, run, self._pool)
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=new_event_loop)
            self._loop = self._runner.get_loop()
        if not spec.is_async and self._onion is not None:
            return self._cross(job, run, self._onion, self._runner)
        return self._runner.run(self._await(job, run), context=contextvars.Context())

    async def _await(self, job: _Job, run: Run) -> Settlement:
        task = asyncio.current_task()
        assert task is not None
        job.cancel = task.cancel
        if job.ask is not None:
            task.cancel()
        return await (
            acall(run, self._pool) if self._onion is None else aperform(self._onion, run, self._pool)
        )

    def _cross(self, job: _Job, run: Run, onion: Onion, runner: asyncio.Runner) -> Settlement:
        """A plain function inside middleware: here too it runs where no loop does, so that it may use one of its own.

        The loop stands still meanwhile, as it does for any plain function of a child.
        """
        said: asyncio.Queue[Said] = asyncio.Queue()
        crossing = Crossing(onion, run, runner.get_loop().call_soon_threadsafe, said.put_nowait)
        job.cancel = crossing.cancel
        if job.ask is not None:
            crossing.ask()
        return crossing.perform(self._pool, lambda: runner.run(said.get()))

    def _close(self) -> None:
        if self._runner is not None:
            self._runner.run(self._pool.aclose())
            self._runner.close()
        self._pool.close()


def load(hello: Hello) -> tuple[Mapping[str, TaskSpec], Onion | None]:
    """The tasks and the middleware of the application that the worker runs, with the same settings."""
    if not hello.app_reference:
        raise ConfigError(
            'the worker was not told where its application is (app_reference="module:attribute")'
        )
    sys.path[:] = hello.path
    # What there is to say about the settings, the worker has said.
    logging.getLogger("penstock").setLevel(logging.ERROR)
    module, _, attribute = hello.app_reference.partition(":")
    app: Any = import_module(module)
    for part in attribute.split("."):
        app = getattr(app, part)
    app.configure(hello.command_line)
    tasks: Mapping[str, TaskSpec] = app.tasks
    return tasks, Onion(app.middlewares) if app.middlewares else None


def set_up_logging(levels: Mapping[str, int], line: Line) -> None:
    """Log records go to the worker, unless the application has set up logging by itself."""
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(_ToWorker(line))
        logging.getLogger().setLevel(levels[""])
    logging.getLogger("penstock").setLevel(levels["penstock"])


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """The worker decides when its children end. Not SIG_IGN: programs that a job starts would inherit that."""


def main(arguments: list[str]) -> int:
    """Runs a child; ``arguments``: the descriptor of its wire, and the worker's process id."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP"):
        signal.signal(getattr(signal, name), _do_nothing)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    die_with(int(arguments[1]))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the real one can
    with socket.socket(fileno=int(arguments[0])) as wire:
        wire.set_inheritable(False)
        try:
            return Child(wire).main()
        except ConnectionError:  # the worker is gone
            return EXIT_ORPHAN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
