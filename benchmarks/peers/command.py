"""``scripts/bench peers``: Penstock and other libraries at the same work, in turns, on one machine.

Prints the tables. ``--choose`` measures everybody's best settings with several numbers of processes and of jobs at
once, within a quarter of an hour, and keeps what was best for the runs to come. A whole run also writes
``benchmarks/results/peers.json``, the section between the markers of ``docs/benchmarks.md``, and the plots in
``docs/plots``.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import redis

from benchmarks import bench, report
from benchmarks.bench import Place, Plan, say
from benchmarks.children import ROOT, RunFailed
from benchmarks.peers import choosing, chosen, environments, pages, running
from benchmarks.peers.environments import Absent
from benchmarks.peers.peer import KINDS, Peer, Setting
from benchmarks.peers.results import DURABILITIES, Case, Results
from benchmarks.peers.running import Limits
from benchmarks.peers.table import ALL, PENSTOCK
from benchmarks.peers.turns import Programs, Turn, rotated, turns

# All of it, three rounds, then takes about 20 minutes on two quiet cores.
THOROUGH = Limits(run_s=1.5, wait_s=1.0, cut_s=10.0, enqueue_s=0.5)
QUICK = Limits(run_s=0.6, wait_s=0.6, cut_s=10.0, enqueue_s=0.3)
# The first guess of how many jobs a run needs may be far off; below this share of its time it is done once more.
_TOO_SHORT = 0.4
_FEWEST_JOBS = 20
_SECONDS_A_JOB = {"noop": 0.0, "1 ms": 0.001, "10 ms": 0.01}
LATEST = environments.FOLDER / "latest.json"
RESULT = ROOT / "benchmarks" / "results" / "peers.json"


class Measuring:
    """Everything that a run of the benchmark needs, and what it has found so far."""

    def __init__(self, limits: Limits, places: dict[str, Place], folder: Path, results: Results) -> None:
        self._limits = limits
        self._places = places
        self._folder = folder
        self._results = results
        self._rates: dict[Case, float] = {}

    def take(self, turn: Turn) -> None:
        """One run; one that failed is tried once more at once, and is told of even if that has a figure."""
        if self._results.failed.get(turn.case) == turn.peer.bulk:
            return
        if not self._tried(turn):
            self._tried(turn)

    def _tried(self, turn: Turn) -> bool:
        failed = False
        try:
            told = self._drain(turn) if turn.case.kind in KINDS else self._enqueue(turn)
        except (RunFailed, OSError, redis.RedisError) as error:
            self._results.failed[turn.case] = str(error)
            told, failed = f"FAILED: {error}", True
        say(f"  {turn.case.kind:6} {turn.case.durability:9} {turn.peer.name}, {turn.case.setting}: {told}")
        return not failed

    def _enqueue(self, turn: Turn) -> str:
        at, way = self._places[turn.case.durability], turn.case.kind
        rate = running.enqueue_rate(turn.peer, turn.setting, turn.programs, at, way, self._limits)
        if rate is None:
            self._results.failed[turn.case] = turn.peer.bulk
            return turn.peer.bulk
        self._results.add(turn.case, rate=rate)
        return f"{rate:,.0f}/s enqueued"

    def _drain(self, turn: Turn) -> str:
        drained = self._once(turn)
        if drained.took_s < _TOO_SHORT * self._long_s(turn) and drained.jobs < self._limits.most:
            drained = self._once(turn)
        self._results.add(
            turn.case,
            rate=drained.rate,
            start_s=drained.start_s,
            peak_mb=drained.peak_mb,
            took_s=drained.took_s,
            jobs=drained.jobs,
            processes=turn.setting.processes(turn.case.kind),
            cut=drained.cut,
        )
        cut = ", cut" if drained.cut else ""
        return f"{drained.rate:,.0f}/s over {drained.took_s:.1f} s{cut}, {drained.peak_mb:.0f} MB"

    def _long_s(self, turn: Turn) -> float:
        limits = self._limits
        return (limits.run_s if turn.case.kind == "noop" else limits.wait_s) * turn.setting.longer

    def _once(self, turn: Turn) -> running.Drained:
        case = turn.case
        # Where the disk is waited for, a rate is at best about half of what it was without.
        without = self._rates.get(case._replace(durability="none"), 0.0)
        slowed = without / 2 if case.durability == "always" else without
        guess = self._rates.get(case) or slowed or first_guess(turn.setting, case.kind)
        count = min(self._limits.most, max(_FEWEST_JOBS, int(guess * self._long_s(turn))))
        at = self._places[case.durability]
        drained = running.drain(
            turn.peer, turn.setting, turn.programs, at, case.kind, count, self._limits, self._folder
        )
        self._rates[case] = drained.rate
        return drained


def first_guess(setting: Setting, kind: str) -> float:
    """Jobs a second: its no-op rate, or what its concurrency allows where jobs wait."""
    waiting_s = _SECONDS_A_JOB[kind]
    return min(setting.rate, setting.at_once(kind) / waiting_s) if waiting_s else setting.rate


def _programs(peer: Peer) -> tuple[Path, Programs]:
    plain = peer.environment()
    best = peer.best_environment() if peer.best_environment else plain
    return plain, lambda setting: best if setting.best else plain


def _environments(names: list[str], results: Results) -> list[tuple[Peer, Programs]]:
    found: list[tuple[Peer, Programs]] = []
    for peer in ALL:
        if peer.key not in names:
            continue
        try:
            plain, programs = _programs(peer)
            results.versions[peer.key] = peer.versions(plain)
            found.append((peer, programs))
        except Absent as reason:
            say(f"  {peer.name} is absent: {reason}")
            results.absent[peer.key] = str(reason)
    return found


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__)
    keys = [peer.key for peer in ALL]
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=keys,
        help=f"some of {', '.join(keys)}, beside Penstock; writes nothing unless --output says where",
    )
    parser.add_argument(
        "--quick", action="store_true", help="short runs, for development; writes nothing either"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured [3]")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="at most N jobs a run: to see that everything works; writes nothing",
    )
    parser.add_argument(
        "--choose",
        action="store_true",
        help="measure the best settings with each of their candidates, some processes and jobs at once, and keep what "
        "was best in chosen.json; of shorter runs, only with --output",
    )
    parser.add_argument(
        "--output", type=Path, help="a folder for peers.json, peers.md and the plots, or for chosen.json"
    )
    parser.add_argument(
        "--from-json",
        type=Path,
        help="measure nothing: tables and plots of an earlier result, such as .cache/peers/latest.json",
    )
    return parser.parse_args(words)


def _measure(given: argparse.Namespace) -> Results:
    began = time.monotonic()
    names = [PENSTOCK.key, *given.only] if given.only else [peer.key for peer in ALL]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        plan: Plan = bench.quick(folder) if given.quick else bench.thorough(folder)
        limits = QUICK if given.quick else choosing.LIMITS if given.choose else THOROUGH
        if given.jobs:
            limits = replace(limits, most=given.jobs)
        results = Results(
            machine=report.machine(plan),
            limits=asdict(limits),
            quick=given.quick or bool(given.jobs),
            rounds=given.rounds,
            chosen=chosen.told(chosen.load(), names),
            command=shlex.join(["scripts/bench", *sys.argv[1:]]),
        )
        environments.FOLDER.mkdir(parents=True, exist_ok=True)
        peers = _environments(names, results)
        places = {
            each: stack.enter_context(bench.place(plan, "redis", None if each == "none" else each))
            for each in DURABILITIES
        }
        measuring = Measuring(limits, places, folder, results)
        mono_until = time.monotonic() + choosing.WITHIN_S if given.choose else math.inf
        for number in range(given.rounds):
            say(f"round {number + 1} of {given.rounds} ({time.strftime('%H:%M:%S')})")
            ordered = rotated(peers, number, given.rounds)
            for turn in choosing.turns(ordered, number, results) if given.choose else turns(ordered):
                if time.monotonic() > mono_until:
                    break
                measuring.take(turn)
                results.took_s = time.monotonic() - began
                # What was measured outlives a run that is cut; --from-json reads it.
                LATEST.write_text(json.dumps(results.saved()))
    return results


def main(words: list[str]) -> int:
    """Exit status 1 where a library that is there could not be measured in every round."""
    given = _arguments(words)
    results = Results.loaded(json.loads(given.from_json.read_text())) if given.from_json else _measure(given)
    if given.choose:
        if given.output:
            choosing.keep(results, given.output / chosen.FILE.name)
        elif not results.quick:
            choosing.keep(results, chosen.FILE)
        return 0
    print(pages.section(results))
    if given.output:
        pages.write(results, given.output / "peers.json", given.output / "peers.md", given.output / "plots")
    elif not (given.only or results.quick):
        pages.write(results, RESULT, ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "plots")
    for case, reason in results.failed.items():
        if case.kind in KINDS:
            say(f"failed: {case}: {reason}")
    return (
        1
        if any(case.kind in KINDS and results.rounds_of(case) < results.rounds for case in results.failed)
        else 0
    )
