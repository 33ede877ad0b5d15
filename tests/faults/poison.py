"""One job that kills its process, among many good ones that are fetched together with it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from penstock.core.lifecycle import JobState
from tests.faults import verdict
from tests.faults.processes import LANES, worker
from tests.faults.site import Site, counts_of, record_of, side_by_side
from tests.faults.verdict import Figures

GOOD = 500
_TASKS = {
    "tick": "tests.faults.app.tick",
    "kill_own_process": "tests.faults.app.kill_own_process",
    "kill_own_child": "tests.faults.lanes.kill_own_child",
}


def run(
    site: Site,
    *,
    rounds: int,
    tasks: Sequence[str] = ("kill_own_process", "kill_own_child"),
    at_once: int = 10,
) -> Figures:
    """Each round: exactly one dead, 500 succeeded.

    Args:
        site: The broker.
        rounds: How many.
        tasks: The guilty ones, in turn.
        at_once: Rounds side by side, each with jobs of its own.
    """
    deaths = side_by_side(
        lambda number: _round(site.part(f"poison-{number}"), tasks[number % len(tasks)]), rounds, at_once
    )
    return Figures("one poison job among 500", site.broker, rounds, rounds * (GOOD + 1), sum(deaths))


def _round(site: Site, guilty: str) -> int:
    environment = site.environment()
    with site.client() as app:
        names = ["tick"] * (GOOD // 2) + [guilty] + ["tick"] * (GOOD // 2)
        handles = [app.send(_TASKS[name], f"{name}-{number}") for number, name in enumerate(names)]
        handle = handles[GOOD // 2]
        deaths = 0
        mono_until = time.monotonic() + (verdict.MAX_CRASHES + 1) * (site.lease_s + 5)
        while True:
            with worker(environment, app=LANES, more=["--grace", "1"]) as process:
                while process.running and handle.status() is not JobState.FAILED:
                    assert time.monotonic() < mono_until, (
                        f"not in the dead set: {handle.status()}, {deaths} deaths"
                    )
                    time.sleep(0.05)
                if handle.status() is JobState.FAILED:
                    _wait_for_the_good(site, mono_until)
                    break
                deaths += 1
        record = app.call(record_of(app, handle.id))
        assert record is not None
        assert (record.cause, record.crashes) == ("poison", verdict.MAX_CRASHES), record
        counts = app.call(counts_of(app))
    assert (counts.failed, counts.succeeded_total) == (1, GOOD), counts
    assert counts.ready == counts.running == counts.scheduled == counts.quarantined == 0, counts
    return deaths


def _wait_for_the_good(site: Site, mono_until: float) -> None:
    while sum(1 for runs in verdict.runs_of(site.effects).values() if any(run.end_ns for run in runs)) < GOOD:
        assert time.monotonic() < mono_until, "good jobs are missing"
        time.sleep(0.05)
    time.sleep(verdict.SETTLED_WITHIN_S)
