"""The file in which a worker says that it lives, for ``penstock health`` on the same host.

One small JSON file a worker process, mode 0600, replaced after each answered beat, at most once a second, and removed
when the worker ends in order. Whoever reads it needs neither the application nor a driver.

A process is known by its id and by when it started, so that a file which a killed worker left is not taken for that of
another process that has the same id now, as after the restart of a container. Moments are compared by the monotonic
clock, which all processes of a host share: a clock that is set changes nothing.

The folder may be among the temporary files, or in a place that others may write to as well. So nothing is trusted:
the folder of a user is that user's alone, or is not used; a file is read when it is a regular one of the same user that
nobody else may write to, and what others put there counts for nothing and against nobody; no link is followed, nothing
is opened that could block, what a file says is checked.
Files are written by a thread of their own, because a disk may hang, and the worker's I/O loop may not.

Imports next to nothing: a probe is run every few seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from penstock.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EVERY_S: Final = 1.0
# A worker of a very short lease writes no more often than every second, so it is not silent before that.
LEAST_SILENCE_S: Final = 5.0
# How long the end of a worker waits for a disk.
END_WITHIN_S: Final = 1.0
# What a killed worker was just writing is removed after so long.
LEFT_OVER_S: Final = 60.0
_FILE: Final = re.compile(r"worker-[0-9]{1,10}\.json", re.ASCII)
_FRESH: Final = re.compile(r"worker-[0-9]{1,10}\.(?:[0-9a-f]{16}\.)?new", re.ASCII)
_LARGEST_FILE: Final = 65_536
_HIGHEST_PID: Final = 2**31
_YEAR_10000: Final = 253_402_300_800.0
_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_WAITING: Final = getattr(os, "O_NONBLOCK", 0)
_OTHERS_MAY_WRITE: Final = 0o022


class Unsafe(ConfigError):
    """The folder of a user is not that user's alone."""


class Seen(NamedTuple):
    """What a worker's file says.

    Attributes:
        id: Its incarnation.
        pid: Its process id.
        process: When that process started, as the system counts; empty where that is not known.
        host: Where it runs.
        app: The application's name.
        broker: The broker's URL without its password.
        state: running, quiet or stopping.
        lease_s: How long its broker waits for it.
        seen_at: Its last answered beat, seconds since the epoch.
        mono_seen_at: The same, by the monotonic clock.
    """

    id: str
    pid: int
    process: str
    host: str
    app: str
    broker: str
    state: str
    lease_s: float
    seen_at: float
    mono_seen_at: float

    @property
    def silent_after_s(self) -> float:
        """How long it may be silent."""
        return max(self.lease_s, LEAST_SILENCE_S)

    @property
    def lives(self) -> bool:
        """Whether its process is there."""
        return process_started(self.pid) == self.process


class Files(NamedTuple):
    """What there is in a folder.

    Attributes:
        read: The files of this host's workers, and what they say; for one that cannot be used, why.
        others: How many belong to other users; nothing that they say is believed, so nothing is asked of them.
    """

    read: list[tuple[Path, Seen | str]]
    others: int


