"""A fair way to the write lock: two files beside the database, locked one after the other.

SQLite's own waiting is a lottery: who has just committed takes the lock again before a waiter looks, and a worker
that drains keeps producers waiting for seconds. Here a waiter stands in the first lock while it waits for the second,
so that who has just had the second finds the first taken and lets the waiter in.

It makes waiting fair and nothing else: what is stored is guarded by SQLite's lock. So a wait for it that lasts too
long (for a process that was stopped in the middle of a write) goes on to SQLite's own waiting, which ends in an error.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from penstock.brokers.sqlite.sharing import share

if sys.platform != "win32":
    import fcntl

_PATIENCE_S: Final = 2.0


class Turnstile:
    """The two locks, as one connection uses them.

    Args:
        database: The file.
        patient: The thread that enters has nothing else to do, and may wait for as long as it takes.

    Attributes:
        patience_s: How long the others wait for each of the two locks.
    """

    def __init__(self, database: Path, *, patient: bool) -> None:
        self.patience_s = _PATIENCE_S
        self._paths = tuple(Path(f"{database}-{name}") for name in ("turn", "write"))
        self._files: list[int] = []
        self._patient = patient
        # By file: waits that were given up and are still in line. The next one takes its place there.
        self._waits: dict[int, _Wait] = {}

    def open(self, like: os.stat_result) -> None:
        """Opens the files, and makes them where they are not there, for those who may use the file ``like``."""
        for path in self._paths:
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                share(path, like)
            self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def enter(self) -> None:
        """Waits for this connection's turn to write."""
        if sys.platform == "win32":  # it has no such locks; SQLite's own waiting has to do
            return
        turn, write = self._files
        try:
            if self._lock(turn):
                self._lock(write)
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Lets the next one in. Also where ``enter`` gave up waiting or failed, or nothing is open."""
        if sys.platform != "win32":
            for write in self._files[1:]:
                fcntl.flock(write, fcntl.LOCK_UN)

    def _lock(self, file: int) -> bool:
        wait = self._waits.pop(file, None)
        if wait is None or not wait.again():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if self._patient:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    return True
            wait = _Wait(file)
        got = wait.get(self.patience_s)
        if not got:  # an interrupted one is not used again: its thread may never have been started
            self._waits[file] = wait
        return got

    def close(self) -> None:
        """Closes the files; what this connection has locked is free. Safe to call twice."""
        for file in self._files:
            os.close(file)
        self._files.clear()
        self._waits.clear()


class _Wait:
    """A wait for a lock that can be given up, which flock alone cannot: a thread of its own does the waiting.

    To try again and again instead is never fair to who tries: the lock goes to those who wait for it.
    """

    def __init__(self, file: int) -> None:
        # Its own, because the caller may close his before the lock is free. Both share one lock.
        self._file = os.dup(file)
        self._over = Event()
        self._deciding = Lock()
        self._started = self._got = self._given_up = False

    def again(self) -> bool:
        """Whether it is still in line, so that ``get`` may be called once more."""
        with self._deciding:
            self._given_up = False
            return not self._over.is_set()

    def get(self, patience_s: float) -> bool:
        """Whether the lock could be had in time."""
        try:  # an interrupt may come while the thread is started, too
            if not self._started:
                self._started = True
                Thread(target=self._wait, name="penstock-sqlite-turn", daemon=True).start()
            self._over.wait(patience_s)
        finally:  # an interrupted wait is given up too
            with self._deciding:
                self._given_up = not self._got
        return self._got

    def _wait(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        with self._deciding:
            if self._given_up:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._got = not self._given_up
            os.close(self._file)
            self._over.set()
