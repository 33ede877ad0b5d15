"""As ``noop_app``, in coroutines alone: an application of one lane, as most are."""

from __future__ import annotations

import asyncio
import time

from benchmarks import noop_app
from penstock import Penstock

app = Penstock("noop_async")


@app.task(name="noop", result_ttl=0)
async def noop(number: int, address: str) -> None:
    """Nothing, and nothing is kept."""
    noop_app.count()


@app.task(name="nap", result_ttl=0)
async def nap() -> None:
    """Sleeps 100 ms."""
    noop_app.count()
    await asyncio.sleep(0.1)
    noop_app.seen.last_mono = time.monotonic()


@app.task(name="told", result_ttl=0)
async def told(path: str) -> None:
    """See ``noop_app.told``."""
    noop_app.tell(path)
