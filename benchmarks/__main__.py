"""``scripts/bench``: measures, prints, and writes ``docs/benchmarks.md``.

``scripts/bench peers`` measures other libraries beside Penstock; it has options of its own.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import backlog, bench, drain, footprint, latency, processes, producing, report, trips
from benchmarks.bench import Plan, Row, say
from benchmarks.children import ROOT, RunFailed
from benchmarks.peers import command as peers
from benchmarks.peers import pages

PAGE = ROOT / "docs" / "benchmarks.md"
SUBJECTS: dict[str, Callable[[Plan], list[Row]]] = {
    "drain": drain.on_redis,
    "drain-sqlite": drain.on_sqlite,
    "processes": processes.one_and_two,
    "delay": producing.one_after_another,
    "delay-many": producing.many,
    "delay-beside-drain": producing.beside_a_drain,
    "start": latency.to_start,
    "result": latency.to_result,
    "sleeping": latency.sleeping,
    "footprint": footprint.processor_and_memory,
    "process-start": footprint.start,
    "trips": trips.trips,
    "idle": footprint.idle,
    "backlog": backlog.on_redis,
    "backlog-sqlite": backlog.on_sqlite,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="NAMES",
        default="",
        help=f"some of {', '.join(SUBJECTS)}; writes no page unless --output says where",
    )
    parser.add_argument(
        "--quick", action="store_true", help="short runs, for development; writes no page either"
    )
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    parser.add_argument("--output", type=Path, help="where the page goes [docs/benchmarks.md]")
    given = parser.parse_args()
    given.names = [name for name in given.only.split(",") if name] or list(SUBJECTS)
    unknown = [name for name in given.names if name not in SUBJECTS]
    if unknown:
        parser.error(f"no subject {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    if given.output is None and not (given.only or given.quick):
        given.output = PAGE
    return given


def _measure(plan: Plan, names: list[str]) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        say(f"{name} ({time.strftime('%H:%M:%S')})")
        try:
            rows += SUBJECTS[name](plan)
        except (RunFailed, OSError) as error:
            say(f"  FAILED: {error}")
            failed.append(f"{name}: {error}")
    return rows, failed


def main() -> int:
    """Exit status 1 where a run failed; an aim that is missed is no failure."""
    given = _arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        plan = (bench.quick if given.quick else bench.thorough)(Path(folder))
        facts = report.machine(plan)
        rows, failed = _measure(plan, given.names)
    command = shlex.join(["scripts/bench", *sys.argv[1:]])
    kept = pages.between(PAGE.read_text())
    page = report.markdown(rows, facts, plan, command, time.monotonic() - began, kept)
    print(report.as_json(rows, facts, plan) if given.json else page)
    if given.output is not None and not failed:
        given.output.write_text(page)
        say(f"written to {given.output.name}")
    for line in failed:
        say(f"failed: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(peers.main(sys.argv[2:]) if sys.argv[1:2] == ["peers"] else main())
