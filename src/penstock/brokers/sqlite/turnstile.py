"""A fair way to the write lock: two files beside the database, locked one after the other.

SQLite's own waiting is a lottery: who has just committed takes the lock again before a waiter looks, and a worker
that drains keeps producers waiting for seconds. Here a waiter stands in the first lock while it waits for the second,
so that who has just had the second finds the first taken and lets the waiter in.

It makes waiting fair and nothing else: what is stored is guarded by SQLite's lock. So a wait for it that lasts too
long (a process that was stopped in the middle of a write) goes on to SQLite's own waiting, which ends in an error.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

_PATIENCE_S: Final = 2.0
# flock cannot wait for a limited time; looking again so often costs next to nothing and delays a turn by less than
# the commit that it waits for takes.
_FIRST_PAUSE_S: Final = 0.000_05
_LONGEST_PAUSE_S: Final = 0.002


class Turnstile:
    """The two locks of one connection."""

    def __init__(self, database: Path) -> None:
        self._paths = tuple(Path(f"{database}-{name}") for name in ("turn", "write"))
        self._files: list[int] = []

    def open(self, mode: int) -> None:
        """Opens the files, made with ``mode`` where they are not there."""
        for path in self._paths:
            self._files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))

    def enter(self) -> None:
        """Waits for this connection's turn to write."""
        if sys.platform == "win32":  # it has no such locks; SQLite's own waiting has to do
            return
        turn, write = self._files
        mono_end = time.monotonic() + _PATIENCE_S
        if not _lock(turn, mono_end):
            return
        _lock(write, mono_end)
        fcntl.flock(turn, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Lets the next one in. Also where ``enter`` gave up waiting."""
        if sys.platform != "win32":
            fcntl.flock(self._files[1], fcntl.LOCK_UN)

    def close(self) -> None:
        """Closes the files; what this connection has locked is free. Safe to call twice."""
        for file in self._files:
            os.close(file)
        self._files.clear()


def _lock(file: int, mono_end: float) -> bool:
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= mono_end:
                return False
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        else:
            return True
