"""The tasks that the faults are tried on, all of them on threads.

Each leaves lines in a file that is only appended to: what really ran.
A line is ``start|end KEY PID MONOTONIC_NS``; Linux's monotonic clock is the same for all processes of a machine.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from penstock import Penstock

app = Penstock("faults")

_files: dict[int, int] = {}


def note(*lines: str) -> None:
    """Appends lines in one write; a forked child opens the file anew."""
    pid = os.getpid()
    if pid not in _files:
        _files[pid] = os.open(os.environ["FAULTS_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    now = time.monotonic_ns()
    os.write(_files[pid], "".join(f"{line} {pid} {now}\n" for line in lines).encode())


@app.task(retry=False)
def on_thread(key: str, seconds: float) -> str:
    note(f"start {key}")
    if seconds:
        time.sleep(seconds)
    note(f"end {key}")
    return key


@app.task(retry=False, result_ttl=0)
def tick(key: str) -> None:
    """As little as a job can do and be seen."""
    note(f"start {key}", f"end {key}")


@app.task(retry=False)
def kill_own_process(key: str) -> None:
    """Poison."""
    note(f"start {key}")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(retry=False)
def as_told(key: str) -> int:
    """Goes on while the file ``told`` beside the effects says ``wait``; then fails, or returns its process."""
    note(f"start {key}")
    told = Path(os.environ["FAULTS_EFFECTS"]).with_name("told")
    while (order := told.read_text()) == "wait":
        time.sleep(0.01)
    note(f"end {key}")
    if order == "fail":
        raise ValueError("as told")
    return os.getpid()


@app.task(retry=False)
def hold_the_gil(key: str, seconds: int) -> None:
    """A call of C that never lets another thread run."""
    note(f"start {key}")
    ctypes.PyDLL(None).sleep(seconds)
    note(f"end {key}")


@app.task(retry=False)
def fail(key: str) -> None:
    note(f"start {key}")
    raise ValueError("on purpose")