class Heartbeat:
    """The worker's side.

    Args:
        folder: Where the file goes.
        told: What it says of the worker that does not change: ``id``, ``app``, ``broker``, ``lease_s``.
        say: Told once when the file cannot be written any more.
        private: Whether the folder must be this user's alone; False for one that the settings name.
    """

    def __init__(
        self, folder: Path, told: Mapping[str, object], say: Callable[[str], None], *, private: bool = False
    ) -> None:
        pid = os.getpid()
        process = {"pid": pid, "process": process_started(pid) or "", "host": host_name()}
        self._told = {**told, **process}
        self._folder = folder
        self._file = folder / f"worker-{pid}.json"
        self._private = private
        self._say = say
        self._said = False
        self._mono_next = 0.0
        self._content = ""
        self._ends = False
        self._news = threading.Condition()
        self._writer: threading.Thread | None = None

    def beat(self, state: str) -> None:
        """The broker has answered a beat. Never waits for a disk."""
        now = time.monotonic()
        if now < self._mono_next:
            return
        self._mono_next = now + EVERY_S
        content = json.dumps({**self._told, "state": state, "seen_at": time.time(), "mono_seen_at": now})
        with self._news:
            self._content = content  # one that was not written yet is out of date
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write_all, name="penstock-heartbeat", daemon=True
                )
                self._writer.start()
            self._news.notify()

    def end(self) -> None:
        """The worker ends in order."""
        with self._news:
            self._ends = True
            self._news.notify()
        if self._writer is not None:
            self._writer.join(END_WITHIN_S)

    def _write_all(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._content or self._ends)
                content, self._content = self._content, ""
                if self._ends:
                    break
            try:
                self._write(content)
            except (OSError, Unsafe) as error:
                if not self._said:
                    self._said = True
                    why = error.strerror if isinstance(error, OSError) else error
                    self._say(f"the heartbeat file {self._file} cannot be written: {why}; penstock health "
                              "will take this worker for silent")  # fmt: skip
            else:
                self._said = False
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _write(self, content: str) -> None:
        _make(self._folder, private=self._private)  # somebody may have tidied up
        # A name that nobody can guess, and none that is there already.
        fresh = self._file.with_suffix(f".{os.urandom(8).hex()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
            fresh.replace(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise


def run_folder(given: str) -> Path:
    """Where the files are: the folder that the settings name, else one of this user's among the temporary files."""
    if given:
        return Path(given)
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return Path(os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp") / f"penstock-{user}"  # noqa: S108 - its owner is checked


def open_folder(given: str) -> Path:
    """The same folder, made where it is missing, without what killed workers left in it.

    Raises:
        ConfigError: It cannot be written, or is somebody else's.
    """
    folder = run_folder(given)
    try:
        _make(folder, private=not given)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder} cannot be written")
        _tidy(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error
    for file, seen in read_all(folder).read:
        if isinstance(seen, Seen) and not seen.lives:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
    return folder


def check_folder(folder: Path) -> None:
    """Refuses a folder among the temporary files that is not this user's alone.

    Raises:
        Unsafe: It is somebody else's, open to others, a link, or no folder.
        OSError: It is not there, or cannot be looked at.
    """
    status = folder.stat(follow_symlinks=False)
    if not hasattr(os, "getuid"):  # Windows: a user's temporary files are that user's
        return
    if not stat.S_ISDIR(status.st_mode):
        raise Unsafe(f"{folder} is no folder, or a link to one")
    if status.st_uid != os.getuid() or status.st_mode & _OTHERS_MAY_WRITE:
        raise Unsafe(f"{folder} belongs to somebody else or is open to others")


def _make(folder: Path, *, private: bool) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if private:
        check_folder(folder)


def _tidy(folder: Path) -> None:
    for file in folder.iterdir():
        if _FRESH.fullmatch(file.name):
            with contextlib.suppress(OSError):
                if time.time() - file.stat(follow_symlinks=False).st_mtime > LEFT_OVER_S:
                    file.unlink()


def read_all(folder: Path) -> Files:
    """The files of this host's workers that are this user's, and how many are not.

    Raises:
        OSError: The folder cannot be read.
    """
    found: list[tuple[Path, Seen | str]] = []
    others = 0
    here = host_name()
    for file in sorted(folder.iterdir()):
        if not _FILE.fullmatch(file.name):
            continue
        try:
            seen: Seen | str | None = _read(file)
        except FileNotFoundError:  # it has just ended
            continue
        except OSError as error:
            seen = f"cannot be read ({error.strerror})"
        if seen is None:
            others += 1
        elif isinstance(seen, str) or seen.host == here:
            found.append((file, seen))
    return Files(found, others)


def _read(file: Path) -> Seen | str | None:
    """What it says; why it cannot be used; None where it is another user's."""
    # A pipe would be waited on, and a device may do anything when it is opened: look first, and again at what is open.
    status = file.stat(follow_symlinks=False)
    if _is_of_another(status):
        return None
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    descriptor = os.open(file, os.O_RDONLY | _NO_LINKS | _NO_WAITING)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "is no regular file"
        if _is_of_another(status):  # it has just been put in the place of what was looked at
            return None
        if hasattr(os, "getuid") and status.st_mode & _OTHERS_MAY_WRITE:
            return "may be written to by others"
        data = opened.read(_LARGEST_FILE + 1)
    return _understood(data) or "is not what a worker writes"


def _is_of_another(status: os.stat_result) -> bool:
    return hasattr(os, "getuid") and status.st_uid != os.getuid()


def _understood(data: bytes) -> Seen | None:
    try:
        said: object = json.loads(data) if len(data) <= _LARGEST_FILE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    fields = cast("dict[str, Any]", said)
    words = [fields.get(name) for name in ("id", "process", "host", "app", "broker", "state")]
    numbers = [fields.get(name) for name in ("lease_s", "seen_at", "mono_seen_at")]
    pid: Any = fields.get("pid")
    fits = (
        # Nothing that would do something to the terminal on which it is shown.
        all(isinstance(word, str) and word.isprintable() for word in words)
        and all(_is_moment(number) for number in numbers)
        and type(pid) is int
        and 0 < pid < _HIGHEST_PID
        # One from the future would seem fresh for ever.
        and fields["mono_seen_at"] <= time.monotonic()
    )
    return Seen(**{name: fields[name] for name in Seen._fields}) if fits else None


def _is_moment(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _YEAR_10000


def host_name() -> str:
    """This host's name, or this container's."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def process_started(pid: int) -> str | None:
    """When a process started, as the system counts; empty where it does not say; None where there is none such."""
    try:
        said = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        pass
    else:
        state, *fields = said.rpartition(b")")[2].split()
        return None if state in b"ZX" else fields[18].decode()
    if Path("/proc/self/stat").exists():
        return None
    if os.name != "posix":  # where os.kill would end it
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
