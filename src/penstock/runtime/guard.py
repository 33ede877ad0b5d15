"""The guard of a worker that has no supervisor: a small process, forked before anything else is imported.

It watches one worker; what it does stands in ``wards.py``. Under a supervisor there is no guard: the same lines go to
the supervisor, which watches all its workers.
"""

from __future__ import annotations

import os
import select
import signal
import time

from penstock.runtime.wards import Ward

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from penstock.runtime.wards import Connect

# How a worker is told that it has a supervisor: "PID:DESCRIPTOR".
SUPERVISED: Final = "PENSTOCK_SUPERVISED"
_LOOK_EVERY_S: Final = 1.0
_READ_BYTES: Final = 65_536
_HIGHEST_FD: Final = 65_536


class Pulse:
    """The worker's end: a line for each answered beat. Never blocks.

    Args:
        fd: The writing end of a pipe.
        guard: The process id of the guard that reads it; 0: a supervisor does.
    """

    def __init__(self, fd: int, guard: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._guard = guard
        self.supervised: bool = not guard

    def introduce(
        self, address: tuple[str, str, str], consumer_id: str, queues: Sequence[str], lease_s: float
    ) -> None:
        """Tells, once, what is needed to beat in the worker's place.

        Args:
            address: The broker's URL, scheme and namespace.
            consumer_id: The worker's incarnation.
            queues: Those it consumes.
            lease_s: The lease to renew.
        """
        import json

        self._write(f"i {lease_s} {json.dumps([address, consumer_id, list(queues)])}")

    def beat(self, longest_s: float | None) -> None:
        """The broker has answered a beat; the longest of the worker's tasks may take so long (None: no bound)."""
        self._write("p -" if longest_s is None else f"p {longest_s}")

    def ask_for_successor(self, why: str) -> None:
        """Asks the supervisor to replace this worker, which goes on until the other one is ready."""
        self._write(f"r {why}")

    def warn(self, text: str) -> None:
        """Has the supervisor say something once that each of its workers will find."""
        self._write(f"w {text}")

    def close(self) -> None:
        """Does without: a guard ends, a supervisor does not beat for this worker."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        if self._guard:
            try:
                os.waitpid(self._guard, 0)
            except ChildProcessError:  # the user's code has waited for all its children
                return

    def _write(self, line: str) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, f"{line}\n".encode())
        except BlockingIOError:  # it is stopped; it has lines enough to read when it goes on
            return
        except OSError:
            import logging

            logging.getLogger("penstock.worker").warning(
                "the guard has ended: code that holds the GIL for longer than the lease may lose it"
            )
            self.close()


def fork_guard(connect: Connect, *, wanted: bool = True) -> Pulse | None:
    """Forks the guard, or finds the supervisor. Call it before anything else is imported or started.

    Args:
        connect: Makes a blocking producer of a URL, a scheme and a namespace; called in the guard, when it must act.
        wanted: Without it there is none; a supervised worker still ends with its supervisor.

    Returns:
        Where the worker tells its beats, or None where there is nobody to tell.
    """
    supervised = os.environ.pop(SUPERVISED, "")
    if supervised:
        from penstock.runtime.orphan import die_with

        parent, _, descriptor = supervised.partition(":")
        os.set_inheritable(int(descriptor), False)
        die_with(int(parent))
        return Pulse(int(descriptor), guard=0)
    if not wanted or not hasattr(os, "fork"):
        return None
    reading, writing = os.pipe()
    worker = os.getpid()
    guard = os.fork()
    if guard == 0:
        _be_guard(reading, writing, worker, connect)  # never returns
    os.close(reading)
    return Pulse(writing, guard)


def _be_guard(reading: int, writing: int, worker: int, connect: Connect) -> None:
    try:
        os.close(writing)
        _settle_in(reading)
        _watch(reading, Ward(worker, connect, _say))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(0)


def _settle_in(reading: int) -> None:
    """Lets go of whatever is the worker's: its end is told by the pipe and by nothing else."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGPIPE"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.closerange(3, reading)
    os.closerange(reading + 1, _HIGHEST_FD)


def _watch(reading: int, ward: Ward) -> None:
    """Until the worker ends. It may have left the pipe to a child of its own, so its parent is looked for as well."""
    while os.getppid() == ward.pid:
        wait_s = min(ward.wait_s(time.monotonic()), _LOOK_EVERY_S)
        if select.select([reading], [], [], wait_s)[0]:
            data = os.read(reading, _READ_BYTES)
            if not data:
                return
            ward.hear(data, time.monotonic())
        if ward.due(time.monotonic()):
            ward.beat()


def _say(line: str) -> None:
    os.write(2, f"penstock guard: {line}\n".encode())
