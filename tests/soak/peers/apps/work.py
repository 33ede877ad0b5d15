"""The work, and what is left of it: the lines that ``tests.faults.verdict`` reads. Standard library only."""

from __future__ import annotations

import asyncio
import os
import time


def note(what: str, key: str) -> None:
    """Appends a line in one write. The file is opened for each, so that forked children share nothing."""
    line = f"{what} {key} {os.getpid()} {time.monotonic_ns()}\n"
    file = os.open(os.environ["FAULTS_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def job(key: str, seconds: float) -> None:
    """A job that waits, as most do."""
    note("start", key)
    time.sleep(seconds)
    note("end", key)


async def async_job(key: str, seconds: float) -> None:
    """The same on an event loop."""
    note("start", key)
    await asyncio.sleep(seconds)
    note("end", key)
