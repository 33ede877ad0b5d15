"""A handler whose call of C holds the GIL for twice the lease."""

from __future__ import annotations

import time

from penstock import JobState
from tests.faults import verdict
from tests.faults.processes import Process, ready, worker
from tests.faults.site import Site, counts_of, side_by_side
from tests.faults.verdict import Figures


def run(site: Site, *, rounds: int, guarded: bool = True, at_once: int = 10) -> Figures:
    """With the guard no lease is lost: the job runs once, though another worker waits for it.

    Args:
        site: The broker.
        rounds: How many, each with a job and two workers of its own.
        guarded: Without the guard a job is expected to be taken back; it shows that the test can fail. Not every one
            is: where the GIL stops a worker in the middle of a transaction on SQLite's file, nobody else can write,
            and so nobody can take anything back, before the call has ended.
        at_once: Rounds side by side.
    """
    outcomes = side_by_side(lambda number: _round(site.part(f"gil-{number}"), guarded), rounds, at_once)
    lost, acted = (sum(column) for column in zip(*outcomes, strict=True))
    if guarded:
        assert lost == 0
        # Where nobody else can write, neither can the guard.
        least = 1 if site.broker == "sqlite" else rounds
        assert acted >= least, f"the guard has acted in {acted} of {rounds} rounds"
    else:
        assert lost, "all kept their lease without a guard"
    fault = "a handler that holds the GIL for twice the lease"
    return Figures(fault, site.broker, rounds, rounds, ran_twice=lost)


def _round(site: Site, guarded: bool) -> tuple[int, bool]:
    """How many leases were lost, and whether a guard has acted.

    Both workers are there before the job is: the other watches the whole call.
    """
    holds_s = int(2 * site.lease_s)

    def start() -> Process:
        # With one slot it fetches nothing while it runs the job, so that it is seldom stopped in a transaction.
        more = [] if guarded else ["--no-guard"]
        return worker(site.environment(), concurrency=10 if guarded else 1, more=more)

    with site.client() as app, start() as one, start() as other:
        ready(one)
        ready(other)
        handle = app.send("tests.faults.app.hold_the_gil", "gil", holds_s)
        holder = _holder(site, (one, other))
        mono_until = time.monotonic() + holds_s * 3 + 10
        if not guarded:
            while not (counts := app.call(counts_of(app))).lost_total and not counts.succeeded_total:
                assert time.monotonic() < mono_until, counts
                time.sleep(0.05)
            return counts.lost_total, False
        handle.result(holds_s * 3 + 10)
        assert handle.status() is JobState.SUCCEEDED
        assert holder.running
        counts = app.call(counts_of(app))
        assert (verdict.again(verdict.runs_of(site.effects)), counts.lost_total) == (0, 0), counts
        return 0, bool(holder.count("is silent"))


def _holder(site: Site, workers: tuple[Process, ...]) -> Process:
    """Which of them runs the job."""
    mono_until = time.monotonic() + 10
    while not (runs := verdict.runs_of(site.effects)):
        assert time.monotonic() < mono_until, "not started"
        time.sleep(0.02)
    (run,) = runs["gil"]
    return next(each for each in workers if each.pid == run.pid)
