"""ardiq: coroutines under a core in Rust, on Redis streams, acknowledged late, results kept for 5 minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ardiq import Ardiq

from benchmarks.peers import marks, settings

MORE: dict[str, Any] = {}
if settings.SETTING.startswith("best"):
    MORE = {"concurrency": settings.CONCURRENCY, "prefetch": 4 * settings.CONCURRENCY}
if settings.SETTING.startswith("best unstored"):
    MORE["result_ttl_ms"] = 0
app = Ardiq(redis_url=settings.REDIS_URL, **MORE)


@app.task
async def noop(number: int) -> int:
    return marks.noop(number)


@app.task
async def nap(number: int, seconds: float) -> int:
    return await marks.async_nap(number, seconds)


TASKS = {"noop": noop, "nap": nap}


async def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        await task.enqueue(number, *more)


async def enqueue_many(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    await app.enqueue_many([task.prepare(number, *more) for number in numbers])
