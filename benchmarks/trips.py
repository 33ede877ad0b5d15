"""Round trips of clients for a job, from enqueue to settlement, and what the server does for it."""

from __future__ import annotations

from benchmarks.bench import Place, Plan, Row, Verdict, place, until
from benchmarks.children import RunFailed, WorkerProcess, act
from benchmarks.proxy import CountingProxy
from benchmarks.state import Watcher, told


def trips(plan: Plan) -> list[Row]:
    """``delay`` one by one, then the drain of a full queue, each through a proxy that counts."""
    with place(plan, "redis") as at:
        at.empty()
        with CountingProxy(at.url) as proxy:
            before = _commands(at)
            enqueued = int(act("delay", proxy.url, plan.run_s)["count"])
            enqueue_commands = (_commands(at) - before) / enqueued
            enqueue_trips = proxy.trips / enqueued
        at.empty()
        count = 20_000 if plan.quick else 100_000
        act("fill", at.url, "noop", count)
        before = _commands(at)
        with (
            CountingProxy(at.url) as proxy,
            Watcher(at.url) as watcher,
            WorkerProcess("benchmarks.noop_app", proxy.url) as worker,
        ):
            # The watcher's own looks are a handful of commands in a hundred thousand.
            until(lambda: watcher.settled(count), 120.0, every_s=0.25)
            drain_trips, connections = proxy.trips / count, proxy.connections
            drain_commands = (_commands(at) - before) / count
            if told(plan, watcher, worker)["ran"] != count:
                raise RunFailed("not every job ran once")
    verdict = Verdict()
    verdict.most(enqueue_trips + drain_trips, 1.1, "trips")
    return [
        Row(
            "trips", "client round trips for a job, enqueue + drain of a full queue", "1 + ≤ 0.1",
            f"{enqueue_trips:.3f} + {drain_trips:.3f}", verdict.met, missed_by=verdict.missed_by,
            notes=[
                f"server commands, those inside scripts too: {enqueue_commands:.2f} + {drain_commands:.2f} a job",
                f"the worker held {connections} connections",
            ],
            samples={
                "enqueue": [enqueue_trips],
                "drain": [drain_trips],
                "commands": [enqueue_commands, drain_commands],
            },
        )
    ]  # fmt: skip


def _commands(at: Place) -> int:
    """Commands that the server has run so far, those that scripts called included."""
    import redis

    with redis.Redis.from_url(at.url) as client:
        stats = client.info("commandstats")
    return sum(int(each["calls"]) for each in stats.values())
