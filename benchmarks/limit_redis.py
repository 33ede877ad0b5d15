"""The limit on Redis: a bare loop that claims, decodes, calls and settles, with no engine around it.

Bodies in a hash, ready ids in a list, claimed ids in a zset by the end of their lease, two scripts, batches of 200:
the least that still loses nothing when the worker is killed. ``run`` is that worker, as a process of its own to be
measured; ``main`` prints its rate, and that of the adapter's fetch and settle alone in the same run.

    python benchmarks/limit_redis.py redis://localhost:6379/0 [jobs]
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from secrets import token_hex
from threading import Thread
from typing import Any, Literal

import msgspec

Mode = Literal["thread", "loop"]

BATCH = 200
CONCURRENCY = 10
BODY = b'{"v":1,"task":"tasks.nothing","args":[1,"someone@example.org"],"at":1763820000.5}'
_CLAIM = """
local ids = redis.call('LPOP', KEYS[2], ARGV[1])
if not ids then return {{}, {}} end
local now = redis.call('TIME')[1]
local leases = {}
for i, id in ipairs(ids) do leases[2 * i - 1], leases[2 * i] = now + 15, id end
redis.call('ZADD', KEYS[3], unpack(leases))
return {ids, redis.call('HMGET', KEYS[1], unpack(ids))}
"""
_SETTLE = """
redis.call('ZREM', KEYS[3], unpack(ARGV))
redis.call('HDEL', KEYS[1], unpack(ARGV))
"""
_ADD = """
local ids = {}
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(ARGV))
redis.call('RPUSH', KEYS[2], unpack(ids))
"""
_KEYS = ("{limit}:jobs", "{limit}:ready", "{limit}:leases")


class Call(msgspec.Struct):
    """What a body says."""

    v: int
    task: str
    args: list[Any]
    at: float


def nothing(number: int, address: str) -> None:
    """The task."""


async def nothing_async(number: int, address: str) -> None:
    """The task as a coroutine."""


def fill(url: str, count: int) -> None:
    """Stores ``count`` jobs for the bare loop."""
    import redis

    with redis.Redis.from_url(url) as client:
        add = client.register_script(_ADD)
        for start in range(0, count, 1000):
            pairs = [x for n in range(start, min(start + 1000, count)) for x in (f"limit:{n:032d}", BODY)]
            add(keys=_KEYS[:2], args=pairs)


def run(url: str, count: int, mode: Mode) -> dict[str, float]:
    """Drains ``count`` jobs; rate in jobs a second, seconds to the first job from now on, and peak memory in MB."""
    began = time.perf_counter()
    took, first = asyncio.run(_loop(url, count)) if mode == "loop" else _threads(url, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rate": count / took, "start_s": first - began, "peak_mb": peak}


Part = tuple[list[bytes], list[bytes]]


def _work(todo: SimpleQueue[Part | None], done: SimpleQueue[list[bytes]], first: list[float]) -> None:
    decode = msgspec.json.Decoder(Call).decode
    tasks: dict[str, Callable[..., None]] = {"tasks.nothing": nothing}
    while (part := todo.get()) is not None:
        ids, bodies = part
        first[0] = first[0] or time.perf_counter()
        for body in bodies:
            call = decode(body)
            tasks[call.task](*call.args)
        done.put(ids)


def _threads(url: str, count: int) -> tuple[float, float]:
    """Ten threads run parts of a batch, while the main thread fetches the next one and settles the last."""
    import redis

    todo: SimpleQueue[Part | None] = SimpleQueue()
    done: SimpleQueue[list[bytes]] = SimpleQueue()
    first = [0.0]
    threads = [Thread(target=_work, args=(todo, done, first)) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    with redis.Redis.from_url(url) as client:
        claim, settle = client.register_script(_CLAIM), client.register_script(_SETTLE)
        settled = out = 0
        size = BATCH // CONCURRENCY
        ready: list[bytes] = []
        while settled < count:
            ids, bodies = claim(keys=_KEYS, args=[BATCH])
            for at in range(0, len(ids), size):
                todo.put((ids[at : at + size], bodies[at : at + size]))
                out += 1
            if ready:
                settle(keys=_KEYS, args=ready)
                settled += len(ready)
                ready = []
            while out and (not ids or not done.empty() or out > CONCURRENCY):
                ready += done.get()
                out -= 1
    took = time.perf_counter() - began
    for _ in threads:
        todo.put(None)
    for thread in threads:
        thread.join()
    return took, first[0]


async def _loop(url: str, count: int) -> tuple[float, float]:
    """Coroutines in one loop, a batch after another, the next one fetched meanwhile."""
    import redis.asyncio

    decode = msgspec.json.Decoder(Call).decode
    tasks: dict[str, Callable[..., Awaitable[None]]] = {"tasks.nothing": nothing_async}
    client = redis.asyncio.Redis.from_url(url)
    claim, settle = client.register_script(_CLAIM), client.register_script(_SETTLE)
    began = time.perf_counter()
    first = settled = 0.0
    coming = asyncio.ensure_future(claim(keys=_KEYS, args=[BATCH]))
    while settled < count:
        ids, bodies = await coming
        coming = asyncio.ensure_future(claim(keys=_KEYS, args=[BATCH]))
        first = first or time.perf_counter()
        for body in bodies:
            call = decode(body)
            await tasks[call.task](*call.args)
        if ids:
            await settle(keys=_KEYS, args=ids)
            settled += len(ids)
    await coming
    took = time.perf_counter() - began
    await client.aclose()
    return took, first


async def bare_calls(url: str, count: int) -> float:
    """Jobs a second of the two scripts alone, one after the other: what the adapter is measured against."""
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url)
    claim, settle = client.register_script(_CLAIM), client.register_script(_SETTLE)
    began = time.perf_counter()
    settled = 0
    while settled < count:
        ids, _ = await claim(keys=_KEYS, args=[BATCH])
        await settle(keys=_KEYS, args=ids)
        settled += len(ids)
    took = time.perf_counter() - began
    await client.aclose()
    return count / took


async def adapter_calls(url: str, count: int) -> dict[str, float]:
    """Jobs a second of the adapter's enqueue, and of its fetch and settle one after the other, without an engine."""
    from penstock import brokers
    from penstock.core.job import Job, Origin
    from penstock.core.settlement import Done
    from penstock.ports.broker import WorkerCard

    broker = brokers.connect(brokers.address(url, namespace="limit"))
    await broker.open()
    jobs = [Job(f"q:{n:032x}", "q", BODY) for n in range(count)]
    began = time.perf_counter()
    await broker.enqueue(jobs, Origin(token_hex(16), 1))
    enqueued = time.perf_counter()
    del jobs
    consumer = await broker.consumer(["q"], window=BATCH, lease_s=15.0, card=WorkerCard("limit", "limit"))
    settled = calls = 0
    started = time.perf_counter()
    while settled < count:
        deliveries = (await consumer.fetch(BATCH, 4 << 20, 0.0)).deliveries
        calls += 1
        await consumer.settle([Done(each) for each in deliveries], calls)
        settled += len(deliveries)
    ended = time.perf_counter()
    await consumer.close()
    await broker.close()
    return {"enqueue": count / (enqueued - began), "fetch and settle": count / (ended - started)}


def main() -> None:
    """Prints medians of three interleaved runs."""
    from statistics import median  # here, since the bare worker's memory is measured

    url = sys.argv[1] if len(sys.argv) > 1 else "redis://localhost:6379/0"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    rates: dict[str, list[float]] = {}
    for _ in range(3):
        for mode in ("thread", "loop"):
            fill(url, count)
            rates.setdefault(f"limit, {mode}", []).append(run(url, count, mode)["rate"])
        fill(url, count)
        rates.setdefault("limit, scripts alone", []).append(asyncio.run(bare_calls(url, count)))
        for what, rate in asyncio.run(adapter_calls(url, count)).items():
            rates.setdefault(f"adapter, {what}", []).append(rate)
    for what, measured in rates.items():
        print(f"{what:28} {median(measured):10,.0f} jobs/s")


if __name__ == "__main__":
    main()
