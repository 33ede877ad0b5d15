"""What a second worker process adds on the same machine: for jobs with work of their own, and for none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.bench import TIMES, Place, Plan, Row, Verdict, interleaved, middle, place, until
from benchmarks.children import WorkerProcess, act
from benchmarks.state import Watcher

_WITHIN_S = 120.0
# Jobs a second and process that are expected, so that a run takes about as long as the plan wants.
_EXPECTED = {"noop": 200_000, "work": 8_000}


def one_and_two(plan: Plan) -> list[Row]:
    """One and two worker processes on Redis, which has no core to itself."""
    with place(plan, "redis") as at:
        runs: dict[str, Callable[[], Mapping[str, float]]] = {
            f"{task}, {count}": partial(_drain, plan, at, task, count)
            for task in _EXPECTED
            for count in (1, 2)
        }
        measured = interleaved(plan.runs, runs)
    rates = middle(measured)
    return [
        _row("100 us of Python each", "work", rates, measured),
        _row("no-op jobs", "noop", rates, {}),
    ]


def _row(what: str, task: str, rates: Mapping[str, float], measured: dict[str, list[float]]) -> Row:
    one, two = rates[f"{task}, 1"], rates[f"{task}, 2"]
    verdict = Verdict()
    verdict.least(two, 1.5 * one, f"1.5 {TIMES} one process")
    return Row(
        "processes", f"two worker processes, {what}", f"≥ 1.5 {TIMES} one", f"{two:,.0f}/s", verdict.met,
        f"{one:,.0f}/s with one", two / one, verdict.missed_by, samples=measured,
    )  # fmt: skip


def _drain(plan: Plan, at: Place, task: str, processes: int) -> dict[str, float]:
    """Jobs a second from the moment at which a paused queue goes on, with all workers waiting, to the last job."""
    at.empty()
    count = int(_EXPECTED[task] * plan.run_s * (1 if task == "noop" else processes))
    with Watcher(at.url) as watcher:
        watcher.pause()
        act("fill", at.url, task, count)
        with WorkerProcess("benchmarks.noop_app", at.url, "--processes", str(processes)) as workers:
            until(lambda: watcher.workers() == processes, 20.0)
            mono_began = time.monotonic()
            watcher.resume()

            def settled() -> bool:
                workers.check()
                return watcher.settled(count)

            until(settled, _WITHIN_S, every_s=0.02)
            return {"": count / (time.monotonic() - mono_began)}
