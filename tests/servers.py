"""Servers that the tests start for themselves: on free loopback ports, in folders of their own, stopped by pid.

A server that was already running is never touched. Each server dies with the process that started it, however that
process ends: a watchdog holds the reading end of a pipe, and kills the server when the pipe closes. (A signal on the
parent's death would be shorter, but Linux sends it when the *thread* that started the server ends.)
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 10.0
_POLL_S = 0.005
_PORT_TRIES = 20
_WATCHDOG = 'read -r line; kill -9 "$1" 2>/dev/null'


class ServerFailed(Exception):
    """A server of the tests did not start or did not stop; the message holds the end of its log."""


def redis_program() -> str | None:
    """The path of the Redis server's program, or None where there is none."""
    return shutil.which(os.environ.get("PENSTOCK_TEST_REDIS_PROGRAM", "redis-server"))


class RedisServer:
    """One Redis server. As a context manager it is started and stopped; it may be killed and started in between.

    It keeps its port and its folder for life, so that what it made durable is there after ``kill()`` and ``start()``.
    By default it persists nothing.

    Args:
        folder: Where its data and its log go. Made when missing.
        appendonly: Keep an append-only file.
        appendfsync: When that file is forced to the disk: ``always``, ``everysec`` or ``no``.
        options: More settings, as in ``redis.conf``: ``{"maxmemory": "10mb"}``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        appendonly: bool = False,
        appendfsync: str = "everysec",
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port = 0
        self._settings = {
            "bind": "127.0.0.1",
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            **(options or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id; an error while it is down."""
        if self._process is None:
            raise ServerFailed("this Redis server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process is there, be it paused."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it, on the port that it had before if it had one, and returns once it answers and has its data."""
        if self.running:
            raise ServerFailed(f"this Redis server is running already, as process {self.pid}")
        self._reap()
        if self.port:
            self._launch(self.port)
            return
        for _ in range(_PORT_TRIES):
            # Somebody else may take the port between our look and the server's; then another one will do.
            port = free_port()
            with contextlib.suppress(_PortTaken):
                self._launch(port)
                self.port = port
                return
        raise ServerFailed(f"no free port in {_PORT_TRIES} tries")

    def stop(self) -> None:
        """Asks it to end (it forces its append-only file to the disk) and waits; one that does not is killed."""
        if self._process is None:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOPPED_WITHIN_S)
        self._reap()

    def kill(self) -> None:
        """Ends it at once, as a crash of it would (not as a loss of power: the page cache survives)."""
        self._reap()

    def restart(self) -> None:
        """Stops and starts it; the port stays the same."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freezes it: connections stay open and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on after ``pause()``."""
        os.kill(self.pid, signal.SIGCONT)

    def log(self, lines: int = 20) -> str:
        """The end of its log."""
        try:
            return "\n".join((self.folder / "redis.log").read_text().splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def _launch(self, port: int) -> None:
        program = redis_program()
        if program is None:
            raise ServerFailed(
                "redis-server is missing: `scripts/test` installs it as root, or says what to do"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {**self._settings, "port": str(port), "dir": str(self.folder)}
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        # Sessions of their own: Ctrl-C at the tests must reach neither before the tests have ended.
        with (self.folder / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, "watchdog", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_ready(port)
        except BaseException:
            self._reap()
            raise

    def _wait_until_ready(self, port: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                if "Address already in use" in self.log():
                    raise _PortTaken(f"port {port} is in use\n{self.log()}")
                raise ServerFailed(
                    f"the Redis server ended with status {self._process.returncode}\n{self.log()}"
                )
            if _answering_pid(port) == self._process.pid:
                return
            time.sleep(_POLL_S)
        raise ServerFailed(f"the Redis server is not ready after {READY_WITHIN_S:g} s\n{self.log()}")

    def _reap(self) -> None:
        process, self._process = self._process, None
        watchdog, self._watchdog = self._watchdog, None
        # The watchdog first, so that it never holds the pid of a process that is no more.
        for child in (watchdog, process):
            if child is not None:
                child.kill()
                child.wait()
                if child.stdin is not None:
                    child.stdin.close()


class _PortTaken(ServerFailed):
    pass


def free_port() -> int:
    """A loopback port that nobody listens on.

    It lies below the range from which Linux gives ports to outgoing connections, so that nobody gets it by chance
    while a server is down between ``kill()`` and ``start()``.
    """
    while True:
        port = random.SystemRandom().randrange(10_240, 32_000)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                return port


def _answering_pid(port: int) -> int | None:
    """The process id of the Redis on this port once it serves data; None before (refused, or still loading)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET penstock:ready\r\nINFO server\r\nQUIT\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    except OSError:
        return None
    if not answer.startswith(b"$-1\r\n"):
        return None
    for line in answer.splitlines():
        if line.startswith(b"process_id:"):
            return int(line.removeprefix(b"process_id:"))
    return None
