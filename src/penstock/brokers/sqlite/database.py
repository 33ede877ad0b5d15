"""One connection to the file, and what belongs to a transaction on it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

import apsw
import msgspec

from penstock.brokers.sqlite import file, forking
from penstock.brokers.sqlite.bells import Ringer
from penstock.brokers.sqlite.driver import Connection, Cursor, connect
from penstock.brokers.sqlite.errors import translated, translating
from penstock.brokers.sqlite.statements import statements
from penstock.brokers.sqlite.turnstile import Turnstile
from penstock.errors import BrokerError, BrokerUnavailable

T = TypeVar("T")
Bindings = Sequence[Any]

_SQL: Final = statements("numbers")
_log: Final = logging.getLogger(__name__)

# Behind the turnstile hardly anybody waits in SQLite itself; this bounds the wait for a process that was stopped.
_BUSY_MS: Final = 5_000
# A fork waits so long for a call of another thread to end; longer than any that goes well.
_FORK_WAITS_S: Final = 3.0
_TRIM_WAITS_MS: Final = 20
_LONGEST_LOG_BYTES: Final = 64 * 1024 * 1024


class Moved(msgspec.Struct):
    """What a transaction changes in a queue's counts."""

    scheduled: int = 0
    ready: int = 0
    running: int = 0
    failed: int = 0
    quarantined: int = 0
    enqueued_total: int = 0
    succeeded_total: int = 0
    failed_total: int = 0
    lost_total: int = 0


