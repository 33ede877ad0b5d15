"""Quick jobs make a worker fetch ahead; long ones behind them must not wait in its hands while others are idle."""

from __future__ import annotations

import contextlib
import time

from tests.faults import verdict
from tests.faults.processes import ready, worker
from tests.faults.site import Site
from tests.faults.verdict import Figures

QUICK = 5_000
LONG = 50
LASTS_S = 10.0
WORKERS = 5
SLOTS = 10
START_WITHIN_S = 2.0


def run(site: Site, *, rounds: int = 1) -> Figures:
    """5,000 no-ops, then 50 jobs of 10 s, 5 workers of 10 slots: all 50 start within 2 s of the last no-op.

    Each round has jobs and workers of its own. The workers are killed once all have started.
    """
    slowest_s = max(_round(site.part(f"hoard-{number}")) for number in range(rounds))
    fault = "5,000 no-ops, then 50 jobs of 10 s, 5 workers of 10 slots"
    return Figures(
        fault,
        site.broker,
        rounds,
        rounds * (QUICK + LONG),
        notes=[f"all 50 started within {slowest_s:.2f} s"],
    )


def _round(site: Site) -> float:
    from tests.faults.app import on_thread, tick

    with site.client() as app, contextlib.ExitStack() as stack:
        # The workers idle before the jobs come, as in a fleet; each is as quick as it will be.
        fleet = [stack.enter_context(worker(site.environment(), concurrency=SLOTS)) for _ in range(WORKERS)]
        for each in fleet:
            ready(each)
        jobs = [tick.job((f"quick-{number}",), {}) for number in range(QUICK)]
        jobs += [on_thread.job((f"long-{number}", LASTS_S), {}) for number in range(LONG)]
        for start in range(0, len(jobs), 500):
            app.enqueue(jobs[start : start + 500])
        put_ns = time.monotonic_ns()
        mono_until = time.monotonic() + 30
        while True:
            runs = verdict.runs_of(site.effects)
            starts = [each[0].start_ns for key, each in runs.items() if key.startswith("long")]
            if len(starts) == LONG:
                break
            assert time.monotonic() < mono_until, f"{len(starts)} of {LONG} have started"
            time.sleep(0.05)
        assert verdict.again(runs) == 0
        quick_ns = max(each[0].end_ns for key, each in runs.items() if key.startswith("quick"))
        took_s = (max(starts) - max(put_ns, quick_ns)) / 1e9
        assert took_s <= START_WITHIN_S, (
            f"the last of the long ones started {took_s:.2f} s after the last of the quick ones"
        )
        return took_s
