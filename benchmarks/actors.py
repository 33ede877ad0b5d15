"""What is done in processes of their own beside the worker: ``python -m benchmarks.actors NAME URL ARGUMENT...``.

Each prints what it has to tell as JSON. Those whose name begins with ``bare`` use no Penstock, but the driver as it
comes, with the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

ADDRESS = "someone@example.org"
_WARM_UP = 20
_MANY = 20_000


# --- the limit


def limit_redis(url: str, count: str, mode: str) -> Any:
    """The bare loop on a queue filled for it."""
    from benchmarks import limit_redis as limit

    assert mode in {"thread", "loop"}
    return limit.run(url, int(count), mode)  # type: ignore[arg-type]  # just looked at


def fill_limit_redis(url: str, count: str) -> Any:
    """Fills the bare loop's queue."""
    from benchmarks import limit_redis as limit

    limit.fill(url, int(count))


def limit_sqlite(url: str, count: str, mode: str) -> Any:
    """The bare loop on a queue filled for it."""
    from benchmarks import limit_sqlite as limit

    assert mode in {"thread", "loop"}
    return limit.run(limit.path_of(url), int(count), mode)  # type: ignore[arg-type]  # just looked at


def fill_limit_sqlite(url: str, count: str) -> Any:
    """Fills the bare loop's queue."""
    from benchmarks import limit_sqlite as limit

    limit.fill(limit.path_of(url), int(count))


# --- producers


def fill(_url: str, task: str, count: str) -> Any:
    """Fills Penstock's queue, the public way."""
    from benchmarks import noop_app
    from benchmarks import noop_mixed_app as mixed

    tasks: dict[str, Any] = {"noop_async": mixed.noop_async}
    tasks |= {"noop": noop_app.noop, "noop_result": noop_app.noop_result, "work": noop_app.work}
    for start in range(0, int(count), _MANY):
        tasks[task].delay_many((number, ADDRESS) for number in range(start, min(start + _MANY, int(count))))


def naps(_url: str, count: str) -> Any:
    """Enqueues naps; tells when it began to."""
    from benchmarks.noop_app import nap

    nap.options(queue="elsewhere").delay()  # connected, as a producer that has been there for a while
    time.sleep(0.2)
    mono_began = time.monotonic()
    nap.delay_many(() for _ in range(int(count)))
    return {"mono_began": mono_began, "mono_ended": time.monotonic()}


def delay(_url: str, run_s: str) -> Any:
    """``delay`` one after another."""
    from benchmarks.noop_app import noop

    return _one_after_another(lambda number: noop.delay(number, ADDRESS), float(run_s))


def bare_delay(url: str, run_s: str) -> Any:
    """The same script with bytes of the same size, called through redis-py's client."""
    import redis

    queue = _Bare(url, redis.Redis.from_url(url))
    return _one_after_another(lambda number: queue.call(number, 1), float(run_s))


def delay_many(_url: str, run_s: str) -> Any:
    """``delay_many``, 20,000 a call."""
    from benchmarks.noop_app import noop

    def go(number: int) -> None:
        noop.delay_many((each, ADDRESS) for each in range(number, number + _MANY))

    return _one_after_another(go, float(run_s), each=_MANY)


def bare_delay_many(url: str, run_s: str) -> Any:
    """The same script in slices of 500, through redis-py's client."""
    import redis

    queue = _Bare(url, redis.Redis.from_url(url))
    return _one_after_another(lambda number: queue.call(number, 500), float(run_s), each=500)


def _one_after_another(go: Callable[[int], Any], run_s: float, each: int = 1) -> Any:
    go(0)
    count = each
    slowest_s = 0.0
    began = last = time.monotonic()
    while last - began < run_s:
        go(count)
        count += each
        now = time.monotonic()
        slowest_s = max(slowest_s, now - last)
        last = now
    return {"rate": (count - each) / (last - began), "count": count, "slowest_s": slowest_s}


class _Bare:
    """Calls the adapter's own script without the adapter."""

    def __init__(self, url: str, client: Any) -> None:
        from benchmarks.noop_app import noop
        from penstock.brokers.redis import enqueueing
        from penstock.brokers.redis.keys import FleetKeys, QueueKeys
        from penstock.core.job import Origin

        self._client = client
        client.sadd(FleetKeys("penstock").queues, "default")
        job = noop.job((1, ADDRESS), {})
        (part,) = enqueueing.slices([job])
        command = enqueueing.command(QueueKeys("penstock", "default"), 0, part, Origin("0" * 32, 1), 0.0)
        self._digest = client.script_load(command.whole().args[1])
        keys = int(command.args[2])
        self._keys = command.args[3 : 3 + keys]
        shift, _, part_number, kind = command.args[3 + keys : -2]
        self._before, self._after, self._body = shift, (part_number, kind), job.body
        self._number = 0

    def call(self, start: int, count: int) -> None:
        """Stores ``count`` jobs."""
        self._number += 1
        jobs: Iterator[Any] = (
            (f"default:{number:032x}", self._body) for number in range(start, start + count)
        )
        self._client.evalsha(
            self._digest, len(self._keys), *self._keys, self._before, self._number, *self._after,
            *chain.from_iterable(jobs),
        )  # fmt: skip


