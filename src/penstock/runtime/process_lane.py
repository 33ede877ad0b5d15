"""The process lane: jobs in child processes that can be killed, one job at a time each; spawned, never forked.

A child is started when a job needs it, up to the lane's size, and ends after a minute without work. For each child a
thread starts it and waits for its end, because the kernel ends a child with the thread that started it; everything
else happens on the I/O loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic
from typing import Any, Final

from penstock.core.settlement import Defer, Release
from penstock.runtime.ended import Ended
from penstock.runtime.frames import (
    Asked,
    FromChild,
    Hello,
    Inbox,
    Logged,
    Ready,
    Stopping,
    ToChild,
    Told,
    Unfit,
    Work,
    Worn,
    decode_from_child,
    frame,
    settlement_of,
)
from penstock.runtime.lanes import Finish
from penstock.runtime.limits import NO_LIMITS, Limits
from penstock.runtime.outcome import failed, not_begun
from penstock.runtime.run import Ask, Run

log: logging.Logger = logging.getLogger("penstock.worker")

# A child that was asked to end its job has so long to do it in order; then it is killed.
KILL_AFTER_S: Final = 0.5
IDLE_FOR_S: Final = 60.0
# An application that takes longer to import is taken for one that hangs.
START_WITHIN_S: Final = 60.0
FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 30.0
CLOSE_WITHIN_S: Final = 5.0
RECEIVE_BYTES: Final = 262_144


class _Child:
    """One child process, as the I/O loop sees it.

    Attributes:
        run: What it runs, or what is kept for it while it starts.
        ready: It has loaded the application.
        unfit: Why it cannot run jobs.
        worn: It has said, when it fell idle, why it is to be replaced.
        retired: It was told that there is no more work.
    """

    def __init__(self, number: int, hello: Hello, lane: ProcessLane) -> None:
        self.run: Run | None = None
        self.ready = False
        self.unfit: str = ""
        self.worn: str = ""
        self.retired = False
        self.pid: int = 0
        self._timer: asyncio.TimerHandle | None = None
        self._lane = lane
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._unsent = bytearray()
        self._killed = False
        self._pid_lock = threading.Lock()  # after the process's end its id may be somebody else's
        self._alive = False
        self._wire, self._theirs = socket.socketpair()
        self._wire.setblocking(False)
        self._loop.add_reader(self._wire, self._readable)
        self.say(hello)
        self.thread: threading.Thread = threading.Thread(
            target=self._live, name=f"penstock-child-{number}", daemon=True
        )
        self.thread.start()

    # --- its own thread

    def _live(self) -> None:
        """Starts the process and waits for its end."""
        theirs = self._theirs
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock.runtime.child", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for the worker; and what a job has started is killed with it
            )
        except OSError as error:
            self.unfit = f"it cannot be started: {error}"
            theirs.close()
            self._post(Ended(0))
            return
        theirs.close()
        with self._pid_lock:
            self.pid, self._alive = process.pid, True
            if self._killed:
                os.killpg(self.pid, signal.SIGKILL)
        if hasattr(os, "waitid"):  # pragma: no branch - macOS has it since Python 3.13
            # While it is not reaped its id stays its own.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            with self._pid_lock:
                self._alive = False
        _, status, usage = os.wait4(process.pid, 0)
        with self._pid_lock:
            self._alive = False
        process.returncode = os.waitstatus_to_exitcode(status)  # reaped here: Popen must not look for it
        unit = 1 if sys.platform == "darwin" else 1024
        self._post(Ended(status, usage.ru_maxrss * unit))

    def _post(self, ended: Ended) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ended, ended)
        except RuntimeError:  # the worker has stopped
            return

    # --- the I/O loop

    def say(self, value: ToChild) -> None:
        """Sends a value; what the wire does not take at once follows when it does."""
        waiting = bool(self._unsent)
        self._unsent += frame(value)
        if not waiting:
            self._write()

    def _write(self) -> None:
        try:
            sent = self._wire.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is gone; its end is told by its thread
            sent = len(self._unsent)
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._wire, self._write)
        else:
            self._loop.remove_writer(self._wire)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not self._receive():
                self._loop.remove_reader(self._wire)

    def _receive(self) -> bool:
        """Takes what has come; says whether it was anything but the end."""
        try:
            data = self._wire.recv(RECEIVE_BYTES)
        except ConnectionError:  # it is gone; its end is told by its thread
            return False
        for part in self._inbox.feed(data):
            self._lane.heard(self, decode_from_child(part))
        return bool(data)

    def _ended(self, ended: Ended) -> None:
        if self._wire.fileno() < 0:  # the lane has closed
            return
        with contextlib.suppress(BlockingIOError):  # what it has started may keep the wire open
            more = True
            while more:  # what it said before
                more = self._receive()
        self.let_go()
        self._lane.ended(self, ended)

    def after(self, wait_s: float, action: Callable[[], None]) -> None:
        """Calls ``action`` then, in place of what was to happen before."""
        self.at_once()
        self._timer = self._loop.call_later(wait_s, action)

    def at_once(self) -> None:
        """Nothing is to happen later any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hang_up(self) -> None:
        """Says that there is no more work: the child closes its resources and ends."""
        with contextlib.suppress(OSError):
            self._wire.shutdown(socket.SHUT_WR)

    def let_go(self) -> None:
        """Forgets the wire."""
        self.at_once()
        self._loop.remove_reader(self._wire)
        self._loop.remove_writer(self._wire)
        self._wire.close()

    def kill(self) -> None:
        """Kills the process and what its job has started. From any thread; safe to call twice."""
        with self._pid_lock:
            self._killed = True
            if self._alive:
                os.killpg(self.pid, signal.SIGKILL)


