"""``kill -9`` at random moments while jobs run and producers enqueue."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from penstock import Penstock
from tests.faults import verdict
from tests.faults.processes import LANES, Process, descendants, gone, ready, worker
from tests.faults.site import Site, counts_of
from tests.faults.verdict import Figures, Kill

RECOVERY_SLACK_S = 5.0


class Kills:
    """Whom, how and when: kept for the verdict.

    Args:
        chance: What chooses the victims and the moments.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.done: list[Kill] = []

    def strike(self, process: Process, how: str) -> None:
        """Kills ``group``, ``parent`` or ``child`` of a worker; whoever loses its parent by it must end as well."""
        below = descendants(process.pid)
        victim = self._chance.choice(below) if how == "child" and below else process.pid
        doomed = [victim, *descendants(victim)]
        at_ns = time.monotonic_ns()
        with contextlib.suppress(ProcessLookupError):
            if how == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(victim, signal.SIGKILL)
        self.done.append(Kill(at_ns, frozenset(doomed), how))
        mono_until = time.monotonic() + verdict.ORPHANS_END_WITHIN_S
        while left := [pid for pid in doomed if not gone(pid)]:
            assert time.monotonic() < mono_until, f"{left} live on without the parent that was killed ({how})"
            time.sleep(0.01)


def run(
    site: Site,
    *,
    rounds: int,
    chance: random.Random,
    tasks: Sequence[str],
    ways: Sequence[str] = ("group", "parent", "child"),
    workers: int = 3,
    concurrency: int = 5,
    processes: int = 1,
    app: str = LANES,
    every: tuple[float, float] = (0.15, 0.6),
) -> Figures:
    """Keeps a fleet under kills while a producer, which is killed as well, enqueues.

    No job is guilty, so none may end dead; each killed process can blame one job and no more.

    Args:
        site: The broker.
        rounds: How many kills of workers.
        chance: What chooses.
        tasks: What to enqueue, ``NAME=LONGEST_S``.
        ways: How to kill.
        workers: How many of them.
        concurrency: Slots of each of their processes.
        processes: ``--processes`` of each.
        app: Which application they run.
        every: Between two kills, at least and at most, in leases.
    """
    environment = site.environment()
    kills, outs = Kills(chance), [site.folder / f"acks-{number}" for number in range(2)]
    with contextlib.ExitStack() as stack:

        def start() -> Process:
            return stack.enter_context(
                worker(environment, concurrency=concurrency, processes=processes, app=app)
            )

        fleet = [start() for _ in range(workers)]
        for each in fleet:
            ready(each, processes)
        producer = stack.enter_context(_producer(site, outs[0], "a", tasks))
        for number in range(rounds):
            time.sleep(chance.uniform(*every) * site.lease_s)
            place = chance.randrange(workers)
            kills.strike(fleet[place], ways[number % len(ways)])
            if number == rounds // 2:
                producer.end()
                producer = stack.enter_context(_producer(site, outs[1], "b", tasks))
            if not fleet[place].running:
                fleet[place].end()
                fleet[place] = start()
        producer.signal(signal.SIGTERM)
        producer.wait_for("producer is done")
        settle(site, outs, within_s=site.lease_s * 2 + 30)
        no_bugs(fleet)
    return judge(site, outs, kills.done, rounds, processes=processes)


def _producer(site: Site, out: Path, prefix: str, tasks: Sequence[str], pause_s: float = 0.02) -> Process:
    command = ["-m", "tests.faults.producer", str(out), prefix, "0", str(pause_s), "1", *tasks]
    return Process(command, site.environment())


def settle(site: Site, outs: Sequence[Path], within_s: float) -> None:
    """Waits until every acknowledged job has run to its end and nothing is left in the queue."""
    mono_until = time.monotonic() + within_s
    while time.monotonic() < mono_until:
        runs = verdict.runs_of(site.effects)
        ended = {key for key, each in runs.items() if any(run.end_ns for run in each)}
        left = verdict.acknowledged(outs).keys() - ended - verdict.like_poison(runs)
        if not left:
            _wait_until_empty(site, mono_until)
            return
        time.sleep(0.1)
    raise AssertionError(
        f"{len(left)} acknowledged jobs have not ended after {within_s:g} s: {sorted(left)[:10]}"
    )


def _wait_until_empty(site: Site, mono_until: float) -> None:
    """A job that had ended and was not settled when its worker was killed runs again after the lease."""
    with site.client() as app:
        while (counts := app.call(counts_of(app))).ready + counts.running + counts.scheduled:
            assert time.monotonic() < mono_until, f"something is left: {counts}"
            time.sleep(0.1)


def no_bugs(fleet: Sequence[Process]) -> None:
    """No duty of a worker has met what it did not foresee."""
    for each in fleet:
        assert not each.count("a bug in Penstock"), "\n".join(each.output()[-60:])


