"""The file in which a worker says that it lives, for ``penstock health`` on the same host.

One small JSON file a worker process, mode 0600, replaced after each answered beat, at most once a second, and removed
when the worker ends in order. Whoever reads it needs neither the application nor a driver.

A process is known by its id and by when it started, so that a file which a killed worker left is not taken for that of
another process that has the same id now, as after the restart of a container. Moments are compared by the monotonic
clock, which all processes of a host share: a clock that is set changes nothing.

Imports next to nothing: a probe is run every few seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EVERY_S: Final = 1.0
# A worker of a very short lease writes no more often than every second, so it is not silent before that.
LEAST_SILENCE_S: Final = 5.0
_PREFIX: Final = "worker-"
_SUFFIX: Final = ".json"


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


class Heartbeat:
    """The worker's side.

    Args:
        folder: Where the file goes.
        told: What it says of the worker that does not change: ``id``, ``app``, ``broker``, ``lease_s``.
        say: Told once when the file cannot be written any more.
    """

    def __init__(self, folder: Path, told: Mapping[str, object], say: Callable[[str], None]) -> None:
        pid = os.getpid()
        process = {"pid": pid, "process": process_started(pid) or "", "host": host_name()}
        self._told = {**told, **process}
        self._folder = folder
        self._file = folder / f"{_PREFIX}{pid}{_SUFFIX}"
        self._say = say
        self._said = False
        self._mono_next = 0.0

    def beat(self, state: str) -> None:
        """The broker has answered a beat."""
        now = time.monotonic()
        if now < self._mono_next:
            return
        self._mono_next = now + EVERY_S
        content = json.dumps({**self._told, "state": state, "seen_at": time.time(), "mono_seen_at": now})
        try:
            self._write(content)
        except OSError as error:
            if not self._said:
                self._said = True
                self._say(f"the heartbeat file {self._file} cannot be written: {error.strerror}; penstock health "
                          "will take this worker for silent")  # fmt: skip
        else:
            self._said = False

    def _write(self, content: str) -> None:
        fresh = self._file.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        try:
            descriptor = os.open(fresh, flags, 0o600)
        except FileNotFoundError:  # somebody has tidied up
            _make(self._folder)
            descriptor = os.open(fresh, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        fresh.replace(self._file)

    def end(self) -> None:
        """The worker ends in order."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


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
        _make(folder)
        if not given and hasattr(os, "getuid"):
            status = folder.stat(follow_symlinks=False)
            if status.st_uid != os.getuid() or status.st_mode & 0o022:
                raise ConfigError(f"{folder} belongs to somebody else or is open to others")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder} cannot be written")
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error
    for file, seen in read_all(folder):
        if seen is not None and not seen.lives:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
    return folder


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def read_all(folder: Path) -> list[tuple[Path, Seen | None]]:
    """The files of this host's workers, and what they say; None for one that cannot be read."""
    found: list[tuple[Path, Seen | None]] = []
    here = host_name()
    try:
        files = sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    except OSError:
        return found
    for file in files:
        try:
            said: dict[str, Any] = json.loads(file.read_bytes())
            seen = Seen(**{name: said[name] for name in Seen._fields})
        except FileNotFoundError:  # it has just ended
            continue
        except (OSError, ValueError, KeyError, TypeError):
            found.append((file, None))
            continue
        if seen.host == here:
            found.append((file, seen))
    return found


def host_name() -> str:
    """This host's name, or this container's."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def process_started(pid: int) -> str | None:
    """When a process started, as the system counts; empty where it does not say; None where there is none such."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        pass
    else:
        state, *fields = stat.rpartition(b")")[2].split()
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
