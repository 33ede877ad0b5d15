"""Whether a large backlog makes anything slower, or the worker larger."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.bench import TIMES, Place, Plan, Row, Verdict, interleaved, middle, place, say, until
from benchmarks.children import Acting, RunFailed, WorkerProcess, act
from benchmarks.state import Watcher

_FEW = 1_000
_CALLS = ("enqueue", "fetch", "settle")
# Twice the same differs by as much; a worker that kept a hundred bytes a job would show more.
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
            {
                "few": lambda: _cycle(plan, few, _FEW),
                "many": lambda: _cycle(plan, many, plan.waiting),
                "few, through": lambda: _through(plan, few, _FEW),
                "many, through": lambda: _through(plan, many, plan.waiting),
            },
        )
    figures = middle(measured)
    ratio = figures["many, through rate"] / figures["few, through rate"]
    grown_mb = figures["many, through peak_mb"] - figures["few, through peak_mb"]
    verdict = Verdict()
    verdict.least(ratio, 0.9, f"0.9 {TIMES} end to end")
    verdict.most(grown_mb, _FLAT_MB, f"the worker's memory, against {_FLAT_MB:g} MB")
    calls = (f"{call} {figures[f'many {call}'] / figures[f'few {call}']:.2f} {TIMES}" for call in _CALLS)
    return [
        Row(
            f"backlog-{broker}",
            f"{plan.waiting:,} jobs waiting, {shown}",
            f"fetch, enqueue and settle ≥ 0.9 {TIMES} their rate at 1,000 end to end; worker memory flat",
            f"{figures['many, through rate']:,.0f}/s; {grown_mb:+.1f} MB",
            verdict.met,
            f"{figures['few, through rate']:,.0f}/s at 1,000",
            ratio,
            verdict.missed_by,
            [
                "end to end: `delay_many` in one process puts in what a worker takes out, so that the backlog stays",
                "the adapter's calls alone, 200 jobs each, most of it the broker's own time: "
                + ", ".join(calls),
            ],
            measured,
        )
    ]


def _cycle(plan: Plan, at: Place, waiting: int) -> dict[str, float]:
    """The adapter's calls, without a worker."""
    told = act("cycle", at.url, plan.run_s)
    with Watcher(at.url) as watcher:
        ready = watcher.counts().ready
        # What the other variant left beyond the backlog is small, and the same for both.
        if not waiting <= ready <= waiting + 2_000:
            raise RunFailed(f"{ready:,} jobs wait, not {waiting:,}")
    return {call: told[call] for call in _CALLS}


def _through(plan: Plan, at: Place, waiting: int) -> dict[str, float]:
    """Jobs a second through everything, and the worker's peak: a producer and a worker, and the backlog between."""
    with (
        Watcher(at.url) as watcher,
        Acting("feed", at.url, waiting, plan.run_s + 60) as _,
        WorkerProcess("benchmarks.noop_app", at.url) as worker,
    ):
        before = watcher.counts().succeeded_total
        until(lambda: watcher.counts().succeeded_total > before + 2_000, 20.0)
        mono_began, began = time.monotonic(), watcher.counts()
        time.sleep(plan.run_s)
        mono_ended, ended = time.monotonic(), watcher.counts()
        worker.check()
        # A fast worker holds much of a small backlog; that waits too.
        left = ended.ready + ended.running
        if ended.failed or ended.quarantined or ended.lost_total or left < waiting / 4:
            raise RunFailed(f"not a backlog of {waiting:,}: {ended}")
        peak_mb = worker.peak_mb()
    rate = (ended.succeeded_total - began.succeeded_total) / (mono_ended - mono_began)
    _top_up(at, waiting)
    return {"rate": rate, "peak_mb": peak_mb}


def _top_up(at: Place, waiting: int) -> None:
    with Watcher(at.url) as watcher:
        missing = waiting - watcher.counts().ready
    if missing > 0:
        act("fill", at.url, "noop", missing)
