"""SQLite's errors as Penstock's: by cause, naming the file, saying what to do. A job's body never stands in them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from penstock.errors import BrokerError, BrokerMisconfigured, BrokerRejected, BrokerUnavailable

_Kinds = tuple[type[BaseException], ...]

# What is raised, for which of apsw's errors, and what it means to whoever reads it.
_MEANINGS: Final[tuple[tuple[_Kinds, type[BrokerError], str], ...]] = (
    (
        (apsw.BusyError, apsw.LockedError, apsw.ProtocolError),
        BrokerUnavailable,
        "another process has held its write lock for too long; is one of them stopped, or is it open in a tool?",
    ),
    ((apsw.FullError,), BrokerRejected, "the disk is full, or its quota; make room"),
    (
        (apsw.ReadOnlyError,),
        BrokerRejected,
        "it cannot be written; give this user write permission for the file and its folder",
    ),
    (
        (apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError),
        BrokerMisconfigured,
        "it cannot be opened; this user needs to read and write the file, and its folder must exist and be writable",
    ),
    (
        (apsw.NotADBError, apsw.FormatError),
        BrokerMisconfigured,
        "it is not a SQLite database; name another file, or move this one away",
    ),
    (
        (apsw.CorruptError,),
        BrokerRejected,
        "it is damaged; stop the workers, keep a copy, and try sqlite3's .recover on it",
    ),
    (
        (apsw.IOError,),
        BrokerUnavailable,
        "the disk gave an error, so the last change may be lost or stored; look at the system's log",
    ),
    ((apsw.NoMemError, MemoryError), BrokerUnavailable, "there is no memory left"),
    ((apsw.InterruptError,), BrokerUnavailable, "the call was interrupted"),
    ((apsw.TooBigError,), BrokerRejected, "a value is above SQLite's limit of 1 GB"),
)


def translated(path: Path, error: BaseException) -> BrokerError:
    """``error`` as Penstock's own, by its cause."""
    for kinds, kind, meaning in _MEANINGS:
        if isinstance(error, kinds):
            return kind(f"SQLite file {path}: {meaning} ({type(error).__name__})")
    # What is left is a mistake of ours or a file whose schema was changed by hand; the text names no values.
    return BrokerRejected(f"SQLite file {path}: {type(error).__name__}: {error}")


@contextmanager
def translating(path: Path) -> Generator[None, None, None]:
    """Lets no error of SQLite's or of the file system's through."""
    try:
        yield
    except BrokerError:  # said already; one of them is an OSError too
        raise
    except apsw.Error as error:
        raise translated(path, error) from error
    except PermissionError as error:
        raise BrokerMisconfigured(
            f"SQLite file {path}: {error.strerror}: {error.filename}; this user needs to read and write the file and"
            " its folder"
        ) from error
    except OSError as error:
        raise BrokerUnavailable(f"SQLite file {path}: {error.strerror or type(error).__name__}") from error
