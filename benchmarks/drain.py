"""Draining a full queue of no-op jobs: one worker process beside the bare loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Place, Plan, Row, interleaved, middle, say, until
from benchmarks.bench import place as at
from benchmarks.children import RunFailed, WorkerProcess, act
from benchmarks.state import Watcher, told

_WITHIN_S = 120.0
_WARM_UP_JOBS = 20_000
# The queue must not be shorter than the run is to be long, where a run is quicker than the first one was.
_SPARE = 1.25


@dataclass(slots=True)
class Drained:
    """One drain of Penstock's."""

    rate: float
    peak_mb: float


def drain(plan: Plan, place: Place, app: str, task: str, count: int) -> Drained:
    """Fills the queue, then starts a worker and takes the time from its first job to the last settlement."""
    place.empty()
    act("fill", place.url, task, count)
    with Watcher(place.url) as watcher, WorkerProcess(app, place.url) as worker:
        ended = settled_at(watcher, worker, count)
        facts = told(plan, watcher, worker)
        if facts["ran"] != count:
            raise RunFailed(f"{facts['ran']:,} jobs ran, not {count:,}")
        return Drained(count / (ended - facts["first_mono"]), worker.peak_mb())


def settled_at(watcher: Watcher, worker: WorkerProcess, count: int) -> float:
    """The moment at which the last of ``count`` jobs was settled."""

    def settled() -> bool:
        worker.check()
        return watcher.settled(count)

    # One look in 20 ms costs the broker next to nothing, and is as exact as 5 s ask for.
    until(settled, _WITHIN_S, every_s=0.02)
    return time.monotonic()


def variant(plan: Plan, place: Place, app: str, task: str) -> Callable[[], float]:
    """A drain that takes as long as the plan wants; how many jobs that is was tried before."""
    count = 0

    def run() -> float:
        nonlocal count
        if not count:
            count = int(drain(plan, place, app, task, _WARM_UP_JOBS).rate * plan.run_s * _SPARE)
        rate = drain(plan, place, app, task, count).rate
        count = max(count, int(rate * plan.run_s * _SPARE))
        return rate

    return run


def limit(plan: Plan, place: Place, name: str, *args: str) -> Callable[[], float]:
    """The bare loop, in the same way."""
    count = 0

    def once() -> float:
        place.empty()
        act(f"fill_limit_{name}", place.url, count)
        return float(act(f"limit_{name}", place.url, count, *args)["rate"])

    def run() -> float:
        nonlocal count
        if not count:
            count = _WARM_UP_JOBS
            count = int(once() * plan.run_s * _SPARE)
        rate = once()
        count = max(count, int(rate * plan.run_s * _SPARE))
        return rate

    return run


def on_redis(plan: Plan) -> list[Row]:
    """Sync tasks without and with results, and coroutines."""
    with at(plan, "redis") as place:
        measured = interleaved(
            plan.runs,
            {
                "limit, threads": limit(plan, place, "redis", "thread"),
                "sync": variant(plan, place, "benchmarks.noop_app", "noop"),
                "sync, results stored": variant(plan, place, "benchmarks.noop_app", "noop_result"),
                "limit, coroutines": limit(plan, place, "redis", "loop"),
                "coroutines": variant(plan, place, "benchmarks.noop_async_app", "noop"),
                "sync, in an application of both kinds": variant(
                    plan, place, "benchmarks.noop_mixed_app", "noop"
                ),
            },
        )
    rates = middle(measured)
    threads, coroutines = rates["limit, threads"], rates["limit, coroutines"]
    rows = [
        _row(
            "drain", "drain no-op sync tasks, Redis, results off", rates["sync"], threads, 0.5, 45_000, 90_000
        ),
        _row("drain-results", "the same with results stored", rates["sync, results stored"], threads, 0.35),
        _row("drain-async", "the same as coroutines", rates["coroutines"], coroutines, 0.5),
    ]
    mixed = rates["sync, in an application of both kinds"]
    rows[0].notes.append(f"in an application that has coroutines too: {mixed:,.0f}/s")
    rows[0].samples = measured
    return rows


def _row(
    name: str, what: str, rate: float, bare: float, least: float, floor: float = 0.0, floor_from: float = 0.0
) -> Row:
    """``floor`` is asked for in jobs a second where the limit is at least ``floor_from``."""
    ratio = rate / bare
    aim = f"≥ {least:g} × the limit"
    missed = []
    if ratio < least:
        missed.append(f"{least * bare - rate:,.0f}/s below {least:g} × the limit")
    if floor:
        aim += f", and ≥ {floor:,.0f}/s" + (
            f" where the limit is ≥ {floor_from:,.0f}/s" if floor_from else ""
        )
        if bare >= floor_from and rate < floor:
            missed.append(f"{floor - rate:,.0f}/s below {floor:,.0f}/s")
    return Row(
        name, what, aim, f"{rate:,.0f}/s", not missed, f"{bare:,.0f}/s", ratio, missed_by="; ".join(missed)
    )


def on_sqlite(plan: Plan) -> list[Row]:
    """Sync tasks, every settlement forced to the disk."""
    raise NotImplementedError(say, Path)
