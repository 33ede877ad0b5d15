"""The same application with tasks in the other lanes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

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


_told: dict[int, asyncio.Task[None]] = {}


async def _until_told() -> None:
    told = Path(os.environ["FAULTS_EFFECTS"]).with_name("told")
    while not told.exists():  # noqa: ASYNC110 - another process makes the file; one look for all the jobs
        await asyncio.sleep(0.05)


@app.task(retry=False)
async def until_told(key: str) -> str:
    """Goes on until there is a file ``told`` beside the effects."""
    note(f"start {key}")
    if os.getpid() not in _told:
        _told[os.getpid()] = asyncio.create_task(_until_told())
    await asyncio.shield(_told[os.getpid()])
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
