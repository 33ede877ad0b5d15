"""A handler whose call of C holds the GIL for twice the lease."""

from __future__ import annotations

import time

from penstock import JobState
from tests.faults import verdict
from tests.faults.processes import ready, worker
from tests.faults.site import Site, counts_of, side_by_side
from tests.faults.verdict import Figures


def run(site: Site, *, rounds: int, guarded: bool = True, at_once: int = 10) -> Figures:
    """With the guard no lease is lost: the job runs once, though another worker waits for it.

    Args:
        site: The broker.
        rounds: How many, each with a job and two workers of its own.
        guarded: Without the guard the job is expected to be given out again; it shows that the test can fail.
        at_once: Rounds side by side.
    """
    lost = side_by_side(lambda number: _round(site.part(f"gil-{number}"), guarded), rounds, at_once)
    assert guarded or all(lost), "some kept their lease without a guard"
    return Figures(
        "a handler that holds the GIL for twice the lease", site.broker, rounds, rounds, ran_twice=sum(lost)
    )


def _round(site: Site, guarded: bool) -> int:
    holds_s = int(2 * site.lease_s)
    more = [] if guarded else ["--no-guard"]
    with site.client() as app, worker(site.environment(), more=more) as first:
        ready(first)
        handle = app.send("tests.faults.app.hold_the_gil", "gil", holds_s)
        mono_until = time.monotonic() + 10
        while not verdict.runs_of(site.effects):
            assert time.monotonic() < mono_until, "not started"
            time.sleep(0.02)
        with worker(site.environment(), more=more) as second:
            ready(second)
            if not guarded:
                while not (counts := app.call(counts_of(app))).lost_total:
                    assert time.monotonic() < mono_until + holds_s, (
                        f"it kept its lease without a guard: {counts}"
                    )
                    time.sleep(0.05)
                return 1
            handle.result(holds_s * 3 + 10)
            time.sleep(0.5)
            assert handle.status() is JobState.SUCCEEDED
            assert first.running
            counts = app.call(counts_of(app))
        assert (verdict.again(verdict.runs_of(site.effects)), counts.lost_total) == (0, 0), counts
        assert first.count("is silent"), "the guard has said nothing of it"
        return 0
