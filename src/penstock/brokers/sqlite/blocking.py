"""The blocking way in: a connection of its own, used in the thread that calls."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.brokers.sqlite import enqueueing, leasing
from penstock.brokers.sqlite.database import Database
from penstock.core.job import Enqueued, Job, Origin
from penstock.errors import ConfigError

# The calls under way, by thread. Only one thread ever touches one of them, so they need no lock.
_under_way: set[tuple[int, Path]] = set()
# A forked child has none of them, and its new threads may get the numbers of those that made them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)


class SQLiteProducer:
    """``BlockingProducer`` on a file."""

    def __init__(self, path: Path, namespace: str) -> None:
        self.clock_shift_s: float = 0.0
        self._path = path
        self._database = Database(path, namespace, self._now)
        self.answer_s: float = 5.0
        self._answer_s = self.answer_s
        self._database.wait_at_most(self.answer_s)

    def _now(self) -> float:
        return time.time() + self.clock_shift_s

    def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        if self._answer_s != self.answer_s:
            self._answer_s = self.answer_s
            self._database.wait_at_most(self.answer_s)
        call = (threading.get_ident(), self._path)
        if call in _under_way:  # it would wait for its time to be up, and the call beneath waits for it
            raise ConfigError(
                f"SQLite file {self._path}: enqueued in the middle of another call of the same thread, as the"
                " handler of a signal may; let the handler set an event, and enqueue where that is waited for"
            )
        try:
            _under_way.add(call)
            return self._database.write(
                lambda database, now: enqueueing.enqueue(database, now, jobs, origin), durable=True
            )
        finally:
            _under_way.discard(call)

    def begin(self, jobs: Sequence[Job], origin: Origin) -> Callable[[], Sequence[Enqueued]]:
        # There is no server that could work meanwhile, and on a thread it took 16 % longer than without.
        answers = self.enqueue(jobs, origin)
        return lambda: answers

    def extend(self, consumer_id: str, queues: Sequence[str], lease_s: float) -> bool:
        return self._database.write(
            lambda database, now: leasing.extend(database, now, consumer_id, lease_s), durable=False
        )

    def close(self) -> None:
        self._database.close()

    def abandon(self) -> None:
        """Nothing to do: ``forking`` has closed the file for the fork, and holds it until all are told of it."""
