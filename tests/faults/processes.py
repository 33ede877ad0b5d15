"""Workers and producers as real processes, with their output kept and waited on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
# Applications: tasks on threads alone, which is the quick way through a worker; and tasks in all lanes;
# and the first with hooks and middleware that look at everything.
THREADS = "tests.faults.app"
LANES = "tests.faults.lanes:app"
TOLD = "tests.faults.told:app"
_END_WITHIN_S = 10.0


class Process:
    """A process in a session of its own. Ended, with all its descendants, when the block is left.

    Args:
        command: After the interpreter.
        environment: On top of this process's own.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._over = False
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if error is not None:
            error.add_note(
                f"--- the end of the output of process {self.pid}\n" + "\n".join(self.output()[-40:])
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> list[str]:
        """Every line that it and its children have written so far."""
        with self._news:
            return list(self._lines)

    def count(self, pattern: str) -> int:
        """Lines that hold ``pattern``."""
        return sum(1 for line in self.output() if re.search(pattern, line))

    def wait_for(self, pattern: str, within_s: float = 20.0, times: int = 1) -> None:
        """Waits until that many lines hold ``pattern``."""
        mono_until = time.monotonic() + within_s
        with self._news:
            while sum(1 for line in self._lines if re.search(pattern, line)) < times:
                left_s = mono_until - time.monotonic()
                if left_s <= 0 or (self._over and not self._reader.is_alive()):
                    shown = "\n".join(self._lines[-40:])
                    raise AssertionError(
                        f"process {self.pid} did not say {pattern!r} in {within_s:g} s\n{shown}"
                    )
                self._news.wait(min(left_s, 0.5))

    def wait(self, within_s: float) -> int:
        """Waits for its end; returns its exit code."""
        return self.process.wait(within_s)

    def all_gone(self, within_s: float) -> bool:
        """Waits until it and all its descendants have ended, which closes their common output."""
        self._reader.join(within_s)
        return not self._reader.is_alive()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        """Kills it and whatever it has started."""
        family = [self.pid, *descendants(self.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(_END_WITHIN_S)
        self._reader.join(_END_WITHIN_S)
        if not self._reader.is_alive() and self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()


def descendants(pid: int) -> list[int]:
    """The processes below ``pid``, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, below = [], [pid]
    while below:
        below = [child for parent in below for child in children.get(parent, ())]
        found += below
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended, be it not waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def worker(
    environment: Mapping[str, str],
    *,
    concurrency: int = 10,
    processes: int = 1,
    app: str = THREADS,
    more: Sequence[str] = (),
) -> Process:
    """A worker, not yet ready; ``ready(process)`` waits for it."""
    command = ["-m", "penstock", "-A", app, "worker", "-c", str(concurrency)]
    if processes > 1:
        command += ["--processes", str(processes)]
    return Process([*command, *more], environment)


def ready(process: Process, processes: int = 1) -> None:
    """Waits until a worker takes jobs."""
    process.wait_for("is ready", times=processes)
