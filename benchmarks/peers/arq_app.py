"""ARQ: coroutines, pickled, a job stays in the queue until it has run, results kept for an hour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from benchmarks.peers import marks, settings

BEST = settings.SETTING.startswith("best")
if BEST:
    import uvloop

    # The worker asks asyncio for a loop of its own accord.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

# For `--custom-log-dict`: by default it writes two lines for each job.
QUIET: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"arq": {"level": "WARNING"}},
}

_pool: list[ArqRedis] = []


async def noop(context: dict[Any, Any], number: int) -> int:
    return marks.noop(number)


async def nap(context: dict[Any, Any], number: int, seconds: float) -> int:
    return await marks.async_nap(number, seconds)


class WorkerSettings:
    functions = (noop, nap)
    redis_settings = RedisSettings.from_dsn(settings.REDIS_URL)
    if BEST:
        max_jobs = settings.CONCURRENCY
        poll_delay = 0.01
        keep_result = 0
        log_results = False


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    _pool.append(await create_pool(RedisSettings.from_dsn(settings.REDIS_URL)))
    yield
    await _pool.pop().aclose()


async def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = settings.TASK[kind], settings.ARGUMENTS[kind]
    for number in numbers:
        await _pool[0].enqueue_job(task, number, *more)
