"""The file that a URL names: where it may lie, who may use it, and its schema."""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from penstock.brokers.sqlite.driver import Connection
from penstock.brokers.sqlite.statements import script, statements
from penstock.errors import BrokerMisconfigured

VERSION: Final = 2
_UPGRADES: Final = statements("upgrade")
# "PENS", so that `file` and other tools can tell.
_APPLICATION_ID: Final = 0x50454E53
# Two writing processes can damage a file of an older SQLite (https://www.sqlite.org/wal.html#walresetbug).
_OLDEST_SQLITE: Final = (3, 51, 3)
# Readable and writable for owner and group, less the umask; jobs are nobody else's business.
_MODE: Final = 0o660

MOUNTS: Path = Path("/proc/self/mountinfo")

# SQLite's shared memory does not reach over a network, and its locks seldom do.
_NETWORK: Final = re.compile(
    r"9p|afs|beegfs|ceph|cifs|coda|davfs|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|prl_fs|smb3|smbfs|vboxsf|vmhgfs"
    r"|fuse\.(ceph|gcsfuse|glusterfs|goofys|grpcfuse|juicefs|rclone|s3fs|sshfs|vmhgfs-fuse)"
)
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})

# Making a file closes it again, and closing any descriptor of a file drops all of this process's locks on it.
_making = threading.Lock()


def path_of(url: str) -> Path:
    """The absolute path in a URL that ``penstock.brokers.address`` made."""
    return Path(url.removeprefix("sqlite:///"))


def check_place(path: Path) -> list[str]:
    """Warnings about where the file lies.

    Raises:
        BrokerMisconfigured: No file can be there, or it would lose jobs.
    """
    folder = path.parent
    if not folder.is_dir():
        raise BrokerMisconfigured(
            f"SQLite file {path}: there is no folder {folder}; make it, or name another file"
        )
    if path.is_dir():
        raise BrokerMisconfigured(f"SQLite file {path}: this is a folder; name a file in it")
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < _OLDEST_SQLITE:
        raise BrokerMisconfigured(
            f"SQLite {apsw.sqlite_lib_version()} can damage a file that two processes write to; install apsw from its"
            " wheel, which carries a newer one"
        )
    kind = _file_system(folder)
    if _NETWORK.fullmatch(kind):
        raise BrokerMisconfigured(
            f"SQLite file {path}: it lies on a network file system ({kind}), where SQLite's locks lose jobs; name a"
            " file on a local disk, or use redis:// for several machines"
        )
    if kind in _IN_MEMORY:
        return [f"SQLite file {path} lies in memory ({kind}): its jobs are gone when the machine restarts"]
    if kind.startswith("fuse") or kind == "virtiofs":
        return [f"SQLite file {path} lies on {kind}: make sure that it is a local disk and knows locks"]
    return []


def _file_system(folder: Path) -> str:
    """The type of the file system that holds ``folder``, or an empty text where the system does not tell."""
    try:
        text = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:  # not Linux
        return ""
    best, kind = -1, ""
    for line in text.splitlines():
        fields, dash, rest = line.partition(" - ")
        if not dash:
            continue
        point = Path(_unescaped(fields.split(" ")[4]))
        # The last of several mounts on one point hides the others.
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, character)
    return text


def make(path: Path) -> os.stat_result:
    """Makes the file where it is not there; what it is."""
    with _making:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
        return path.stat()


def is_still(path: Path, made: os.stat_result) -> bool:
    """Whether ``path`` is the file that it was, not removed nor replaced."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino)


def prepare(connection: Connection, path: Path) -> None:
    """Gives an empty file its schema, and an older one what it lacks; to be called where no other process is writing.

    Raises:
        BrokerMisconfigured: It is another program's, or a newer Penstock's, or cannot be written.
    """
    if connection.readonly("main"):
        raise BrokerMisconfigured(
            f"SQLite file {path}: it can only be read; give this user write permission for the file and its folder"
        )
    if _version(connection, path) == VERSION:
        return
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        raise BrokerMisconfigured(
            f"SQLite file {path}: its file system has no shared memory (journal mode {mode!r}); name a file on a local"
            " disk"
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read now that nobody else can change it: another process may have been faster since.
        version = _version(connection, path)
        if version:
            for newer in range(version + 1, VERSION + 1):
                connection.execute(_UPGRADES[f"to_{newer}"])
        else:
            connection.execute(script("schema"))
            connection.pragma("application_id", _APPLICATION_ID)
        connection.pragma("user_version", VERSION)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _version(connection: Connection, path: Path) -> int:
    """Of the file's schema, not above this Penstock's; 0 where it is empty."""
    ours = connection.pragma("application_id") == _APPLICATION_ID
    version = connection.pragma("user_version")
    if not ours:
        if version or connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            raise BrokerMisconfigured(
                f"SQLite file {path}: it holds another program's tables; give Penstock a file of its own"
            )
        return 0
    if not 1 <= version <= VERSION:
        raise BrokerMisconfigured(
            f"SQLite file {path}: its schema has version {version}, this Penstock knows {VERSION}; use the Penstock"
            " that made it, or a newer one"
        )
    return int(version)
