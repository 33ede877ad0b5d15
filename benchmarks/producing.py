"""Enqueueing: one after another, many at once, and into a file that a worker drains meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.bench import (
    TIMES,
    Place,
    Plan,
    Row,
    Verdict,
    interleaved,
    middle,
    percentile,
    place,
    say,
    until,
)
from benchmarks.children import RunFailed, WorkerProcess, act
from benchmarks.state import Watcher


def _counted(at: Place, actor: str, *args: object) -> dict[str, float]:
    """A producer's rate, once every job of its is in the queue."""
    at.empty()
    told = act(actor, at.url, *args)
    with Watcher(at.url) as watcher:
        stored = watcher.counts().ready
    if stored != told["count"]:
        raise RunFailed(f"{actor}: {stored:,} jobs are stored, not {told['count']:,}")
    return {"": float(told["rate"])}


def one_after_another(plan: Plan) -> list[Row]:
    """``delay`` beside redis-py calling the same script with the same bytes."""
    with place(plan, "redis") as at:
        measured = interleaved(
            plan.runs,
            {
                "bare": lambda: _counted(at, "bare_delay", plan.run_s),
                "delay": lambda: _counted(at, "delay", plan.run_s),
            },
        )
    with place(plan, "sqlite") as at:
        on_file = middle(interleaved(plan.runs, {"delay, SQLite": lambda: _counted(at, "delay", plan.run_s)}))
    rates = middle(measured)
    verdict = Verdict()
    verdict.least(rates["delay"], 0.8 * rates["bare"], f"0.8 {TIMES} bare redis-py")
    return [
        Row(
            "delay", "`.delay()` one after another, Redis", f"≥ 0.8 {TIMES} bare redis-py calling one script",
            f"{rates['delay']:,.0f}/s", verdict.met, f"{rates['bare']:,.0f}/s", rates["delay"] / rates["bare"],
            verdict.missed_by, notes=[f"on SQLite {on_file['delay, SQLite']:,.0f}/s"], samples=measured,
        )
    ]  # fmt: skip


def many(plan: Plan) -> list[Row]:
    """``delay_many``, 20,000 jobs a call."""
    with place(plan, "redis") as at:
        measured = interleaved(
            plan.runs,
            {
                "bare": lambda: _counted(at, "bare_delay_many", plan.run_s),
                "delay_many": lambda: _counted(at, "delay_many", plan.run_s),
            },
        )
    with place(plan, "sqlite") as at:
        on_file = middle(
            interleaved(plan.runs, {"many, SQLite": lambda: _counted(at, "delay_many", plan.run_s)})
        )
    rates = middle(measured)
    verdict = Verdict()
    verdict.least(rates["delay_many"], 150_000, "150,000/s")
    return [
        Row(
            "delay-many", "`.delay_many`", "≥ 150,000/s", f"{rates['delay_many']:,.0f}/s", verdict.met,
            f"{rates['bare']:,.0f}/s", rates["delay_many"] / rates["bare"], verdict.missed_by,
            notes=[
                "the limit is redis-py with ready-made bodies and the same script in slices of 500",
                f"on SQLite {on_file['many, SQLite']:,.0f}/s",
            ],
            samples=measured,
        )
    ]  # fmt: skip


def beside_a_drain(plan: Plan) -> list[Row]:
    """``delay`` on SQLite from another process while a worker drains."""
    with place(plan, "sqlite") as at:
        measured = interleaved(
            plan.runs,
            {
                "back to back": lambda: _beside(plan, at, 0.0),
                "every 5 ms": lambda: _beside(plan, at, 0.005),
            },
        )
    figures = middle(measured)
    verdict = Verdict()
    verdict.most(figures["back to back p99"], 10.0, "p99")
    return [
        Row(
            "delay-beside-drain", "`.delay()` on SQLite from another process while a worker drains", "p99 ≤ 10 ms",
            f"p50 {figures['back to back p50']:.2f} ms, p99 {figures['back to back p99']:.2f} ms", verdict.met,
            missed_by=verdict.missed_by, samples=measured,
            notes=[
                f"one after another; the longest {max(measured['back to back longest']):.1f} ms",
                f"the worker drained {figures['back to back drained']:,.0f}/s meanwhile",
                f"one every 5 ms: p50 {figures['every 5 ms p50']:.2f} ms, p99 {figures['every 5 ms p99']:.2f} ms",
            ],
        )
    ]  # fmt: skip


_enough = {"count": 100_000}


def _beside(plan: Plan, at: Place, every_s: float) -> Mapping[str, float]:
    """Milliseconds of ``delay``, and the worker's rate meanwhile. The queue must not run empty before the end."""
    while True:
        at.empty()
        act("fill", at.url, "noop", _enough["count"])
        with Watcher(at.url) as watcher, WorkerProcess("benchmarks.noop_app", at.url) as worker:
            until(lambda: watcher.counts().succeeded_total > 1_000, 10.0)
            before = watcher.counts().succeeded_total
            told = act("paced", at.url, plan.run_s, every_s)
            counts = watcher.counts()
            worker.check()
        if counts.failed or counts.quarantined:
            raise RunFailed(f"jobs went astray: {counts}")
        if counts.ready > 1_000:
            break
        _enough["count"] = int(_enough["count"] * (1.5 if counts.ready else 2.5))
        say(f"  the queue ran empty; again with {_enough['count']:,} jobs")
    took_ms = [each * 1000 for each in told["took_s"]]
    return {
        "p50": percentile(took_ms, 50),
        "p99": percentile(took_ms, 99),
        "longest": max(took_ms),
        "drained": (counts.succeeded_total - before) / plan.run_s,
    }