class ProcessLane:
    """Jobs in child processes; see ``LaneRunner``. Made and used on the I/O loop.

    Args:
        size: How many children at most.
        app_reference: Where a child finds the application: ``module:attribute``.
        finish: Takes what became of each run.
        command_line: Settings that the worker was given there, for the children's application.
        limits: When a child is replaced.
        warned: Somebody else says that these are too small.

    Attributes:
        settled: Runs of which a child has told the outcome.
    """

    def __init__(
        self,
        size: int,
        app_reference: str,
        finish: Finish,
        command_line: Mapping[str, Any] | None = None,
        limits: Limits = NO_LIMITS,
        *,
        warned: bool = False,
    ) -> None:
        self._size = size
        self._finish = finish
        levels = {name: logging.getLogger(name).getEffectiveLevel() for name in ("", "penstock")}
        self._hello = Hello(app_reference, sys.path, dict(command_line or {}), levels, limits)
        self._backlog: deque[Run] = deque()
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._started = 0
        self._warned = warned
        self.settled: int = 0
        self._stopping = False
        self._backoff_s = 0.0
        self._mono_retry = 0.0

    @property
    def busy(self) -> bool:
        """See ``LaneRunner``."""
        return bool(self._backlog) or any(child.run is not None for child in self._children)

    def submit(self, runs: Iterable[Run]) -> None:
        """See ``LaneRunner``."""
        self._backlog.extend(runs)
        self._assign()

    def ask(self, run: Run) -> None:
        """Tells the child, and kills it where the job has not ended shortly after."""
        child: _Child | None = run.handle
        if child is not None and run.ask is not None:
            child.say(Asked(run.delivery.token, run.ask))
            child.after(KILL_AFTER_S, child.kill)

    def stopping(self) -> None:
        """See ``LaneRunner``."""
        self._stopping = True
        for child in self._children:
            if child.run is not None:
                child.say(Stopping())

    def recall(self, mono_before: float) -> list[Run]:
        """See ``LaneRunner``. What a starting child will take is kept, unless the worker stops."""
        kept = [self._backlog.popleft() for _ in range(min(self._starting(), len(self._backlog)))]
        if self._stopping:
            self._backlog.extendleft(reversed(kept))
            kept = []
        runs: list[Run] = []
        while self._backlog and self._backlog[0].mono_taken <= mono_before:
            runs.append(self._backlog.popleft())
        self._backlog.extendleft(reversed(kept))
        return runs

    def close(self) -> None:
        """See ``LaneRunner``. Idle children end by themselves, the others are killed; ``join`` waits for them."""
        for child in self._children:
            if child.ready and child.run is None:
                child.hang_up()
            else:
                child.kill()
            child.let_go()

    def join(self, within_s: float = CLOSE_WITHIN_S) -> None:
        """After ``close``, from another thread: waits for the children's end; kills those that take longer."""
        mono_until = monotonic() + within_s
        for child in self._children:
            child.thread.join(max(mono_until - monotonic(), 0.0))
            if child.thread.is_alive():
                log.warning("child process %d did not end in %g s and was killed", child.pid, within_s)
                child.kill()
                child.thread.join(within_s)

    # --- children

    def _starting(self) -> int:
        return sum(1 for child in self._children if not child.ready)

    def _staying(self) -> int:
        return sum(1 for child in self._children if not child.retired)

    def _assign(self) -> None:
        """Gives waiting runs to idle children, and starts more children for those that are left."""
        while self._backlog:
            run = self._backlog[0]
            if run.ask is not None:
                self._backlog.popleft()
                self._finish(not_begun(run))
            elif self._idle:
                self._begin(self._idle.pop(), self._backlog.popleft())
            else:
                break
        starting = self._starting()
        more = min(len(self._backlog) - starting, self._size - self._staying())
        if more <= 0 or self._stopping:
            return
        if monotonic() < self._mono_retry:
            if not starting and not any(child.ready for child in self._children):
                self._defer()
            return
        # After a failure one goes first, to see whether it works again.
        for _ in range(1 if self._backoff_s else more):
            self._started += 1
            child = _Child(self._started, self._hello, self)
            self._children.add(child)
            child.after(START_WITHIN_S, partial(self._hangs, child))

    def _begin(self, child: _Child, run: Run) -> None:
        child.at_once()
        child.run = run
        run.handle = child
        run.mono_started = monotonic()
        child.say(Work(run.delivery, run.stopping, run.home.max_result, run.home.shell))

    def _free(self, child: _Child) -> None:
        self._idle.append(child)
        child.after(IDLE_FOR_S, partial(self._retire, child))
        self._assign()

    def _retire(self, child: _Child) -> None:
        self._idle.remove(child)
        self._end(child)

    def _end(self, child: _Child) -> None:
        child.retired = True
        child.hang_up()
        child.after(CLOSE_WITHIN_S, child.kill)

    def _replace(self, child: _Child, why: str) -> None:
        log.info("child process %d %s; it ends, and the next job has a fresh one", child.pid, why)
        self._end(child)
        self._assign()

    def _hangs(self, child: _Child) -> None:
        child.unfit = f"it has not loaded the application in {START_WITHIN_S:g} s"
        child.kill()

    def heard(self, child: _Child, said: FromChild) -> None:
        """A child has said something."""
        match said:
            case Ready(warning):
                child.ready = True
                if warning and not self._warned:
                    self._warned = True
                    log.warning("%s", warning)
                self._backoff_s = self._mono_retry = 0.0
                self._free(child)
            case Unfit(reason):
                child.unfit = reason
                child.after(KILL_AFTER_S, child.kill)  # what it has imported may keep it from ending
            case Told(token, data):
                if child.run is not None and child.run.delivery.token == token:
                    child.run.home.tell(child.run.delivery, data)
            case Logged():
                _log(said)
            case Worn(why):
                child.worn = why
                if child in self._idle:  # else behind its job
                    self._idle.remove(child)
                    self._replace(child, why)
            case _:  # Settled
                run, child.run = child.run, None
                assert run is not None
                run.handle = None
                self.settled += 1
                self._finish(settlement_of(said, run.delivery))
                if said.worn or child.worn:
                    self._replace(child, said.worn or child.worn)
                else:
                    self._free(child)

    def ended(self, child: _Child, ended: Ended) -> None:
        """A child's process is no more."""
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        run, child.run = child.run, None
        if run is not None:
            run.handle = None
        if not child.ready:
            self._failed_to_start(child, ended)
        elif run is None:
            if not child.retired:
                log.warning("idle child process %d %s", child.pid, ended)
        elif run.ask is None:
            log.error("job %s of %s: its child process %d %s; the job comes back as a suspect", run.delivery.id,
                      run.spec.name, child.pid, ended)  # fmt: skip
            if run.home.child_ends is not None:
                run.home.child_ends.note(run.delivery.id, str(ended))
            self._finish(Release(run.delivery, crashed=True))
        elif run.ask is Ask.TIMEOUT:
            # Its retry policy may be the user's own code, which has no place on the I/O loop.
            threading.Thread(
                target=self._finish_asked, args=(run,), name="penstock-timeout", daemon=True
            ).start()
        else:
            self._finish_asked(run)
        self._assign()

    def _finish_asked(self, run: Run) -> None:
        self._finish(failed(run, asyncio.CancelledError()))

    def _failed_to_start(self, child: _Child, ended: Ended) -> None:
        if child.retired or self._stopping:
            return
        self._backoff_s = min(max(self._backoff_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
        self._mono_retry = monotonic() + self._backoff_s
        log.error("a child process could not load the application %s: %s; the next try is in %g s, until then its jobs "
                  "wait", self._hello.app_reference, child.unfit or ended, self._backoff_s)  # fmt: skip

    def _defer(self) -> None:
        """No child, and none to be started yet: the jobs wait in the broker."""
        wait_s = max(self._mono_retry - monotonic(), 0.0)
        while self._backlog:
            run = self._backlog.popleft()
            self._finish(Defer(run.delivery, wait_s, "no child process could load the application"))


def _log(said: Logged) -> None:
    logger = logging.getLogger(said.name)
    if logger.isEnabledFor(said.level):
        record = logger.makeRecord(said.name, said.level, said.path, said.line, said.text, (), None)
        record.created = said.created_at
        logger.handle(record)
