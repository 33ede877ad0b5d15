"""The processes that are measured, and what the kernel knows of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_STOP_WITHIN_S = 15.0
_ACT_WITHIN_S = 300.0
_UNSET = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")


class RunFailed(Exception):
    """A run did not do what it was meant to, so that it has no figure."""


def environment(url: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a measured process is started with."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _UNSET and not name.startswith("PENSTOCK_")
    }
    return kept | {"PENSTOCK_BROKER_URL": url} | dict(more or {})


def act(name: str, url: str, *args: object) -> Any:
    """Runs one of ``actors`` in a process of its own, and returns what it tells."""
    command = [sys.executable, "-m", "benchmarks.actors", name, url, *map(str, args)]
    return in_process(command, url)


def bare_worker(url: str, count: int) -> Any:
    """The bare loop as a process: its first job's moment and its peak memory."""
    # As the console script of Penstock starts: without runpy.
    code = "from benchmarks.bare_worker import main; main()"
    return in_process([sys.executable, "-c", code, url, str(count)], url)


def in_process(command: list[str], url: str) -> Any:
    """Runs a command that prints JSON."""
    mono_spawned = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment(url), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RunFailed(f"{command[1:]} ended with status {done.returncode}")
    told = json.loads(done.stdout)
    return told | {"mono_spawned": mono_spawned} if isinstance(told, dict) else told


class Acting:
    """One of ``actors`` at work while something else is done; killed if it still runs at the end."""

    def __init__(self, name: str, url: str, *args: object) -> None:
        command = [sys.executable, "-m", "benchmarks.actors", name, url, *map(str, args)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(url), stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Acting:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.communicate()

    def told(self) -> Any:
        """What it tells when it has ended."""
        text = self._process.communicate(timeout=_ACT_WITHIN_S)[0]
        if self._process.returncode:
            raise RunFailed(f"it ended with status {self._process.returncode}")
        return json.loads(text)


def worker_command(app: str, concurrency: int, *options: str) -> list[str]:
    """A worker as users start it."""
    return [
        sys.executable,
        "-m",
        "penstock",
        "-A",
        app,
        "worker",
        "-c",
        str(concurrency),
        "-l",
        "warning",
        *options,
    ]


class WorkerProcess:
    """A real worker in a process of its own, without its guard; stopped at the end.

    Attributes:
        mono_spawned: The moment just before the process was made.
    """

    def __init__(self, app: str, url: str, *options: str, concurrency: int = 10, guard: bool = False) -> None:
        self.mono_spawned = time.monotonic()
        self._process = subprocess.Popen(
            worker_command(app, concurrency, *options),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment(url, {"PENSTOCK_GUARD": "1" if guard else "0"}),
            start_new_session=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raises where it is gone."""
        status = self._process.poll()
        if status is not None:
            raise RunFailed(f"the worker ended with status {status}")

    def stop(self) -> int:
        """Asks it to drain; one that does not end is killed, with its children."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()
                raise RunFailed(f"the worker did not stop within {_STOP_WITHIN_S:g} s") from None
        return self._process.returncode

    def peak_mb(self) -> float:
        """The most memory that it has held at once, in MB of 1,048,576 bytes."""
        return peak_mb(self.pid)

    def cpu_s(self) -> float:
        """The processor time of all its threads so far."""
        return cpu_s(self.pid)


def peak_mb(pid: int) -> float:
    """VmHWM. (``ru_maxrss`` would not do: over an exec it keeps what the parent held.)"""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RunFailed(f"process {pid} is gone")


def cpu_s(pid: int) -> float:
    """User and system time; from the scheduler's own figures, since ticks are of 10 ms."""
    return sum(
        int((thread / "schedstat").read_text().split()[0]) / 1e9
        for thread in Path(f"/proc/{pid}/task").iterdir()
    )
