"""A worker that another process watches, and whose lease that one keeps while the worker cannot.

Python code that is busy costs no lease: beats have a thread of their own. A call into C that holds the GIL stops that
thread too. So the worker writes a line for each answered beat, and when the lines stop while the process lives, the
watcher beats in its place: for as long as the longest of its tasks may take, so that a wedged worker does not live for
ever, and not while it is stopped (SIGSTOP), because a stopped worker does no work.

Imports next to nothing: the guard is small.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from penstock.ports.broker import BlockingProducer

    Connect = Callable[[str, str, str], BlockingProducer]

# Of a lease: an idle worker beats every third, so it is silent after somewhat more; half of the lease is left to act.
SILENT_AFTER: Final = 0.4
BEAT_EVERY: Final = 1 / 3
AGAIN_AFTER_FAILURE: Final = 1 / 15
LONGEST_KEPT_S: Final = 600.0
# Importing a driver takes up to a second on a busy machine. Where the lease is short that is done before it is needed.
SHORT_LEASE_S: Final = 5.0
_STATES_STOPPED: Final = b"Tt"
_NEVER_S: Final = 86_400.0


class Ward:
    """One watched worker.

    Args:
        pid: Its process id.
        connect: Makes a blocking producer of the URL, scheme and namespace that the worker tells.
        say: Writes a line for people.

    Attributes:
        ready: It has been heard: it reached its broker.
        wants_successor: Why it asks to be replaced; empty where it does not.
        warning: What is to be said once, however many workers find it; empty for nothing.
    """

    def __init__(self, pid: int, connect: Connect, say: Callable[[str], None]) -> None:
        self.pid = pid
        self.ready: bool = False
        self.wants_successor: str = ""
        self.warning: str = ""
        self._connect = connect
        self._say = say
        self._data = b""
        self._introduced = b""
        self._lease_s = 0.0
        self._limit_s = LONGEST_KEPT_S
        self._mono_heard = 0.0
        self._mono_next = 0.0
        self._given_up = False
        self._said = False
        self._under_way = False
        self._producer: BlockingProducer | None = None

    def hear(self, data: bytes, mono_now: float) -> None:
        """Takes what the worker wrote."""
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            kind, _, rest = line.partition(b" ")
            if kind == b"i":
                lease, _, self._introduced = rest.partition(b" ")
                self._lease_s = float(lease)
                if self._lease_s < SHORT_LEASE_S:
                    self._prepare()
            elif kind == b"r":
                self.wants_successor = rest.decode()
            elif kind == b"w":
                self.warning = rest.decode()
            else:
                self.ready = True
                self._limit_s = LONGEST_KEPT_S if rest == b"-" else min(float(rest), LONGEST_KEPT_S)
            self._mono_heard = mono_now
            self._mono_next = mono_now + SILENT_AFTER * self._lease_s
        if lines and self._said:
            self._said = False
            self._say(f"worker {self.pid} beats again by itself")
        if lines:
            self._given_up = False
            self._hang_up()

    def let_go(self) -> None:
        """It wants no beats: it has closed its end."""
        self._given_up = True

    def wait_s(self, mono_now: float) -> float:
        """Seconds until ``due`` may say yes."""
        if not self.ready or self._given_up:
            return _NEVER_S
        return max(self._mono_next - mono_now, 0.0)

    def due(self, mono_now: float) -> bool:
        """Whether to beat for it now."""
        if not self.ready or self._given_up or self._under_way or mono_now < self._mono_next:
            return False
        silent_s = mono_now - self._mono_heard
        if silent_s > max(self._limit_s, self._lease_s):
            self._given_up = True
            self._say(f"worker {self.pid} has been silent for {silent_s:.0f} s, longer than its jobs may take; its "
                      "lease is not kept any longer, and other workers get its jobs")  # fmt: skip
            return False
        self._mono_next = mono_now + BEAT_EVERY * self._lease_s
        if is_stopped(self.pid):
            self._mono_next = mono_now + AGAIN_AFTER_FAILURE * self._lease_s
            return False
        return True

    def _prepare(self) -> None:
        import threading

        threading.Thread(target=self._import, name="penstock-ward", daemon=True).start()

    def _import(self) -> None:
        import json

        self._connect(*json.loads(self._introduced)[0]).close()

    def beat(self) -> None:
        """Renews its lease, on a thread: whoever watches must not hang with the broker."""
        import threading

        self._under_way = True
        threading.Thread(target=self._beat, name="penstock-ward", daemon=True).start()

    def _beat(self) -> None:
        from penstock.errors import BrokerError

        try:
            import json

            address, consumer_id, queues = json.loads(self._introduced)
            if self._producer is None:
                self._producer = self._connect(*address)
            had_one = self._producer.extend(consumer_id, queues, self._lease_s)
        except BrokerError:  # the worker could not reach it either, perhaps; the next try comes soon
            self._mono_next = time.monotonic() + AGAIN_AFTER_FAILURE * self._lease_s
        else:
            if had_one and not self._said:
                self._said = True
                doubt = "" if _HAS_PROC else " (nobody can tell here whether it was stopped)"
                self._say(f"worker {self.pid} is silent, as in a call that holds the GIL or just after its broker was "
                          f"away; its lease is kept{doubt}")  # fmt: skip
        finally:
            self._under_way = False

    def _hang_up(self) -> None:
        if self._producer is not None and not self._under_way:
            self._producer.close()
            self._producer = None


_HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - pathlib takes memory


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger; False where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes memory
            stat = file.read()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] in _STATES_STOPPED
