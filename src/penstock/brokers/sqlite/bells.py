"""Waking processes that wait: a Unix datagram socket each, in a folder beside the file.

A message says what happened: ``w`` and a consumer's key where there may be jobs for it, ``e`` and a job's key where
that has ended. It is a hint; who hears it looks at the file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from penstock.brokers.sqlite import forking
from penstock.brokers.sqlite.sharing import share

HEARD: Final = hasattr(socket, "AF_UNIX") and hasattr(os, "O_PATH") and Path("/proc/self/fd").is_dir()
"""Whether this system has such sockets, and a way to name one in a folder whose path is long."""

# A message may get lost; the file is looked at so often whatever the bell says.
_LOOK_AGAIN_S: Final = 1.0
# The same where nobody can ring.
_LOOK_WITHOUT_BELL_S: Final = 0.05
_log: Final = logging.getLogger(__name__)
_MESSAGE_BYTES: Final = 32
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")


def folder_of(database: Path) -> Path:
    """Where the sockets of a file's waiting processes lie."""
    return Path(f"{database}-wake")


class _Folder:
    """The folder, by a descriptor: a socket's whole path may have 107 bytes, and the file's may be longer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1

    def at(self, name: str) -> str:
        """A short path to ``name`` in the folder."""
        if self._file < 0:
            self._file = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._file}/{name}"

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class Ringer:
    """Rings the bells of others, after the commit of what they wait for."""

    def __init__(self, database: Path) -> None:
        self._folder = _Folder(folder_of(database))
        self._socket: socket.socket | None = None
        # Each is some bells of which one is to be rung, the first that can be; one entry however often it is asked for.
        self._one_of: dict[tuple[tuple[str, str], ...], None] = {}
        self.silent: set[str] = set()
        """Bells that nobody hears any more; the next transaction that may takes them out of the file."""

    def later(self, bells: Sequence[tuple[str, str]]) -> None:
        """After the commit, rings the first of ``bells`` (each with its message) that somebody hears."""
        if bells:
            self._one_of[tuple(bells)] = None

    def forget(self) -> None:
        """Nothing was committed: nobody is to be woken."""
        self._one_of.clear()

    def ring(self) -> None:
        """Rings what ``later`` has noted. Never blocks."""
        if not self._one_of:
            return
        asked, self._one_of = self._one_of, {}
        for bells in asked:
            for bell, message in bells:
                if self._send(bell, message):
                    break

    def _send(self, bell: str, message: str) -> bool:
        if not HEARD or bell in self.silent:
            return False
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(message.encode("ascii"), self._folder.at(bell))
        except BlockingIOError:  # it has been rung often and has not looked yet: it may be stopped
            return False
        except (FileNotFoundError, ConnectionRefusedError):
            # Nobody is there, or the folder was made anew meanwhile.
            self._folder.close()
            self.silent.add(bell)
            return False
        except OSError:  # it belongs to a user whom we may not write to; its owner looks every second
            return False
        return True

    def close(self) -> None:
        """Closes the socket. Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._folder.close()
        self._one_of.clear()


class Bell:
    """The bell of one broker: hears messages on its event loop and passes them on.

    Attributes:
        name: Of its socket.
        usable: This system has such sockets, and one could be made.
    """

    def __init__(self, database: Path, namespace: str) -> None:
        part = _NOT_IN_NAMES.sub("-", namespace)[:40]
        self.name: str = f"{part}-{token_hex(8)}"
        self.usable: bool = HEARD
        self._database = database
        self._folder = _Folder(folder_of(database))
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ears: dict[str, list[Callable[[], None]]] = {}

    @property
    def hung(self) -> bool:
        """Whether others can ring it."""
        return self._loop is not None

    @property
    def look_again_s(self) -> float:
        """How long to wait for it before the file is looked at all the same."""
        return _LOOK_AGAIN_S if self.hung else _LOOK_WITHOUT_BELL_S

    def make(self) -> None:
        """Makes the socket, with the mode and the group of the file; not on the loop. Safe to call twice."""
        if self._socket is not None or not self.usable:
            return
        try:
            self._socket = self._bound()
        except OSError as error:
            self.usable = False
            _log.warning(
                "SQLite file %s: no bell can be hung in %s (%s), so this worker looks for jobs every %g s",
                self._database,
                self._folder.path,
                error,
                _LOOK_WITHOUT_BELL_S,
            )
        else:
            forking.tell(self)

    def _bound(self) -> socket.socket:
        like = self._database.stat()
        folder = self._folder.path
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            share(folder, like)
        _sweep(folder, self._folder)
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            bell.setblocking(False)
            bell.bind(self._folder.at(self.name))
            share(folder / self.name, like)
        except BaseException:
            bell.close()
            raise
        return bell

    def hang(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hears on ``loop`` from now on. Safe to call twice."""
        if self._socket is not None and self._loop is None:
            loop.add_reader(self._socket.fileno(), self._hear)
            self._loop = loop

    def listen(self, message: str, ear: Callable[[], None]) -> None:
        """Calls ``ear`` for every such message, until ``leave``."""
        self._ears.setdefault(message, []).append(ear)

    def leave(self, message: str, ear: Callable[[], None]) -> None:
        """Ends ``listen``."""
        ears = self._ears.get(message, [])
        if ear in ears:
            ears.remove(ear)
        if not ears:
            self._ears.pop(message, None)

    def _hear(self) -> None:
        if self._socket is None:
            return
        while True:
            try:
                message = self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            for ear in tuple(self._ears.get(message.decode("ascii", "replace"), ())):
                ear()

    def before_fork(self) -> None:
        """See ``Forks``: there is nothing to close, and the loop may be running."""

    def after_fork(self, *, child: bool) -> None:
        """See ``Forks``: the child must not keep the bell of a parent that may die."""
        if child and self._socket is not None:
            self._socket.close()
            self._socket = self._loop = None

    def deafen(self) -> None:
        """Hears nothing any more; on the loop. Safe to call twice."""
        if self._loop is not None and self._socket is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._loop = None

    def take_down(self) -> None:
        """Removes the socket; not on the loop, and after ``deafen``. Safe to call twice."""
        bell, self._socket = self._socket, None
        if bell is not None:
            bell.close()
            with suppress(OSError):  # gone with its folder; or it is swept by the next one that is hung
                (self._folder.path / self.name).unlink()
        self._folder.close()


async def rings(rung: asyncio.Event, timeout_s: float) -> bool:
    """Waits until ``rung`` is set, at most ``timeout_s``; whether it was."""
    try:
        async with asyncio.timeout(timeout_s):
            await rung.wait()
    except TimeoutError:
        return False
    return True


def _sweep(path: Path, folder: _Folder) -> None:
    """Removes the sockets of processes that were killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        for bell in path.iterdir():
            try:
                probe.connect(folder.at(bell.name))
            except ConnectionRefusedError:
                with suppress(OSError):  # another process was quicker, or it is another user's
                    bell.unlink()
            except OSError:  # gone, or not ours to touch
                continue
