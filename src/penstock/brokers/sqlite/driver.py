"""The little of apsw that is used here, with the types that its own stubs leave open."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, cast

import apsw

# Statements are few, and none is made up at run time: all of them stay prepared.
_STATEMENTS_CACHED: Final = 200


class Cursor(Protocol):
    """The rows of a statement."""

    def __iter__(self) -> Cursor: ...
    def __next__(self) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def close(self) -> None: ...


class Connection(Protocol):
    """A connection to a file."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, statements: str, bindings: Sequence[Any] = ()) -> Cursor: ...
    def executemany(self, statements: str, sequenceofbindings: Iterable[Sequence[Any]]) -> Cursor: ...
    def pragma(self, name: str, value: str | int | None = None) -> Any: ...
    def config(self, op: int, *args: int) -> int: ...
    def readonly(self, name: str) -> bool: ...
    def changes(self) -> int: ...
    def total_changes(self) -> int: ...
    def set_busy_timeout(self, milliseconds: int) -> None: ...
    def wal_checkpoint(self, dbname: str | None = None, mode: int = 0) -> tuple[int, int]: ...
    def close(self) -> None: ...


_carray: Final = cast(Any, apsw).carray


def keys(numbers: Iterable[int]) -> Any:
    """Keys as one binding, for ``IN carray(?)``."""
    # It refuses to be empty; no key is 0.
    return _carray(array("q", numbers) or array("q", (0,)))


def ids(texts: Iterable[str]) -> Any:
    """Ids as one binding; at least one."""
    return _carray(tuple(texts))


def connect(path: str) -> Connection:
    """Opens a file that is there."""
    connection = apsw.Connection(
        path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=_STATEMENTS_CACHED
    )
    return cast(Connection, connection)
