"""The same application with tasks in the other lanes."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from tests.faults.app import app as app
from tests.faults.app import note
from tests.faults.app import on_thread as on_thread
from tests.faults.app import tick as tick


@app.task(retry=False)
async def on_loop(key: str, seconds: float) -> str:
    note(f"start {key}")
    await asyncio.sleep(seconds)
    note(f"end {key}")
    return key


@app.task(retry=False, lane="process")
def in_process(key: str, seconds: float) -> str:
    note(f"start {key}")
    time.sleep(seconds)
    note(f"end {key}")
    return key


@app.task(retry=False, lane="process")
def kill_own_child(key: str) -> None:
    """Poison that its worker survives."""
    note(f"start {key}")
    os.kill(os.getpid(), signal.SIGKILL)
