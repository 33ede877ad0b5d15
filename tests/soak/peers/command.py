"""The same faults on Penstock and on other libraries, one driver for all of them, printed side by side.

scripts/soak peers                                  everything; about 6 minutes
scripts/soak peers --only celery rq --fault kill    a part of it
scripts/soak peers --write                          also writes what was measured into docs/guarantees.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.children import RunFailed
from benchmarks.peers.environments import Absent
from tests.servers import ServerFailed
from tests.soak.machine import redis_version
from tests.soak.peers import page
from tests.soak.peers.faults import FAULTS, tried
from tests.soak.peers.systems import SYSTEMS, System
from tests.soak.peers.trial import TrialFailed
from tests.soak.peers.verdict import Outcome

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
        "--at-once", type=int, default=8, help="trials at once, each on a Redis server of its own [8]"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the rows into docs/guarantees.md and results.json"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep every trial's logs and files there")
    return parser.parse_args(words)


def _environments(systems: Iterable[System]) -> tuple[dict[str, Path], dict[str, str]]:
    """The programs of each library that is there, and the versions."""
    programs: dict[str, Path] = {}
    versions: dict[str, str] = {}
    for system in systems:
        if system.key in programs:
            continue
        try:
            programs[system.key] = system.peer.environment()
        except Absent as absent:
            print(f"{system.peer.name} is left out: {absent}", flush=True)
        else:
            versions[system.peer.name] = system.peer.versions(programs[system.key])
    return programs, versions


def _row(system: System, key: str, programs: Path, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    row: dict[str, Any] = {"date": time.strftime("%Y-%m-%d", time.gmtime())}
    try:
        outcome = tried(system, FAULTS[key], programs, folder)
    except (TrialFailed, RunFailed, ServerFailed) as error:
        row["failed"] = " ".join(str(error).split())[:300]
        print(f"{key}: {system.name}: NO FIGURE: {error}", flush=True)
    except Exception as error:  # one broken trial must not cost the others' figures
        traceback.print_exc()
        row["failed"] = f"{type(error).__name__}: {error}"
    else:
        # What a worker has said is for whoever looks at the run, not for the file.
        outcome.facts.pop("log", None)
        row["outcome"] = asdict(outcome)
        print(f"{time.monotonic() - began:4.0f} s  {key}: {page.line(system, outcome)}", flush=True)
    return row


def main(words: list[str]) -> int:
    """Exit status 1 where a fault could not be tried, or Penstock lost a job."""
    given = _arguments(words)
    systems = [system for system in SYSTEMS if not given.only or {system.key, system.name} & set(given.only)]
    programs, versions = _environments(systems)
    facts = {
        "machine": f"{os.cpu_count()} cores that others use too, CPython {platform.python_version()}, "
        f"Redis {redis_version()}",
        "at_once": given.at_once,
        "versions": versions,
    }
    began = time.monotonic()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-soak-peers-") as name:
        folder = given.keep or Path(name)
        with ThreadPoolExecutor(given.at_once) as pool:
            waiting = {
                pool.submit(
                    _row, system, key, programs[system.key], folder / f"{key}-{system.name}"
                ): f"{key}/{system.name}"
                for key in given.fault
                for system in systems
                if system.key in programs and FAULTS[key].applies(system)
            }
            for future in as_completed(waiting):
                rows[waiting[future]] = future.result()
                if given.write:
                    # What was measured outlives whatever comes after.
                    _write(rows, facts)
    print(page.section(rows, facts))
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if any(_bad(each, row) for each, row in rows.items()) else 0


def _bad(name: str, row: dict[str, Any]) -> bool:
    return "failed" in row or ("/penstock-" in name and bool(Outcome(**row["outcome"]).missing))


def _write(rows: dict[str, dict[str, Any]], facts: dict[str, Any]) -> None:
    """Rows that were not measured now stay as they are."""
    kept: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": {}, "facts": {}}
    kept["rows"] |= rows
    versions = kept["facts"].get("versions", {}) | facts["versions"]
    at_once = max(kept["facts"].get("at_once", 1), facts["at_once"])
    kept["facts"] |= facts | {"versions": versions, "at_once": at_once}
    RESULT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    page.write(page.section(kept["rows"], kept["facts"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
