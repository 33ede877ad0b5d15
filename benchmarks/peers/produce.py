"""Enqueues with one library, in its own environment, and prints what that took as JSON.

    python -m benchmarks.peers.produce MODULE fill KIND COUNT
    python -m benchmarks.peers.produce MODULE rate KIND SECONDS one|many

Of an application it wants ``enqueue(kind, numbers)`` and, where the library has a bulk call, ``enqueue_many``, plain or
as coroutines; ``opened()`` is an async context manager where its connection needs one. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

SLICE = 1000
# Between two looks at the clock.
_ONE_BY_ONE = 20

Told = dict[str, float]


def fill(count: int, told: Told) -> Iterator[Sequence[int]]:
    """The numbers of exactly ``count`` jobs, from 0, in slices."""
    began = time.monotonic()
    for start in range(0, count, SLICE):
        yield range(start, min(count, start + SLICE))
    told.update(count=count, took_s=time.monotonic() - began)


def rate(seconds: float, size: int, told: Told) -> Iterator[Sequence[int]]:
    """As many as go in within the time, once the connection is there."""
    yield range(size)
    count, began = 0, time.monotonic()
    while (took_s := time.monotonic() - began) < seconds:
        yield range(size)
        count += size
    told.update(count=count, took_s=took_s)


async def _awaited(app: Any, enqueue: Any, kind: str, slices: Iterator[Sequence[int]]) -> None:
    async with getattr(app, "opened", contextlib.nullcontext)():
        for numbers in slices:
            await enqueue(kind, numbers)


def produce(app: Any, what: str, kind: str, amount: str, way: str = "many") -> Told:
    """What it took; nothing where the library has no such call."""
    told: Told = {}
    many = getattr(app, "enqueue_many", None)
    if what == "fill":
        enqueue, slices = many or app.enqueue, fill(int(amount), told)
    elif way == "many":
        enqueue, slices = many, rate(float(amount), SLICE, told)
    else:
        enqueue, slices = app.enqueue, rate(float(amount), _ONE_BY_ONE, told)
    if enqueue is None:
        return told
    # A blocking call must not meet a running loop, which is where no user has it.
    if inspect.iscoroutinefunction(enqueue):
        asyncio.run(_awaited(app, enqueue, kind, slices))
    else:
        for numbers in slices:
            enqueue(kind, numbers)
    return told


if __name__ == "__main__":
    print(json.dumps(produce(importlib.import_module(sys.argv[1]), *sys.argv[2:])), flush=True)
    # What is enqueued is enqueued. Threads of a client's native core may abort a process whose interpreter ends.
    os._exit(0)
