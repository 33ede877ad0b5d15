"""``--processes N``: starts the worker processes, watches them, starts again those that die, and passes signals on.

One thread, waiting in one place. Works as process 1 of a container: it reaps whatever ends.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import signal
from collections.abc import Sequence
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Final

from penstock.runtime.ended import Ended
from penstock.runtime.guard import SUPERVISED
from penstock.runtime.rolling import Rolling
from penstock.runtime.slot import Slot
from penstock.runtime.wards import Ward

if TYPE_CHECKING:
    from penstock.runtime.wards import Connect

log: logging.Logger = logging.getLogger("penstock.supervisor")

EXIT_USAGE: Final = 2
EXIT_LEFT_BEHIND: Final = 4
# A worker that ends so soon, or before it has reached its broker, is taken for one that would do so again.
SOON_S: Final = 3.0
LONGEST_BACKOFF_S: Final = 30.0
# What a worker may take beyond its grace period: 1 s for the retry policies of what ignores its timeout, 5 + 5 s to
# tell a broker that does not answer, 5 + 5 s for hooks that do not end, 5 s for its I/O thread, 5 + 5 s for child
# processes. A test holds it against what those parts say themselves, which would be too much to import here.
CLOSE_WITHIN_S: Final = 40.0
LOOK_EVERY_S: Final = 5.0
_READ_BYTES: Final = 65_536
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Runs until all its workers have ended.

    Args:
        argv: The command of one worker process.
        processes: How many.
        grace_s: How long a worker gives its jobs when it stops; one that takes much longer is killed.
        connect: Makes a blocking producer of a URL, a scheme and a namespace, to beat for a silent worker.
        guard: Whether to beat for silent workers.
        has_children: Whether jobs run in child processes of the workers, for what is said of a roll that stops.
    """

    def __init__(
        self,
        argv: Sequence[str],
        processes: int,
        *,
        grace_s: float,
        connect: Connect,
        guard: bool = True,
        has_children: bool = False,
    ) -> None:
        self._argv = list(argv)
        self._slots = [Slot(number) for number in range(1, processes + 1)]
        self._grace_s = grace_s
        self._connect = connect
        self._guard = guard
        self._signals: list[int] = []
        self._stops = 0
        self._quiet = False
        self._warned = False
        self._fatal = 0
        self._mono_hurry: float | None = None
        self._mono_kill: float | None = None
        self._rolling = Rolling(
            self._slots,
            start=self._start,
            drain=self._drain,
            hasten=self._hasten,
            kill=self._kill,
            has_children=has_children,
        )
        self._terminal = _has_terminal()
        self._outlives_it = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def run(self) -> int:
        """Returns the exit code: the workers' highest, 4 where work was left behind."""
        bell, ring = os.pipe()
        os.set_blocking(ring, False)
        os.set_blocking(bell, False)
        old = signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        handled = [*_STOPS, signal.SIGHUP, signal.SIGTSTP, signal.SIGUSR1, signal.SIGCHLD]
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        try:
            while self._start_due():
                self._wait(bell)
                self._obey()
                self._reap()
                if not self._stops:
                    self._replace()
                self._kill_overdue()
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(bell)
            os.close(ring)
        return self._exit_code()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    # --- starting

    def _start_due(self) -> bool:
        """Starts the workers whose time has come; says whether there is anything left to wait for."""
        for slot in self._slots:
            if not slot.pid and not slot.over:
                if self._stops:
                    slot.over = True
                elif slot.mono_retry <= monotonic():
                    self._start(slot)
                    if self._signals:  # who wants to stop is not kept waiting until many are started
                        break
        return not all(slot.over for slot in self._slots)

    def _start(self, slot: Slot) -> None:
        slot.reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        environment = {**os.environ, SUPERVISED: f"{os.getpid()}:{writing}"}
        try:
            # A group of its own: Ctrl-C at a terminal comes here alone and is passed on once.
            slot.pid = os.posix_spawn(self._argv[0], self._argv, environment, setpgroup=0)
        except OSError as error:
            log.error("worker process %d cannot be started: %s", slot.number, error)
            os.close(slot.reading)
            self._backs_off(slot)
            return
        finally:
            os.close(writing)
        slot.mono_started = monotonic()
        slot.ward = Ward(slot.pid, self._connect, log.warning)
        slot.quiet = slot.worn = False
        log.info("%s started", slot)

    def _backs_off(self, slot: Slot) -> float:
        slot.failures += 1
        wait_s = 0.0 if slot.failures == 1 else min(2.0 ** (slot.failures - 2), LONGEST_BACKOFF_S)
        slot.mono_retry = monotonic() + wait_s
        return wait_s

    # --- waiting

    def _wait(self, bell: int) -> None:
        """Until a signal comes, a worker says something, or something is due."""
        now = monotonic()
        reading = {slot.reading: slot for slot in self._slots if slot.pid and slot.reading >= 0}
        until = [slot.mono_retry - now for slot in self._slots if not slot.pid and not slot.over]
        if self._guard:
            until += [slot.ward.wait_s(now) for slot in self._slots if slot.pid and slot.ward is not None]
        until += [s.mono_drains_until - now for s in self._slots if s.pid and s.mono_drains_until is not None]
        until += [slot.mono_hurry - now for slot in self._slots if slot.pid and slot.mono_hurry is not None]
        until += [at - now for at in (self._mono_hurry, self._mono_kill) if at is not None]
        wait_s = 0.0 if self._signals else max(min([*until, LOOK_EVERY_S]), 0.0)
        for fd in select.select([bell, *reading], [], [], wait_s)[0]:
            data = b""
            with contextlib.suppress(BlockingIOError):
                data = os.read(fd, _READ_BYTES)
            slot = reading.get(fd)
            if slot is not None and slot.ward is not None:
                if data:
                    slot.ward.hear(data, monotonic())
                    # At once, also while all stop: it lets its jobs end until somebody hurries it.
                    slot.worn = slot.worn or bool(slot.ward.wants_successor)
                else:
                    self._close(slot)
                    slot.ward.let_go()
        if self._guard:
            for slot in self._slots:
                if slot.pid and slot.ward is not None and slot.ward.due(monotonic()):
                    slot.ward.beat()

    def _close(self, slot: Slot) -> None:
        if slot.reading >= 0:
            os.close(slot.reading)
            slot.reading = -1

    # --- signals

    def _obey(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number in _STOPS:
                self._stop()
            elif number == signal.SIGHUP:
                self._hang_up()
            elif number == signal.SIGTSTP:
                self._quiet = True
            elif number == signal.SIGUSR1:
                self._tell(number, only_ready=True)  # it would end one that does not listen yet
        if self._quiet:
            self._hush()

    def _hush(self) -> None:
        """Tells those who were not told yet, and listen by now, to take nothing new."""
        for slot in self._slots:
            if slot.pid and not slot.quiet and slot.is_ready:
                slot.quiet = True
                os.kill(slot.pid, signal.SIGTSTP)

    def _hang_up(self) -> None:
        """SIGHUP is a wish for fresh processes, unless it comes because the terminal that started us is gone."""
        if self._terminal and not _has_terminal():
            self._terminal = False
            if not self._outlives_it:  # as under nohup
                self._stop()
        elif not self._stops:
            self._rolling.all()

    def _stop(self) -> None:
        self._stops += 1
        self._rolling.stop()
        if self._stops == 1:
            log.info("stopping %d worker processes", sum(1 for slot in self._slots if slot.pid))
            self._tell(signal.SIGTERM)
            self._mono_hurry = monotonic() + self._grace_s
            self._mono_kill = self._mono_hurry + CLOSE_WITHIN_S
        else:
            self._tell(signal.SIGUSR2)
            self._mono_kill = monotonic() + CLOSE_WITHIN_S

    def _tell(self, number: int, *, only_ready: bool = False) -> None:
        for slot in self._slots:
            if slot.pid and (slot.is_ready or not only_ready):
                os.kill(slot.pid, number)

    # --- replacing

    def _replace(self) -> None:
        for slot in list(self._slots):
            if slot.ward is not None and slot.ward.warning and not self._warned:
                self._warned = True
                log.warning("%s", slot.ward.warning)
            if slot.ward is not None and slot.ward.wants_successor:
                why, slot.ward.wants_successor = slot.ward.wants_successor, ""
                slot.worn = True
                self._rolling.one(slot, why)
        self._rolling.step()

    def _drain(self, slot: Slot) -> None:
        slot.mono_drains_since = monotonic()
        slot.mono_drains_until = math.inf if slot.worn else monotonic() + self._grace_s + CLOSE_WITHIN_S
        os.kill(slot.pid, signal.SIGTERM)

    def _hasten(self, slot: Slot) -> None:
        if slot.worn and slot.mono_hurry is None:  # others know their grace period themselves
            slot.mono_hurry = monotonic() + self._grace_s
            slot.mono_drains_until = slot.mono_hurry + CLOSE_WITHIN_S

    def _kill(self, slot: Slot) -> None:
        os.kill(slot.pid, signal.SIGKILL)

    def _kill_overdue(self) -> None:
        for slot in self._slots:
            if slot.pid and slot.mono_hurry is not None and monotonic() >= slot.mono_hurry:
                slot.mono_hurry = None
                os.kill(slot.pid, signal.SIGUSR2)
            if slot.pid and slot.mono_drains_until is not None and monotonic() >= slot.mono_drains_until:
                log.error("%s did not end in time and is killed; its jobs go to other workers", slot)
                slot.mono_drains_until += CLOSE_WITHIN_S
                self._kill(slot)
        if self._mono_hurry is not None and monotonic() >= self._mono_hurry:
            self._mono_hurry = None
            for slot in self._slots:
                if slot.pid and slot.worn:
                    os.kill(slot.pid, signal.SIGUSR2)
        if self._mono_kill is None or monotonic() < self._mono_kill:
            return
        self._mono_kill = None
        for slot in self._slots:
            if slot.pid:
                log.error("%s did not end in time and is killed; its jobs go to other workers", slot)
        self._tell(signal.SIGKILL)

    # --- ends

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            slot = next((slot for slot in self._slots if slot.pid == pid), None)
            if slot is not None:  # else an orphan that came to process 1
                self._ended(slot, Ended(status))

    def _ended(self, slot: Slot, ended: Ended) -> None:
        who, was_ready = str(slot), self._hear_out(slot)
        slot.pid = 0  # from now on it may be somebody else's
        slot.code = ended.code
        if self._stops:
            slot.over = True
            if ended.code == -signal.SIGTERM and not was_ready:  # it was asked before it could listen
                slot.code = 0
            log.log(logging.INFO if slot.code == 0 else logging.WARNING, "%s %s", who, ended)
        elif self._rolling.ended(slot, str(ended)):
            return
        elif ended.code == 0:
            slot.over = True
            log.info("%s has ended, as it was told to", who)
        elif ended.code == EXIT_USAGE and not was_ready and not self._others_ready(slot):
            log.error("%s cannot work as it is configured (see above); all stop", who)
            slot.over = True
            self._fatal = EXIT_USAGE
            self._stop()
        else:
            if was_ready and monotonic() - slot.mono_started >= SOON_S:
                slot.failures = 0
            wait_s = self._backs_off(slot)
            again = f"the next start is in {wait_s:g} s" if wait_s else "another is started"
            times = f", {slot.failures} times in a row soon after its start" if slot.failures > 1 else ""
            log.error("%s %s%s; %s", who, ended, times, again)

    def _others_ready(self, slot: Slot) -> bool:
        return any(other.is_ready for other in self._slots if other is not slot)

    def _hear_out(self, slot: Slot) -> bool:
        """Reads what it said last; says whether it had reached its broker."""
        ward = slot.ward
        assert ward is not None
        if slot.reading >= 0 and select.select([slot.reading], [], [], 0)[0]:
            ward.hear(os.read(slot.reading, _READ_BYTES), monotonic())
        self._close(slot)
        slot.ward = None
        return ward.ready

    def _exit_code(self) -> int:
        codes = [EXIT_LEFT_BEHIND if slot.code < 0 else slot.code for slot in self._slots]
        return self._fatal or (EXIT_LEFT_BEHIND if EXIT_LEFT_BEHIND in codes else max(codes, default=0))


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that has not been hung up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def run(
    argv: Sequence[str],
    processes: int,
    *,
    grace_s: float,
    connect: Connect,
    guard: bool = True,
    has_children: bool = False,
) -> int:
    """Runs worker processes until they have ended; call it on the main thread.

    Args:
        argv: The command of one worker process; it finds its supervisor in the environment (``fork_guard``).
        processes: How many.
        grace_s: How long a worker gives its jobs when it stops.
        connect: Makes a blocking producer of a URL, a scheme and a namespace.
        guard: Whether to beat for workers whose code holds the GIL.
        has_children: Whether a task uses the process lane.

    Returns:
        The exit code: the workers' highest, 4 where work was left behind, 2 where they are configured wrongly.
    """
    return Supervisor(
        argv, processes, grace_s=grace_s, connect=connect, guard=guard, has_children=has_children
    ).run()
