"""How measuring is done: settings of a run, interleaving, medians, and a row of the table."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tests.servers import RedisServer


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to measure.

    Attributes:
        runs: How often each variant runs, interleaved with the others.
        run_s: How long a run takes at least.
        samples: How many latencies a run takes.
        waiting: The large backlog, in jobs.
        idle_s: How long an idle worker is watched.
        folder: Where files go.
    """

    runs: int
    run_s: float
    samples: int
    waiting: int
    idle_s: float
    folder: Path
    quick: bool = False


def thorough(folder: Path) -> Plan:
    """What ``docs/benchmarks.md`` is made of."""
    return Plan(3, 5.0, 800, 1_000_000, 20.0, folder)


def quick(folder: Path) -> Plan:
    """For development: too short to be quoted."""
    return Plan(2, 1.5, 200, 100_000, 5.0, folder, quick=True)


@dataclass(slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: What ``--only`` calls it.
        what: What is measured.
        aim: What it should be, in words.
        ours: Penstock's figure, with its unit.
        met: Whether the aim is; None where there is none.
        limit: The bare loop's figure in the same run, or "".
        ratio: Ours to the limit's, or None.
        missed_by: By how much an aim is missed, in words.
        notes: What else was seen.
        samples: Every run's figure by variant.
    """

    name: str
    what: str
    aim: str
    ours: str
    met: bool | None
    limit: str = ""
    ratio: float | None = None
    missed_by: str = ""
    notes: list[str] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)


class Verdict:
    """Gathers the aims of a row and by how much they are missed.

    Attributes:
        met: Whether all are met.
        missed_by: Those that are not, in words.
    """

    def __init__(self) -> None:
        self._missed: list[str] = []

    @property
    def met(self) -> bool:
        return not self._missed

    @property
    def missed_by(self) -> str:
        return "; ".join(self._missed)

    def least(self, figure: float, aim: float, what: str) -> None:
        """``figure`` should not be below ``aim``."""
        if figure < aim:
            self._missed.append(f"{what}: {1 - figure / aim:.0%} too little")

    def most(self, figure: float, aim: float, what: str) -> None:
        """``figure`` should not be above ``aim``."""
        if figure > aim:
            self._missed.append(f"{what}: {figure / aim - 1:.0%} too much")


TIMES = "\N{MULTIPLICATION SIGN}"


def interleaved(
    runs: int, variants: Mapping[str, Callable[[], Mapping[str, float]]]
) -> dict[str, list[float]]:
    """A B A B: each variant ``runs`` times, so that what disturbs the machine disturbs all of them.

    A variant gives figures by name, "" for its only one; they come back as ``variant`` or ``variant name``.
    """
    measured: dict[str, list[float]] = {}
    for turn in range(runs):
        for variant, run in variants.items():
            for name, figure in run().items():
                measured.setdefault(f"{variant} {name}".rstrip(), []).append(figure)
                say(f"  {turn + 1}/{runs} {variant} {name}: {figure:,.6g}")
    return measured


def middle(measured: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each variant's runs."""
    return {name: median(figures) for name, figures in measured.items()}


def percentile(samples: list[float], percent: float) -> float:
    """The smallest sample that at least ``percent`` of them do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def say(text: str) -> None:
    """Progress, for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def until(happened: Callable[[], Any], within_s: float, every_s: float = 0.002) -> Any:
    """What ``happened`` gives once it gives something true; an error where that takes longer than ``within_s``."""
    mono_until = time.monotonic() + within_s
    while not (value := happened()):
        if time.monotonic() > mono_until:
            from benchmarks.children import RunFailed

            raise RunFailed(f"nothing happened within {within_s:g} s")
        time.sleep(every_s)
    return value


class Place:
    """Where jobs are kept during a run: a server or a file of our own.

    Attributes:
        url: Its URL.
    """

    def __init__(self, url: str, empty: Callable[[], None]) -> None:
        self.url = url
        self.empty = empty


@contextmanager
def place(plan: Plan, broker: str, appendfsync: str | None = None) -> Iterator[Place]:
    """A place on ``redis`` (a server on a free loopback port) or ``sqlite`` (a new file).

    The server persists nothing, unless ``appendfsync`` says when its append-only file is forced to the disk.
    """
    with TemporaryDirectory(dir=plan.folder) as name:
        folder = Path(name)
        if broker == "sqlite":
            yield Place(f"sqlite:///{folder}/jobs.db", lambda: _remove_files(folder))
        else:
            with RedisServer(
                folder, appendonly=appendfsync is not None, appendfsync=appendfsync or "no"
            ) as server:
                yield Place(server.url, lambda: _flush(server.url))


def _remove_files(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _flush(url: str) -> None:
    import redis

    with redis.Redis.from_url(url, socket_timeout=60) as client:
        client.execute_command("FLUSHALL", "SYNC")
        if client.config_get("appendonly")["appendonly"] == "yes":
            # Else the file grows from run to run, and is rewritten in the middle of one.
            client.config_set("auto-aof-rewrite-percentage", 0)
            until(
                lambda: not _rewriting(client.info("persistence")), 60.0
            )  # one that the server began by itself
            client.bgrewriteaof()
            until(lambda: not _rewriting(client.info("persistence")), 60.0)


def _rewriting(persistence: Mapping[str, Any]) -> bool:
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])