def judge(
    site: Site, outs: Sequence[Path], kills: Sequence[Kill], rounds: int, *, processes: int = 1
) -> Figures:
    """All succeeded; what ran twice had been cut short by a kill; and nobody waited longer than was promised."""
    acks, runs = verdict.acknowledged(outs), verdict.runs_of(site.effects)
    together = site.folder / "acknowledged"
    together.write_text(
        "".join(out.read_text()[: out.read_text().rfind("\n") + 1] for out in outs if out.exists())
    )
    counts, states = verdict.states_of(site.states(together))
    excused = verdict.like_poison(runs)
    failed = verdict.all_succeeded(acks.keys() - excused, states, runs)
    assert not failed, f"{len(failed)} of {len(acks)}: {failed[:5]}\n{counts}"
    strangers = set(runs) - verdict.asked(outs)
    assert not strangers, f"ran and were never asked for: {sorted(strangers)[:5]}"
    odd = verdict.unexplained(runs, kills)
    assert not odd, f"{len(odd)} ran again without a kill: {odd[:5]}"
    twice, risk = verdict.again(runs), verdict.at_risk(runs, kills)
    assert twice <= risk, f"{twice} ran again, {risk} had started at the kills"
    bound = (site.lease_s, RECOVERY_SLACK_S)
    cut_short, waited = verdict.recoveries_s(runs, kills, *bound), verdict.waits_s(acks, runs, kills)
    recovery_s = max([*cut_short, *waited], default=0.0)
    assert recovery_s <= site.lease_s + RECOVERY_SLACK_S, f"recovery took {recovery_s:.1f} s"
    for state in ("ready", "scheduled", "running", "quarantined"):
        assert counts[state] == 0, counts
    assert counts["failed"] == sum(states[key]["state"] == "failed" for key in excused & acks.keys()), counts
    assert counts["enqueued_total"] == counts["succeeded_total"] + counts["failed"] >= len(acks), counts
    blamed = sum(states[key]["crashes"] for key in acks)
    assert blamed <= len(kills) * processes, f"{len(kills)} kills, and jobs were blamed {blamed} times"
    return Figures("kill -9", site.broker, rounds, len(acks), len(kills), 0, twice, risk, recovery_s)


def run_many(
    site: Site, *, jobs: int, chance: random.Random, every_s: float = 2.0, workers: int = 3
) -> Figures:
    """So many jobs, enqueued in slices and drained while a worker is killed every two seconds."""
    environment = site.environment()
    kills, out = Kills(chance), site.folder / "acks-0"
    with contextlib.ExitStack() as stack:

        def start() -> Process:
            return stack.enter_context(worker(environment))

        fleet = [start() for _ in range(workers)]
        for each in fleet:
            ready(each)
        command = ["-m", "tests.faults.producer", str(out), "m", str(jobs), "0", "500", "tick"]
        producer = stack.enter_context(Process(command, environment))
        seen = verdict.Tally(site.effects)
        mono_quiet = time.monotonic()
        while len(seen.ended) < jobs:
            time.sleep(every_s)
            place = chance.randrange(workers)
            kills.strike(fleet[place], ("group", "parent")[len(kills.done) % 2])
            fleet[place].end()
            fleet[place] = start()
            if seen.read():
                mono_quiet = time.monotonic()
            assert time.monotonic() - mono_quiet < site.lease_s * 3 + 30, (
                f"only {len(seen.ended)} of {jobs} have ended"
            )
        producer.wait_for("producer is done")
        time.sleep(
            site.lease_s + verdict.SETTLED_WITHIN_S
        )  # a job that had ended unsettled runs again after the lease
        no_bugs(fleet)
        with site.client() as app:
            claimed = _wait_until_settled(app, jobs, within_s=site.lease_s + 30)
    acks = verdict.acknowledged([out])
    lost = len(acks.keys() - seen.ended)
    assert (len(acks), lost) == (jobs, 0), f"{lost} of {len(acks)} are lost"
    runs = verdict.runs_of(site.effects, only=verdict.repeated(site.effects))
    odd = verdict.unexplained(runs, kills.done)
    assert not odd, f"{len(odd)} ran again without a kill: {odd[:5]}"
    twice, risk = verdict.again(runs), min(claimed, verdict.at_risk_in(site.effects, kills.done))
    assert twice <= risk, f"{twice} ran again, {risk} had been held or started at the kills"
    fault = f"kill -9 every {every_s:g} s while jobs drain"
    return Figures(fault, site.broker, len(kills.done), jobs, len(kills.done), 0, twice, risk)


def _wait_until_settled(app: Penstock, jobs: int, within_s: float) -> int:
    """Waits until all have succeeded; returns how many were taken back from killed workers."""
    mono_until = time.monotonic() + within_s
    while (counts := app.call(counts_of(app))).succeeded_total < jobs:
        assert time.monotonic() < mono_until, counts
        time.sleep(0.1)
    left = (counts.ready, counts.scheduled, counts.running, counts.failed, counts.quarantined)
    assert (left, counts.enqueued_total, counts.succeeded_total) == ((0, 0, 0, 0, 0), jobs, jobs), counts
    return counts.lost_total
