"""SAQ on Redis: coroutines, JSON, kept as active while a job runs, and its record with the result for 10 minutes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue

from benchmarks.peers import marks
from benchmarks.peers import settings as told

BEST = told.SETTING.startswith("best")
if BEST:
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

queue = Queue.from_url(told.REDIS_URL)
# A record that lives for no time is not kept.
MORE: dict[str, Any] = {"ttl": -1} if BEST else {}


async def noop(context: Any, *, number: int) -> int:
    return marks.noop(number)


async def nap(context: Any, *, number: int, seconds: float) -> int:
    return await marks.async_nap(number, seconds)


settings = {"queue": queue, "functions": [noop, nap]}
if BEST:
    settings |= {"concurrency": told.CONCURRENCY}


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    await queue.connect()
    yield
    await queue.disconnect()


async def enqueue(kind: str, numbers: Sequence[int]) -> None:
    more = MORE | dict(zip(("seconds",), told.ARGUMENTS[kind], strict=False))
    for number in numbers:
        await queue.enqueue(told.TASK[kind], number=number, **more)
