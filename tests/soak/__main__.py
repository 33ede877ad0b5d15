"""Runs every fault driver for long and prints what came of it; ``--write`` puts the table into docs/guarantees.md.

scripts/soak                                     100 rounds, a lease of 15 s, a million jobs; takes hours
scripts/soak --only kills million --broker redis
scripts/soak --rounds 20 --lease 2 --write
scripts/soak peers                               some of the faults on other libraries; has options of its own
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from tests.faults import cuts, gil, hoard, hostile, kills, outages, pauses, poison, wires
from tests.faults.processes import ROOT
from tests.faults.site import BROKERS, Site, open_site
from tests.faults.verdict import Figures
from tests.soak.machine import redis_version
from tests.soak.peers import command as peers

PAGE: Final = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- figures of scripts/soak -->", "<!-- end of the figures -->"
EVERY_LANE: Final = ["on_thread=0.1", "on_thread=0.1", "on_loop=0.1", "on_loop=0.1", "tick", "in_process=0.1"]
ALWAYS: Final = {"appendonly": True, "appendfsync": "always"}
EVERYSEC: Final = {"appendonly": True, "appendfsync": "everysec"}


@dataclass(frozen=True)
class Soak:
    """One row's driver.

    Attributes:
        run: Is given a fresh site, the arguments and what chooses.
        brokers: Those that it makes sense on.
        redis: The settings of its Redis server.
    """

    run: Callable[[Site, argparse.Namespace, random.Random], Figures]
    brokers: Sequence[str] = BROKERS
    redis: dict[str, Any] | None = None


def _kills(site: Site, given: argparse.Namespace, chance: random.Random) -> Figures:
    return kills.run(site, rounds=given.rounds, chance=chance, tasks=EVERY_LANE)


def _supervised(site: Site, given: argparse.Namespace, chance: random.Random) -> Figures:
    figures = kills.run(
        site, rounds=given.rounds, chance=chance, tasks=EVERY_LANE[:5], workers=2, processes=2
    )
    figures.fault += ", --processes 2"
    return figures


def _outage(site: Site, given: argparse.Namespace, chance: random.Random) -> Figures:
    figures = outages.run_kills(site, rounds=given.rounds, chance=chance)
    if site.server is not None:
        figures.fault += ", appendfsync always"
    assert figures.lost == 0, figures
    return figures


def _everysec(site: Site, given: argparse.Namespace, chance: random.Random) -> Figures:
    figures = outages.run_kills(site, rounds=given.rounds, chance=chance)
    figures.fault += ", appendfsync everysec"
    return figures


SOAKS: Final = {
    "kills": Soak(_kills),
    "supervised": Soak(_supervised),
    "million": Soak(lambda site, given, chance: kills.run_many(site, jobs=given.jobs, chance=chance)),
    "poison": Soak(lambda site, given, _: poison.run(site, rounds=given.rounds)),
    "pauses": Soak(lambda site, given, _: pauses.run(site, rounds=given.rounds)),
    "away": Soak(lambda site, given, _: outages.run_long_jobs(site, rounds=given.rounds), redis=ALWAYS),
    "restarts": Soak(_outage, redis=ALWAYS),
    "everysec": Soak(_everysec, ["redis"], EVERYSEC),
    "gil": Soak(lambda site, given, _: gil.run(site, rounds=given.rounds)),
    "cuts": Soak(lambda site, given, _: asyncio.run(cuts.cut_at_every_byte(site)), ["redis"]),
    "wires": Soak(
        lambda site, given, chance: wires.run(site, rounds=10 * given.rounds, chance=chance), ["redis"]
    ),
    "impatience": Soak(
        lambda site, given, _: asyncio.run(cuts.cancel_at_every_moment(site, rounds=20 * given.rounds))
    ),
    "hoard": Soak(lambda site, given, _: hoard.run(site, rounds=max(1, given.rounds // 10))),
    "hostile": Soak(lambda site, given, _: hostile.run(site)),
}


def main() -> int:
    given = _arguments()
    # However it is ended, it stops what it has started; a shell starts what runs in the background without the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    rows: list[Figures] = []
    failed = 0
    for name in given.only or SOAKS:
        soak = SOAKS[name]
        for broker in (each for each in soak.brokers if each in given.broker):
            seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
            print(f"{time.strftime('%H:%M:%S')} {name} on {broker}, seed {seed}", flush=True)
            began = time.monotonic()
            try:
                with (
                    tempfile.TemporaryDirectory(prefix="penstock-soak-") as folder,
                    open_site(broker, Path(folder) / "site", given.lease, **(soak.redis or {})) as site,
                ):
                    rows.append(soak.run(site, given, random.Random(seed)))
            except Exception:
                failed += 1
                traceback.print_exc()
            else:
                print(f"  {rows[-1]}  in {time.monotonic() - began:.0f} s", flush=True)
    lines = [row_of(row, given.lease) for row in rows]
    print(machine(), "", *HEAD, *lines, sep="\n")
    if given.write and not failed:
        write(lines)
    print(f"{failed} failed" if failed else "all is well")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="The fault tests at full length.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--lease", type=float, default=15.0, help="seconds")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="of the run with a kill every 2 s")
    parser.add_argument("--only", nargs="+", choices=list(SOAKS), metavar="NAME", help=", ".join(SOAKS))
    parser.add_argument("--broker", nargs="+", choices=BROKERS, default=list(BROKERS))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--write", action="store_true", help="put the rows into docs/guarantees.md")
    return parser.parse_args()


HEAD: Final = [
    "| fault | broker | lease | N | jobs | kills | lost | ran twice | had started | longest recovery | |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
]


def row_of(row: Figures, lease_s: float) -> str:
    """One line of the table."""
    cells = [
        row.fault,
        row.broker,
        f"{lease_s:g} s",
        f"{row.rounds:,}",
        f"{row.jobs:,}" if row.jobs else "",
        f"{row.kills:,}" if row.kills else "",
        f"{row.lost:,}",
        f"{row.ran_twice:,}",
        f"{row.at_risk:,}" if row.at_risk else "",
        f"{row.longest_recovery_s:.1f} s" if row.longest_recovery_s else "",
        "; ".join(row.notes),
    ]
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    """When and where the figures were taken."""
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores, CPython {platform.python_version()}, "
        f"Redis {redis_version()}, SQLite {apsw.sqlite_lib_version()}."
    )


def write(rows: Sequence[str]) -> None:
    """Puts rows into the page, in place of those of the same fault and broker."""
    before, rest = PAGE.read_text().split(BEGIN)
    old, after = rest.split(END)
    kept = [line for line in old.splitlines() if line.startswith("| ") and line not in HEAD]
    table = {tuple(line.split(" | ")[:2]): line for line in [*kept, *rows]}
    text = "\n".join([machine(), "", *HEAD, *table.values()])
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    sys.exit(peers.main(sys.argv[2:]) if sys.argv[1:2] == ["peers"] else main())