class Database:
    """A connection, used by one thread at a time.

    Args:
        path: The file.
        namespace: Sets applications in one file apart.
        clock: The broker's.
        patient: Its thread does nothing else, and may wait for its turn for as long as it takes.

    Attributes:
        path: The file.
        namespace: Sets applications in one file apart.
        ringer: Whom to wake once the transaction that runs is committed.
        warnings: What was found odd when the file was opened, a line each.
    """

    def __init__(
        self, path: Path, namespace: str, clock: Callable[[], float], *, patient: bool = False
    ) -> None:
        self.path = path
        self.namespace = namespace
        self.ringer: Ringer = Ringer(path)
        self.warnings: list[str] = []
        self._clock = clock
        self._turnstile = Turnstile(path, patient=patient)
        self._busy_ms = _BUSY_MS
        self._connection: Connection | None = None
        self._file: os.stat_result | None = None
        self._using = Lock()
        self._paused = False
        self._durable: bool | None = None
        self._trim = False
        self._queues: dict[str, int] = {}
        self._moved: dict[int, Moved] = {}

    # Opening and closing

    def open(self) -> None:
        """Opens the file, makes and prepares it where it is new. Safe to call twice."""
        if self._connection is not None:
            if self._file is not None and file.is_still(self.path, self._file):
                return
            self._let_go_of_removed()
        with translating(self.path):
            self.warnings = file.check_place(self.path)
            if self.path in _half_written:
                raise BrokerUnavailable(
                    f"SQLite file {self.path}: this process was forked while its parent could not let go of the file;"
                    " start it anew"
                )
            forking.tell(self)
            self._file = file.make(self.path)
            try:
                self._turnstile.open(self._file)
                self._connection = self._connect()
            except BaseException:
                self._turnstile.close()
                raise

    def _let_go_of_removed(self) -> None:
        _log.warning("SQLite file %s was removed or replaced; what was stored in it is gone", self.path)
        # To end the log properly would remove the one that is there now, which is another file's.
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._close()

    def _connect(self) -> Connection:
        # Only one process at a time may turn a new file to write-ahead logging.
        self._turnstile.enter()
        try:
            connection = connect(str(self.path))
            try:
                connection.set_busy_timeout(self._busy_ms)
                file.prepare(connection, self.path)
            except BaseException:
                connection.close()
                raise
        finally:
            self._turnstile.leave()
        return connection

    def close(self) -> None:
        """Closes the connection; it is opened again when it is used. Safe to call twice."""
        with self._using:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._forget()
        try:
            if connection is not None:
                with translating(self.path):
                    connection.close()
        finally:
            self._turnstile.close()
            self.ringer.close()

    def before_fork(self) -> None:
        """See ``Forks``."""
        # Held until the fork is over, so that nobody opens it again meanwhile.
        self._paused = self._using.acquire(timeout=_FORK_WAITS_S)
        if self._paused:
            with suppress(BrokerError):  # the connection is gone all the same
                self._close()

    def after_fork(self, *, child: bool) -> None:
        """See ``Forks``."""
        if child and not self._paused:
            # A thread that is not here was in the middle of a call, so the connection must be neither used nor
            # collected. To close the other files only takes away a second hold on what is the parent's.
            _leaked.append(self._connection)
            _half_written.add(self.path)
            self._connection = None
            self._turnstile.close()
            self.ringer.close()
            self._using = Lock()
        elif self._paused:
            self._using.release()

    def _forget(self) -> None:
        self._durable = None
        self._queues.clear()
        self._moved.clear()
        self.ringer.forget()

    # Transactions

    def write(self, operation: Callable[[Database, float], T], *, durable: bool) -> T:
        """Runs ``operation`` in a transaction of its own.

        Args:
            operation: Is given this database and the broker's now.
            durable: It is to outlive a failure of the power, not only one of the process.
        """
        (outcome,) = self.write_all([operation], durable=durable)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome  # type: ignore[no-any-return]  # what the operation returned

    def wait_at_most(self, seconds: float) -> None:
        """Bounds how long a write waits for others to leave the file, from the next one on."""
        with self._using:
            # Half of it for the two locks of the turnstile, half for SQLite's own.
            self._turnstile.patience_s = seconds / 4
            self._busy_ms = int(seconds * 500)
            if self._connection is not None:
                self._connection.set_busy_timeout(self._busy_ms)

    def write_all(
        self, operations: Sequence[Callable[[Database, float], Any]], *, durable: bool
    ) -> Sequence[Any]:
        """Runs ``operations`` in one transaction; what each returned, or its error.

        Each has a savepoint of its own. Where the whole transaction comes to nothing, each is run by itself.
        """
        with self._using:
            return self._write_all(operations, durable)

    def _write_all(
        self, operations: Sequence[Callable[[Database, float], Any]], durable: bool
    ) -> Sequence[Any]:
        try:
            with translating(self.path):
                self.open()
                self._turnstile.enter()
        except BaseException as error:  # the answer to all who asked
            self._turnstile.leave()  # it may have been entered: an interrupt comes anywhere
            return [error] * len(operations)
        try:
            with translating(self.path):
                outcomes = self._steps(operations, durable)
                if self._trim:
                    self._trim_log()
                return outcomes
        except BaseException as error:  # as above
            if len(operations) == 1:
                return [error]
        finally:
            try:
                self._turnstile.leave()
            except BaseException:  # an interrupt before it had begun; everybody would wait for this process
                self._turnstile.leave()
                raise
            self.ringer.ring()
        return [self._write_all([operation], durable)[0] for operation in operations]

    def _begin(self, durable: bool) -> None:
        if durable is not self._durable:
            self.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
            self._durable = durable
        self.execute("BEGIN IMMEDIATE")

    def _steps(self, operations: Sequence[Callable[[Database, float], Any]], durable: bool) -> list[Any]:
        try:
            self._begin(durable)
            if len(operations) == 1:
                outcomes = [self._step(operations[0])]
            else:
                outcomes = [self._step_among_others(operation) for operation in operations]
            self.execute("COMMIT")
        except BaseException:
            self._forget()
            if self.connection.in_transaction:
                self.execute("ROLLBACK")
            raise
        return outcomes

    def _step(self, operation: Callable[[Database, float], T]) -> T:
        outcome = operation(self, self._clock())
        for queue, moved in self._moved.items():
            self.execute(_SQL["count"], (queue, *msgspec.structs.astuple(moved)))
        self._moved.clear()
        return outcome

    def _step_among_others(self, operation: Callable[[Database, float], Any]) -> Any:
        self.execute("SAVEPOINT step")
        try:
            outcome = self._step(operation)
        except Exception as error:  # the answer to whoever asked, and to nobody else
            if (
                not self.connection.in_transaction
            ):  # SQLite gave up the whole of it, as where the disk is full
                raise
            self.execute("ROLLBACK TO step")
            self._queues.clear()
            self._moved.clear()
            outcome = translated(self.path, error) if isinstance(error, apsw.Error) else error
        self.execute("RELEASE step")
        return outcome

    def read(self, operation: Callable[[Database, float], T]) -> T:
        """Runs ``operation``, which only reads, on one state of the file."""
        with self._using, translating(self.path):
            self.open()
            try:
                self.execute("BEGIN")
                return operation(self, self._clock())
            finally:
                if self.connection.in_transaction:
                    self.execute("COMMIT")

    def trim_after_commit(self) -> None:
        """Empties the write-ahead log after this transaction where it has grown: its file never shrinks by itself."""
        self._trim = True

    def _trim_log(self) -> None:
        self._trim = False
        log = Path(f"{self.path}-wal")
        if log.exists() and log.stat().st_size > _LONGEST_LOG_BYTES:
            # Everybody waits meanwhile. Where somebody reads, the next round tries again.
            self.connection.set_busy_timeout(_TRIM_WAITS_MS)
            try:
                # What was written is committed: whatever keeps the log long is no failure of that.
                with suppress(apsw.Error):
                    self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            finally:
                self.connection.set_busy_timeout(self._busy_ms)

    # What operations use

    @property
    def connection(self) -> Connection:
        """The connection, opened."""
        if self._connection is None:
            raise BrokerUnavailable(f"SQLite file {self.path}: it was closed")
        return self._connection

    def execute(self, statement: str, bindings: Bindings = ()) -> Cursor:
        """Runs one statement."""
        return self.connection.execute(statement, bindings)

    def one(self, statement: str, bindings: Bindings = ()) -> Any:
        """The first row, or None."""
        cursor = self.connection.execute(statement, bindings)
        row = cursor.fetchone()
        cursor.close()
        return row

    def rows(self, statement: str, bindings: Bindings = ()) -> list[Any]:
        """All rows."""
        return self.connection.execute(statement, bindings).fetchall()

    def many(self, statement: str, bindings: Iterable[Bindings]) -> None:
        """Runs one statement for each of ``bindings``."""
        self.connection.executemany(statement, bindings)

    def queue(self, name: str) -> int | None:
        """The key of a queue; None where it has never been used."""
        key = self._queues.get(name)
        if key is None:
            row = self.one(_SQL["queue"], (self.namespace, name))
            if row is None:
                return None
            key = self._queues[name] = row[0]
        return key

    def add_queue(self, name: str) -> int:
        """The key of a queue, made where it is new."""
        key = self.queue(name)
        if key is None:
            (key,) = self.one(_SQL["add_queue"], (self.namespace, name))
            self._queues[name] = key
        return int(key)

    def moved(self, queue: int) -> Moved:
        """What is counted in a queue when this step ends."""
        moved = self._moved.get(queue)
        if moved is None:
            moved = self._moved[queue] = Moved()
        return moved

    def draw(self, count: int) -> int:
        """The first of ``count`` numbers that were never drawn before."""
        (last,) = self.one(_SQL["draw"], (count,))
        return int(last) - count + 1

    def draw_front(self, count: int) -> int:
        """The first of ``count`` places before all others."""
        (first,) = self.one(_SQL["draw_front"], (count,))
        return int(first)


# After a fork in the middle of a call: what must never be closed, and the files that cannot be used here any more.
_leaked: list[object] = []
_half_written: set[Path] = set()
