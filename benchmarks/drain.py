"""Draining a full queue of no-op jobs: one worker process beside the bare loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from benchmarks.bench import TIMES, Place, Plan, Row, Verdict, interleaved, middle, place, until
from benchmarks.children import RunFailed, WorkerProcess, act
from benchmarks.state import Watcher, told

_WITHIN_S = 180.0
_WARM_UP_JOBS = 20_000
# A run may be quicker than the one before it, and must not end too soon.
_SPARE = 1.3

Run = Callable[[], Mapping[str, float]]


def drain(plan: Plan, at: Place, app: str, task: str, count: int) -> dict[str, float]:
    """Fills the queue, starts a worker, and takes the time from its first job to the last settlement."""
    at.empty()
    act("fill", at.url, task, count)
    with Watcher(at.url) as watcher, WorkerProcess(app, at.url) as worker:
        mono_ended = settled_at(watcher, worker, count)
        facts = told(plan, watcher, worker)
        if facts["ran"] != count:
            raise RunFailed(f"{facts['ran']:,} jobs ran, not {count:,}")
        rate = count / (mono_ended - facts["first_mono"])
        return {
            "rate": rate,
            "peak_mb": worker.peak_mb(),
            "cpu_s": facts["cpu_s"],
            "cpu_s_in_all": facts["cpu_s_in_all"],
        }


def settled_at(watcher: Watcher, worker: WorkerProcess, count: int) -> float:
    """The moment at which the last of ``count`` jobs was settled."""

    def settled() -> bool:
        worker.check()
        return watcher.settled(count)

    # One look in 20 ms costs the broker next to nothing, and is as exact as 5 s ask for.
    until(settled, _WITHIN_S, every_s=0.02)
    return time.monotonic()


def _long_enough(plan: Plan, once: Callable[[int], float]) -> Run:
    """Repeats what drains a number of jobs, with as many as take as long as the plan wants; the first try tells."""
    count = 0

    def run() -> dict[str, float]:
        nonlocal count
        if not count:
            count = int(once(_WARM_UP_JOBS) * plan.run_s * _SPARE)
        rate = once(count)
        while count / rate < plan.run_s:
            count = int(rate * plan.run_s * _SPARE)
            rate = once(count)
        return {"": rate}

    return run


def _ours(plan: Plan, at: Place, app: str, task: str) -> Run:
    return _long_enough(plan, lambda count: drain(plan, at, f"benchmarks.{app}", task, count)["rate"])


def _limit(plan: Plan, at: Place, broker: str, mode: str) -> Run:
    def once(count: int) -> float:
        at.empty()
        act(f"fill_limit_{broker}", at.url, count)
        return float(act(f"limit_{broker}", at.url, count, mode)["rate"])

    return _long_enough(plan, once)


def on_redis(plan: Plan) -> list[Row]:
    """Sync tasks without and with results, and coroutines."""
    with place(plan, "redis") as at:
        measured = interleaved(
            plan.runs,
            {
                "limit, threads": _limit(plan, at, "redis", "thread"),
                "sync": _ours(plan, at, "noop_app", "noop"),
                "sync, results stored": _ours(plan, at, "noop_app", "noop_result"),
                "limit, coroutines": _limit(plan, at, "redis", "loop"),
                "coroutines": _ours(plan, at, "noop_async_app", "noop"),
                "sync, in an application of both kinds": _ours(plan, at, "noop_mixed_app", "noop"),
            },
        )
    rates = middle(measured)
    threads = rates["limit, threads"]
    sync = _row("drain", "drain no-op sync tasks, Redis, results off", rates["sync"], threads, 0.5)
    sync.aim += ", and ≥ 45,000/s where the limit is ≥ 90,000/s"
    verdict = Verdict()
    verdict.least(rates["sync"], 0.5 * threads, f"0.5 {TIMES} the limit")
    if threads >= 90_000:
        verdict.least(rates["sync"], 45_000, "45,000/s")
    sync.met, sync.missed_by = verdict.met, verdict.missed_by
    mixed = rates["sync, in an application of both kinds"]
    sync.notes.append(f"in an application that has coroutines too: {mixed:,.0f}/s")
    sync.samples = measured
    return [
        sync,
        _row("drain", "the same with results stored", rates["sync, results stored"], threads, 0.35),
        _row("drain", "the same as coroutines", rates["coroutines"], rates["limit, coroutines"], 0.5),
    ]


def on_sqlite(plan: Plan) -> list[Row]:
    """Sync tasks and coroutines, every settlement forced to the disk."""
    with place(plan, "sqlite") as at:
        measured = interleaved(
            plan.runs,
            {
                "limit, threads": _limit(plan, at, "sqlite", "thread"),
                "sync": _ours(plan, at, "noop_app", "noop"),
                "limit, coroutines": _limit(plan, at, "sqlite", "loop"),
                "coroutines": _ours(plan, at, "noop_async_app", "noop"),
            },
        )
    rates = middle(measured)
    row = _row(
        "drain-sqlite", "drain on SQLite, `synchronous=FULL`", rates["sync"], rates["limit, threads"], 0.3
    )
    row.aim = f"≥ 25,000/s and {row.aim}"
    verdict = Verdict()
    verdict.least(rates["sync"], 25_000, "25,000/s")
    verdict.least(rates["sync"], 0.3 * rates["limit, threads"], f"0.3 {TIMES} the limit")
    row.met, row.missed_by = verdict.met, verdict.missed_by
    row.notes.append(
        f"coroutines {rates['coroutines']:,.0f}/s, their limit {rates['limit, coroutines']:,.0f}/s"
    )
    row.samples = measured
    return [row]


def _row(name: str, what: str, rate: float, bare: float, least: float) -> Row:
    verdict = Verdict()
    verdict.least(rate, least * bare, f"{least:g} {TIMES} the limit")
    aim = f"≥ {least:g} {TIMES} the limit"
    return Row(
        name, what, aim, f"{rate:,.0f}/s", verdict.met, f"{bare:,.0f}/s", rate / bare, verdict.missed_by
    )
