"""What ``penstock doctor`` is told of a SQLite file: versions, size, room, who may use it."""

from __future__ import annotations

import shutil
import stat

import apsw

from penstock.brokers.sqlite.broker import SQLiteBroker
from penstock.brokers.sqlite.database import Database
from penstock.ports.inspector import Facts

_MIB = 1024 * 1024
_LEAST_ROOM_BYTES = 256 * _MIB


async def examine(broker: SQLiteBroker) -> Facts:
    """Looks at the file and the disk that it lies on. That it may be written was shown when it was opened."""
    return await broker.reader.run(lambda database, _now: _facts(database), durable=False)


def _facts(database: Database) -> Facts:
    path = database.path
    status, room = path.stat(), shutil.disk_usage(path.parent)
    problems: list[str] = []
    if status.st_mode & stat.S_IRWXO:
        problems.append(
            f"everybody on this machine may open {path}; jobs hold their arguments: chmod o= {path}"
        )
    if room.free < _LEAST_ROOM_BYTES:
        problems.append(f"the disk of {path} has {room.free // _MIB:,} MiB left; a full one refuses jobs")
    told = [
        ("permissions", f"may write; the file is {stat.filemode(status.st_mode)}"),
        ("file", f"{status.st_size / _MIB:,.1f} MiB"),
        ("disk free", f"{room.free // _MIB:,} MiB"),
    ]
    return Facts(f"SQLite {apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})", 0.0, told, problems)
