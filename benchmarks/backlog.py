"""Whether a large backlog makes anything slower, or the worker larger."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.bench import TIMES, Place, Plan, Row, Verdict, interleaved, middle, place, say, until
from benchmarks.children import RunFailed, WorkerProcess, act
from benchmarks.state import Watcher

_FEW = 1_000
_CALLS = ("enqueue", "fetch", "settle")
# What two runs of the same differ by; a worker that kept something a job would show 20 MB and more.
_FLAT_MB = 1.0


def on_redis(plan: Plan) -> list[Row]:
    """Redis."""
    return _backlog(plan, "redis", "Redis")


def on_sqlite(plan: Plan) -> list[Row]:
    """SQLite."""
    return _backlog(plan, "sqlite", "SQLite")


def _backlog(plan: Plan, broker: str, shown: str) -> list[Row]:
    with ExitStack() as stack:
        few, many = (stack.enter_context(place(plan, broker)) for _ in range(2))
        say(f"  filling with {plan.waiting:,} jobs")
        act("fill", few.url, "noop", _FEW)
        act("fill", many.url, "noop", plan.waiting)
        measured = interleaved(
            plan.runs,
            {"few": lambda: _cycle(plan, few, _FEW), "many": lambda: _cycle(plan, many, plan.waiting)},
        )
        measured |= interleaved(
            1,
            {
                "few worker": lambda: _peak(plan, few, 100_000),
                "many worker": lambda: _peak(plan, many, 100_000),
            },
        )
    figures = middle(measured)
    verdict = Verdict()
    for call in _CALLS:
        verdict.least(figures[f"many {call}"], 0.9 * figures[f"few {call}"], f"{call} at 0.9 {TIMES}")
    grown_mb = figures["many worker peak_mb"] - figures["few worker peak_mb"]
    verdict.most(grown_mb, _FLAT_MB, "the worker's memory")
    ratios = {call: figures[f"many {call}"] / figures[f"few {call}"] for call in _CALLS}
    return [
        Row(
            f"backlog-{broker}", f"{plan.waiting:,} jobs waiting, {shown}",
            f"fetch, enqueue and settle ≥ 0.9 {TIMES} their rate at 1,000; worker memory flat",
            ", ".join(f"{call} {ratio:.2f} {TIMES}" for call, ratio in ratios.items()) + f"; {grown_mb:+.1f} MB",
            verdict.met, ratio=min(ratios.values()), missed_by=verdict.missed_by, samples=measured,
            notes=[
                "the adapter's calls with 200 jobs each: "
                + ", ".join(f"{call} {figures[f'many {call}']:,.0f} jobs/s" for call in _CALLS),
                f"a worker drained {figures['many worker rate']:,.0f}/s of the large queue",
            ],
        )
    ]  # fmt: skip


def _cycle(plan: Plan, at: Place, waiting: int) -> dict[str, float]:
    told = act("cycle", at.url, plan.run_s)
    with Watcher(at.url) as watcher:
        ready = watcher.counts().ready
    if ready != waiting:
        raise RunFailed(f"{ready:,} jobs wait, not {waiting:,}")
    return {call: told[call] for call in _CALLS}


def _peak(plan: Plan, at: Place, count: int) -> dict[str, float]:
    """The worker's peak after it has drained ``count`` jobs: of the large queue, or of one that just holds them."""
    with Watcher(at.url) as watcher:
        missing = count - watcher.counts().ready
        if missing > 0:
            act("fill", at.url, "noop", missing)
        before = watcher.counts().succeeded_total
        with WorkerProcess("benchmarks.noop_app", at.url) as worker:
            drained = until(lambda: _since(watcher, worker, before, count), 60.0, every_s=0.02)
            return {"peak_mb": worker.peak_mb(), "rate": drained}


def _since(watcher: Watcher, worker: WorkerProcess, before: int, count: int) -> float:
    """Jobs a second since the worker's process was made, once it has drained ``count``; 0 before."""
    import time

    worker.check()
    done = watcher.counts().succeeded_total - before
    return done / (time.monotonic() - worker.mono_spawned) if done >= count else 0.0
