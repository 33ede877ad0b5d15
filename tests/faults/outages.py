"""A broker that is away: stopped, frozen, killed.

On SQLite: a process that holds the file, and everybody who uses it killed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from penstock import BrokerUnavailable, Penstock, brokers
from penstock.ports.broker import WorkerCard
from tests.faults import kills, verdict
from tests.faults.processes import LANES, Process, ready, worker
from tests.faults.site import Site
from tests.faults.verdict import Figures

RUNNING = 1_000
BACK_WITHIN_S = 5.0
# What a call to enqueue is given (``enqueue_timeout``), and what a busy machine adds.
CALL_WITHIN_S = 5.0 + 2.0
_STARTED_WITHIN_S = 30.0
_ENDED_WITHIN_S = 30.0


@contextmanager
def away(site: Site, how: str) -> Iterator[None]:
    """Makes the broker ``stopped`` or ``frozen``; it is back at the end."""
    if site.server is None:
        path = site.url.removeprefix("sqlite:///")
        with Process(["-m", "tests.faults.locker", path], {}) as locker:
            locker.wait_for("locked")
            if how == "frozen":
                locker.signal(signal.SIGSTOP)
            yield
            if how == "frozen":
                locker.signal(signal.SIGUSR1)
                locker.signal(signal.SIGCONT)
                locker.wait(10.0)
    elif how == "frozen":
        site.server.pause()
        try:
            yield
        finally:
            site.server.resume()
    else:
        site.server.stop()
        yield
        site.server.start()


def run_long_jobs(site: Site, *, rounds: int, jobs: int = RUNNING, workers: int = 2) -> Figures:
    """The broker is away for twice the lease, again and again, while ``jobs`` jobs run: none runs twice.

    Args:
        site: The broker; Redis with ``appendonly``, which a restart needs.
        rounds: How often, by turns stopped and frozen.
        jobs: How many run through all of it.
        workers: Over how many of them; one more is idle and would take whatever is given out again.
    """
    away_s = 2 * site.lease_s
    back_s = [0.0]
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(site.client())
        fleet = [
            stack.enter_context(worker(site.environment(), concurrency=jobs // workers, app=LANES))
            for _ in range(workers)
        ]
        for each in fleet:
            ready(each)
        ids = [app.send("tests.faults.lanes.until_told", f"long-{number}").id for number in range(jobs)]
        _all_started(site, jobs)
        fleet.append(stack.enter_context(worker(site.environment(), app=LANES)))
        ready(fleet[-1])
        stack.enter_context(eager_maintenance(site))
        for number in range(rounds):
            with away(site, ("stopped", "frozen")[number % 2]):
                time.sleep(away_s)
            back_s.append(_back(site, app, fleet))
            time.sleep(random.uniform(0.2, 1.0))
        (site.folder / "told").touch()
        _all_succeeded(app, ids, _ENDED_WITHIN_S)
        kills.no_bugs(fleet)
    runs = verdict.runs_of(site.effects)
    twice = verdict.again(runs)
    assert twice == 0, f"{twice} ran twice: {[each for each in runs.values() if len(each) > 1][:3]}"
    assert len(runs) == jobs + rounds  # a probe each
    fault = f"broker stopped, and frozen, for twice the lease with {jobs:,} running jobs"
    return Figures(fault, site.broker, rounds, jobs, 0, 0, twice, longest_recovery_s=max(back_s))


@contextmanager
def eager_maintenance(site: Site) -> Iterator[None]:
    """Somebody of the fleet who is back before all others, and would take their jobs if he were allowed to."""
    stop = threading.Event()

    async def maintain() -> None:
        broker = brokers.connect(brokers.address(site.url, site.namespace))
        while not stop.is_set():
            try:
                await broker.open()
                await broker.maintain(["default"], 200, site.lease_s)
            except BrokerUnavailable:
                pass
            await asyncio.sleep(0.02)
        await broker.close()

    thread = threading.Thread(target=lambda: asyncio.run(maintain()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _all_started(site: Site, jobs: int) -> None:
    mono_until = time.monotonic() + _STARTED_WITHIN_S
    while (started := len(verdict.runs_of(site.effects))) < jobs:
        assert time.monotonic() < mono_until, f"{started} of {jobs} have started"
        time.sleep(0.05)


def _back(site: Site, app: Penstock, fleet: Sequence[Process]) -> float:
    """How long it takes until a job is run; waits until every worker has been heard of again as well."""
    wall_back, mono_back = time.time(), time.monotonic()
    key = f"probe-{mono_back:.3f}"
    app.send("tests.faults.app.on_thread", key, 0.0)
    while key not in verdict.runs_of(site.effects):
        assert time.monotonic() - mono_back <= BACK_WITHIN_S, "nothing runs 5 s after the broker is back"
        time.sleep(0.02)
    probed_s = time.monotonic() - mono_back
    pids = {each.pid for each in fleet}
    while True:
        cards: Sequence[WorkerCard] = []
        with contextlib.suppress(
            BrokerUnavailable
        ):  # an idle connection learns of the restart when it is used
            cards = app.call(cards_of(app))
        if not pids - {card.pid for card in cards if card.seen_at > wall_back}:
            return probed_s
        took_s = time.monotonic() - mono_back
        assert took_s <= site.lease_s / 3 + BACK_WITHIN_S, f"not back after {took_s:.1f} s: {cards}"
        time.sleep(0.02)


async def cards_of(app: Penstock) -> Sequence[WorkerCard]:
    """The workers that the broker knows."""
    return await (await app.inspector()).workers()


def _all_succeeded(app: Penstock, ids: Sequence[str], within_s: float) -> None:
    mono_until = time.monotonic() + within_s
    for id in ids:
        app.job(id).result(max(0.1, mono_until - time.monotonic()))


def run_kills(
    site: Site, *, rounds: int, chance: random.Random, down_s: tuple[float, float] = (0.0, 1.0)
) -> Figures:
    """The broker is killed and started again under load; on SQLite everybody who uses the file is killed at once.

    What was acknowledged succeeds, unless the broker's settings allow a loss: then it is counted. Calls to enqueue end
    in time, with success or a typed error, and the workers are back within 5 s.
    """
    outs = [site.folder / f"acks-{number}" for number in range(2)]
    done: list[verdict.Kill] = []
    with contextlib.ExitStack() as stack:
        start = _load(site, stack, outs)
        fleet, producers = start()
        for _ in range(rounds):
            time.sleep(chance.uniform(0.2, 1.0))
            if site.server is not None:
                site.server.kill()
                time.sleep(chance.uniform(*down_s))
                site.server.start()
            else:
                killer = kills.Kills(chance)
                for each in (*fleet, *producers):
                    killer.strike(each, "group")
                done += killer.done
                fleet, producers = start()
            _works_again(site, outs, time.monotonic_ns())
        for producer in producers:
            producer.signal(signal.SIGTERM)
            producer.wait_for("producer is done")
        lost = _lost(site, outs)
        kills.no_bugs(fleet)
    return _figures(site, outs, done, rounds, lost)


def _load(
    site: Site, stack: contextlib.ExitStack, outs: Sequence[Path]
) -> Callable[[], tuple[list[Process], list[Process]]]:
    environment = site.environment(PENSTOCK_MAX_CRASHES="100")
    starts = iter(range(1_000_000))

    def start() -> tuple[list[Process], list[Process]]:
        turn = next(starts)
        fleet = [stack.enter_context(worker(environment)) for _ in range(2)]
        producers = []
        for number, out in enumerate(outs):
            command = [
                "-m",
                "tests.faults.producer",
                str(out),
                f"p{number}-{turn}",
                "0",
                "0.005",
                "1",
                "on_thread=0.02",
                "tick",
            ]
            producers.append(stack.enter_context(Process(command, environment)))
        for each in fleet:
            ready(each)
        return fleet, producers

    return start


def _works_again(site: Site, outs: Sequence[Path], since_ns: int) -> None:
    """A job that was acknowledged after the broker came back has ended, soon enough."""
    limit_ns = since_ns + int((BACK_WITHIN_S + (site.lease_s if site.server is None else 0)) * 1e9)
    while True:
        acks = verdict.acknowledged(outs)
        runs = verdict.runs_of(site.effects)
        if any(
            run.start_ns > since_ns and acks.get(run.key, 0) > since_ns
            for each in runs.values()
            for run in each
        ):
            return
        assert time.monotonic_ns() < limit_ns, "nothing runs 5 s after the broker is back"
        time.sleep(0.05)


def _lost(site: Site, outs: Sequence[Path]) -> list[str]:
    """Waits until what is stored has ended; which acknowledged jobs have not run to their end by then."""
    mono_until = time.monotonic() + site.lease_s * 2 + 20
    quiet_since = (0, time.monotonic())
    while True:
        runs = verdict.runs_of(site.effects)
        ended = {key for key, each in runs.items() if any(run.end_ns for run in each)}
        left = [key for key in verdict.acknowledged(outs) if key not in ended]
        if len(ended) != quiet_since[0]:
            quiet_since = (len(ended), time.monotonic())
        if (
            not left
            or time.monotonic() - quiet_since[1] > site.lease_s * 2 + 3
            or time.monotonic() > mono_until
        ):
            time.sleep(verdict.SETTLED_WITHIN_S)
            return left
        time.sleep(0.2)


def _figures(
    site: Site, outs: Sequence[Path], done: Sequence[verdict.Kill], rounds: int, lost: Sequence[str]
) -> Figures:
    acks, runs = verdict.acknowledged(outs), verdict.runs_of(site.effects)
    longest_s = verdict.longest_call_s(outs)
    assert longest_s <= CALL_WITHIN_S, f"a call to enqueue took {longest_s:.1f} s"
    kinds = [line["type"] for line in verdict.errors(outs)]
    assert set(kinds) <= {"BrokerUnavailable", "BrokerRejected"}, verdict.tally(kinds)
    strangers = set(runs) - verdict.asked(outs)
    assert not strangers, sorted(strangers)[:5]
    twice, risk = verdict.again(runs), verdict.at_risk(runs, done)
    if site.server is None:
        odd = verdict.unexplained(runs, done)
        assert not odd, odd[:5]
    fault = (
        "broker killed and restarted under load"
        if site.server
        else "every process that uses the file killed at once"
    )
    notes = [f"longest call to enqueue {longest_s:.1f} s; errors: {verdict.tally(kinds) or 'none'}"]
    return Figures(fault, site.broker, rounds, len(acks), rounds, len(lost), twice, risk, 0.0, notes)
