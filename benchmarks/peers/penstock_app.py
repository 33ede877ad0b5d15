"""Penstock, as a user would write it: tasks as they stand, or with ``result_ttl=0``; threads or coroutines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.peers import marks, settings
from penstock import Penstock

app = Penstock("peers", broker=settings.REDIS_URL)
RESULT_TTL = 3600 if settings.SETTING in ("default", "coroutines", "best coroutines, stored") else 0

if "coroutines" in settings.SETTING:

    @app.task(result_ttl=RESULT_TTL)
    async def noop(number: int) -> int:
        return marks.noop(number)

    @app.task(result_ttl=RESULT_TTL)
    async def nap(number: int, seconds: float) -> int:
        return await marks.async_nap(number, seconds)

else:

    @app.task(result_ttl=RESULT_TTL)
    def noop(number: int) -> int:
        return marks.noop(number)

    @app.task(result_ttl=RESULT_TTL)
    def nap(number: int, seconds: float) -> int:
        return marks.nap(number, seconds)


TASKS: dict[str, Any] = {"noop": noop, "nap": nap}


def enqueue(kind: str, numbers: Sequence[int]) -> None:
    task, more = TASKS[settings.TASK[kind]], settings.ARGUMENTS[kind]
    for number in numbers:
        task.delay(number, *more)


def enqueue_many(kind: str, numbers: Sequence[int]) -> None:
    more = settings.ARGUMENTS[kind]
    TASKS[settings.TASK[kind]].delay_many((number, *more) for number in numbers)