def paced(_url: str, run_s: str, every_s: str) -> Any:
    """How long each ``delay`` took, with a pause between them."""
    from benchmarks.noop_app import noop

    noop.delay(0, ADDRESS)
    took: list[float] = []
    mono_until = time.monotonic() + float(run_s)
    while (began := time.monotonic()) < mono_until:
        noop.delay(1, ADDRESS)
        took.append(time.monotonic() - began)
        if float(every_s):
            time.sleep(float(every_s))
    return {"took_s": took, "count": len(took) + 1}


def feed(url: str, waiting: str, run_s: str) -> Any:
    """Keeps that many jobs waiting, whatever a worker takes."""
    from benchmarks.noop_app import noop
    from benchmarks.state import Watcher

    mono_until = time.monotonic() + float(run_s)
    with Watcher(url) as watcher:
        while time.monotonic() < mono_until:
            missing = int(waiting) - watcher.counts().ready
            if missing > 0:
                noop.delay_many((number, ADDRESS) for number in range(min(missing + 500, 2_000)))


# --- latency: one job, then a pause in which the worker is idle


def stamps(_url: str, samples: str, pause_s: str) -> Any:
    """Sends the moment; the worker keeps what it took to come to its start."""
    from benchmarks.noop_app import stamp

    for _ in range(int(samples) + _WARM_UP):
        time.sleep(float(pause_s))
        stamp.delay(time.monotonic_ns())
    return {"warm_up": _WARM_UP}


def results(_url: str, samples: str, pause_s: str) -> Any:
    """From before ``delay`` to after ``result``, for a blocking caller."""
    from benchmarks.noop_app import noop_result

    took: list[float] = []
    for number in range(int(samples) + _WARM_UP):
        time.sleep(float(pause_s))
        began = time.monotonic()
        assert noop_result.delay(number, ADDRESS).result(5) == number
        took.append(time.monotonic() - began)
    return {"took_s": took[_WARM_UP:], "count": len(took)}


def aresults(_url: str, samples: str, pause_s: str) -> Any:
    """The same for a coroutine."""
    from benchmarks.noop_app import app, noop_result

    async def go() -> list[float]:
        took: list[float] = []
        for number in range(int(samples) + _WARM_UP):
            await asyncio.sleep(float(pause_s))
            began = time.monotonic()
            assert await (await noop_result.adelay(number, ADDRESS)).aresult(5) == number
            took.append(time.monotonic() - began)
        await app.aclose()
        return took

    took = asyncio.run(go())
    return {"took_s": took[_WARM_UP:], "count": len(took)}


def bare_pop(url: str, samples: str) -> Any:
    """A process that waits with BLPOP and nothing else."""
    import redis

    client = redis.Redis.from_url(url, socket_timeout=30)
    took: list[float] = []
    while len(took) < int(samples) + _WARM_UP:
        popped: Any = client.blpop(["bare"], 20)
        took.append((time.monotonic_ns() - int(popped[1])) / 1e9)
    return {"took_s": took[_WARM_UP:]}


def bare_push(url: str, samples: str, pause_s: str) -> Any:
    """Wakes it."""
    import redis

    client = redis.Redis.from_url(url)
    for _ in range(int(samples) + _WARM_UP):
        time.sleep(float(pause_s))
        client.rpush("bare", time.monotonic_ns())


# --- the broker's calls at a constant backlog


def cycle(url: str, run_s: str) -> Any:
    """Enqueues, fetches and settles 200 jobs a turn through the adapter, each call timed; the backlog stays."""
    return asyncio.run(_cycle(url, float(run_s)))


async def _cycle(url: str, run_s: float) -> Any:
    from benchmarks.noop_app import noop
    from penstock import brokers
    from penstock.core.job import Job, Origin
    from penstock.core.settlement import Done
    from penstock.ports.broker import WorkerCard

    size, turns = 200, 0
    broker = brokers.connect(brokers.address(url))
    await broker.open()
    consumer = await broker.consumer(
        ["default"], window=1_000, lease_s=60.0, card=WorkerCard("cycle", "cycle")
    )
    body = noop.job((1, ADDRESS), {}).body
    producer = time.monotonic_ns()
    spent = {"enqueue": 0.0, "fetch": 0.0, "settle": 0.0}
    mono_until = time.monotonic() + run_s
    while (at := [time.monotonic()])[0] < mono_until:
        turns += 1
        jobs = [Job(f"default:{producer:x}-{turns}-{each}", "default", body) for each in range(size)]
        at = [time.monotonic()]
        await broker.enqueue(jobs, Origin(f"{producer:x}", turns))
        at.append(time.monotonic())
        deliveries = (await consumer.fetch(size, 4 << 20, 0.0)).deliveries
        at.append(time.monotonic())
        assert len(deliveries) == size
        lost = await consumer.settle([Done(each) for each in deliveries], turns)
        at.append(time.monotonic())
        assert not lost
        for what, begun, ended in zip(spent, at, at[1:], strict=False):
            spent[what] += ended - begun
    await consumer.close()
    await broker.close()
    return {what: size * turns / spent_s for what, spent_s in spent.items()} | {"count": size * turns}


def main() -> None:
    """Runs one of them."""
    name, *args = sys.argv[1:]
    print(json.dumps(globals()[name](*args)))


if __name__ == "__main__":
    main()
