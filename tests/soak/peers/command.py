"""The same faults on Penstock and on other libraries, one driver for all of them, printed side by side.

scripts/soak peers                                  everything, three times; about 20 minutes
scripts/soak peers --only celery rq --fault kill    a part of it
scripts/soak peers --trials 1                       everything once
scripts/soak peers --write                          also writes what was measured into docs/guarantees.md
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import RunFailed
from benchmarks.peers import environments
from benchmarks.peers.environments import Absent
from tests.servers import ServerFailed
from tests.soak.machine import redis_version
from tests.soak.peers import page
from tests.soak.peers.faults import FAULTS, tried
from tests.soak.peers.systems import SYSTEMS, System
from tests.soak.peers.trial import TrialFailed

RESULT = Path(__file__).parent / "results.json"


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/soak peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted({name for system in SYSTEMS for name in (system.key, system.name)})
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=names, help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--fault", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument(
        "--at-once", type=int, default=12, help="trials at once, each on a Redis server of its own [12]"
    )
    parser.add_argument(
        "--trials", type=int, default=3, metavar="N", help="of each fault at each setting [3]"
    )
    parser.add_argument(
        "--within",
        type=float,
        default=30,
        metavar="MINUTES",
        help="after which no further trial is begun; one takes up to 5 [30]",
    )
    parser.add_argument(
        "--write", action="store_true", help="put the rows into docs/guarantees.md and results.json"
    )
    parser.add_argument(
        "--page", action="store_true", help="only write docs/guarantees.md again, from results.json"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep every trial's logs and files there")
    given = parser.parse_args(words)
    if given.trials < 1 or given.at_once < 1:
        parser.error("--trials and --at-once are 1 or more")
    return given


def _environments(systems: Iterable[System]) -> tuple[dict[str, Path], dict[str, str]]:
    """The programs of each library that is there, and the versions."""
    programs: dict[str, Path] = {}
    versions: dict[str, str] = {}
    absent: set[str] = set()
    for system in systems:
        if system.key in programs or system.key in absent:
            continue
        try:
            programs[system.key] = system.peer.environment()
        except Absent as error:
            absent.add(system.key)
            print(f"{system.peer.name} is left out: {error}", flush=True)
        else:
            versions[system.key] = system.versions(programs[system.key])
    return programs, versions


@dataclass(frozen=True, slots=True)
class _Turn:
    """One trial that is to be made: the ``number``th of its row."""

    key: str
    system: System
    number: int

    @property
    def row(self) -> str:
        return f"{self.key}/{self.system.name}"

    def made(self, programs: Path, folder: Path) -> dict[str, Any]:
        """What it came to: an outcome, or why there is none."""
        began = time.monotonic()
        trial: dict[str, Any] = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "number": self.number}
        name = f"{self.key}-{self.system.name}-{self.number}"
        try:
            outcome = tried(self.system, FAULTS[self.key], programs, folder / name)
        except (TrialFailed, RunFailed, ServerFailed) as error:
            trial["failed"] = environments.told(str(error))
            print(f"{self.key} {self.number}: {self.system.name}: NO FIGURE: {error}", flush=True)
        except Exception as error:  # one broken trial must not cost the others' figures
            traceback.print_exc()
            trial["failed"] = environments.told(f"{type(error).__name__}: {error}")
        else:
            # What a worker has said is for whoever looks at the run, not for the file.
            outcome.facts.pop("log", None)
            trial["outcome"] = asdict(outcome)
            took = f"{time.monotonic() - began:4.0f} s"
            print(f"{took}  {self.key} {self.number}: {page.line(self.system, [trial])}", flush=True)
        trial["took_s"] = round(time.monotonic() - began, 1)
        return trial


def main(words: list[str]) -> int:
    """Exit status 1 where a fault could not be tried, or Penstock lost a job."""
    given = _arguments(words)
    if given.page:
        _write(_kept(), {})
        return 0
    systems = [system for system in SYSTEMS if not given.only or {system.key, system.name} & set(given.only)]
    programs, versions = _environments(systems)
    facts = {
        "machine": f"{os.cpu_count()} cores that others use too, CPython {platform.python_version()}, "
        f"Redis {redis_version()}",
        "at_once": given.at_once,
    }
    began = time.monotonic()
    # Each row once before any comes again, so that a run that is cut off has something of all.
    turns = [
        _Turn(key, system, number)
        for number in range(1, given.trials + 1)
        for key in given.fault
        for system in systems
        if system.key in programs and FAULTS[key].applies(system)
    ]
    if not turns:
        print("there is nothing to try")
        return 1
    kept = _kept()
    rows: dict[str, list[dict[str, Any]]] = {}
    late: list[_Turn] = []
    with tempfile.TemporaryDirectory(prefix="penstock-soak-peers-") as name:
        made = _made(turns, programs, given.keep or Path(name), given.at_once, 60 * given.within)
        # Closed before the folder goes, also where the loop is interrupted.
        with contextlib.closing(made):
            for turn, trial in made:
                if trial is None:
                    late.append(turn)
                    continue
                row = rows.setdefault(turn.row, [])
                row.append(facts | {"versions": versions[turn.system.key]} | trial)
                row.sort(key=lambda each: each["number"])
                if given.write:
                    # What was measured outlives whatever comes after.
                    _write(kept, rows)
    if rows:
        print(page.section(rows))
    if late:
        names = ", ".join(f"{turn.row} {turn.number}" for turn in late)
        print(f"NOT TRIED, since {given.within:g} minutes were over: {names}")
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if late or any(_bad(each, trial) for each, row in rows.items() for trial in row) else 0


def _made(
    turns: Sequence[_Turn], programs: Mapping[str, Path], folder: Path, at_once: int, within_s: float
) -> Generator[tuple[_Turn, dict[str, Any] | None]]:
    """Each trial as it ends; None for one whose turn did not come in time."""
    mono_until = time.monotonic() + within_s

    def made(turn: _Turn) -> dict[str, Any] | None:
        return None if time.monotonic() > mono_until else turn.made(programs[turn.system.key], folder)

    with ThreadPoolExecutor(at_once) as pool:
        waiting = {pool.submit(made, turn): turn for turn in turns}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            # Whoever interrupts it waits for the trials that run, whose servers and workers must be ended.
            pool.shutdown(wait=False, cancel_futures=True)


def _bad(name: str, trial: Mapping[str, Any]) -> bool:
    return "failed" in trial or ("/penstock-" in name and bool(trial["outcome"]["missing"]))


def _kept() -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else {}
    return rows


def _write(kept: Mapping[str, Any], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Writes the rows, in place of what was there.

    Rows that were not measured now stay as they are, and of those that were the trials of before are kept beside, as a
    record of what was once seen: the page shows the latest alone, which were made with one set of versions.

    Args:
        kept: The rows of the file as it was before this run.
        rows: What this run has measured so far.
    """
    written = dict(kept)
    for name, trials in rows.items():
        before = kept.get(name, {})
        earlier = [*before.get("earlier", ()), *before.get("trials", ())]
        written[name] = {"trials": trials, "earlier": earlier}
    RESULT.write_text(json.dumps({"rows": written}, indent=1, sort_keys=True) + "\n")
    page.write(page.section({name: row["trials"] for name, row in written.items()}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
