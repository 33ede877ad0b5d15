"""Judges a run by what it left behind: acknowledgements, effects, kills, states. Never imports Penstock."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_S = 1_000_000_000
# A job whose function has ended is settled within this; if its worker is killed meanwhile, it runs again.
SETTLED_WITHIN_S = 0.3
# Whoever has lost its parent may go on for so long.
ORPHANS_END_WITHIN_S = 1.0
# The default of ``max_crashes``: a job that was running at so many kills cannot be told from one that kills.
MAX_CRASHES = 3


class Run(NamedTuple):
    """One run of a job; ``end_ns`` is 0 where it was cut short."""

    key: str
    pid: int
    start_ns: int
    end_ns: int


class Kill(NamedTuple):
    """Processes that were killed, or lost to their parent's death, at a moment."""

    at_ns: int
    pids: frozenset[int]
    what: str


@dataclass
class Figures:
    """What ``docs/guarantees.md`` shows of one kind of fault on one broker."""

    fault: str
    broker: str
    rounds: int = 0
    jobs: int = 0
    kills: int = 0
    lost: int = 0
    ran_twice: int = 0
    at_risk: int = 0
    longest_recovery_s: float = 0.0
    notes: list[str] = field(default_factory=list)


def runs_of(effects: Path, only: Set[str] | None = None) -> dict[str, list[Run]]:
    """Every run of every job (or of ``only`` these), in the order of their starts."""
    open_runs: dict[tuple[str, int], list[int]] = {}
    runs: list[Run] = []
    for line in _effect_lines(effects):
        what, key, pid, at = line.split(" ")
        if only is not None and key not in only:
            continue
        starts = open_runs.setdefault((key, int(pid)), [])
        if what == "start":
            starts.append(int(at))
        else:
            runs.append(Run(key, int(pid), starts.pop(), int(at)))
    runs += [Run(key, pid, at, 0) for (key, pid), starts in open_runs.items() for at in starts]
    by_key: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.start_ns):
        by_key.setdefault(run.key, []).append(run)
    return by_key


def _effect_lines(effects: Path) -> Iterator[str]:
    if effects.exists():
        with effects.open() as lines:
            for line in lines:
                if not line.endswith("\n"):
                    return  # somebody is just writing it; its rest would come as a line of its own
                yield line[:-1]


class Tally:
    """Which jobs have run to their end, counted as the file grows, for runs of a million."""

    def __init__(self, effects: Path) -> None:
        self._effects = effects
        self._at = 0
        self.ended: set[str] = set()

    def read(self) -> int:
        """Reads what is new; returns how many jobs have ended for the first time."""
        before = len(self.ended)
        if self._effects.exists():
            with self._effects.open("rb") as file:
                file.seek(self._at)
                new = file.read()
            new = new[: new.rfind(b"\n") + 1]
            self._at += len(new)
            for line in new.decode().splitlines():
                if line.startswith("end "):
                    self.ended.add(line.split(" ")[1])
        return len(self.ended) - before


def repeated(effects: Path) -> set[str]:
    """Jobs with more than one start."""
    once: set[str] = set()
    more: set[str] = set()
    for line in _effect_lines(effects):
        what, key, _, _ = line.split(" ")
        if what == "start":
            (more if key in once else once).add(key)
    return more


def at_risk_in(effects: Path, kills: Sequence[Kill]) -> int:
    """As ``at_risk``, without holding every run in memory."""
    by_pid: dict[str, int] = {str(pid): kill.at_ns for kill in kills for pid in kill.pids}
    near = {
        key
        for what, key, pid, at in (line.split(" ") for line in _effect_lines(effects))
        if pid in by_pid and (what == "start" or int(at) >= by_pid[pid] - SETTLED_WITHIN_S * _S)
    }
    return at_risk(runs_of(effects, only=near), kills)


def acknowledged(files: Iterable[Path]) -> dict[str, int]:
    """When each acknowledged job was acknowledged."""
    return {line["ack"]: line["ns"] for line in _lines(files) if "ack" in line}


def asked(files: Iterable[Path]) -> set[str]:
    """Jobs that were tried to enqueue; what was not acknowledged may or may not exist."""
    return {line["ask"] for line in _lines(files) if "ask" in line}


def errors(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Calls that ended in an error, by job."""
    return [line for line in _lines(files) if "error" in line]


def longest_call_s(files: Iterable[Path]) -> float:
    """The longest that any call to enqueue took, whatever came of it."""
    return max((line["took_s"] for line in _lines(files) if "took_s" in line), default=0.0)


def _lines(files: Iterable[Path]) -> Iterable[dict[str, Any]]:
    for file in files:
        text = file.read_text() if file.exists() else ""
        # What a killed producer was about to write when it died was not acknowledged to anybody.
        for line in text[: text.rfind("\n") + 1].splitlines():
            yield json.loads(line)


def states_of(file: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The queue's counts, and what the broker says of each job."""
    counts, *jobs = [json.loads(line) for line in file.read_text().splitlines()]
    return counts, {job["key"]: job for job in jobs}


def all_succeeded(
    acks: Iterable[str], states: dict[str, dict[str, Any]], runs: dict[str, list[Run]]
) -> list[str]:
    """Acknowledged jobs that did not succeed: with that state, and run to the end at least once.

    A job whose result is not kept is ``gone`` after its success; the queue's counts show that none is failed.
    """
    wrong = []
    for key in acks:
        state = states[key]["state"] if key in states else "never asked for"
        if state not in {"succeeded", "gone"} or not any(run.end_ns for run in runs.get(key, ())):
            wrong.append(f"{key}: {states.get(key)}, runs {runs.get(key)}")
    return wrong


def again(runs: dict[str, list[Run]]) -> int:
    """Runs beyond each job's first."""
    return sum(len(each) - 1 for each in runs.values())


def at_risk(runs: dict[str, list[Run]], kills: Sequence[Kill]) -> int:
    """Runs that had started and may not have been settled when their process was killed."""
    return sum(1 for each in runs.values() for run in each if _killed(run, kills) is not None)


def like_poison(runs: dict[str, list[Run]]) -> set[str]:
    """Jobs that were running so often when their process was killed that they may be dead for it."""
    return {key for key, each in runs.items() if sum(not run.end_ns for run in each) >= MAX_CRASHES}


def unexplained(runs: dict[str, list[Run]], kills: Sequence[Kill]) -> list[str]:
    """Runs that came again although the run before had not been cut short by a kill."""
    return [
        f"{later} after {earlier}"
        for each in runs.values()
        for earlier, later in itertools.pairwise(each)
        if (kill := _killed(earlier, kills)) is None or later.start_ns < kill.at_ns
    ]


def _killed(run: Run, kills: Sequence[Kill]) -> Kill | None:
    for kill in kills:
        began = run.pid in kill.pids and run.start_ns <= kill.at_ns + ORPHANS_END_WITHIN_S * _S
        if began and (not run.end_ns or run.end_ns >= kill.at_ns - SETTLED_WITHIN_S * _S):
            return kill
    return None


def recoveries_s(
    runs: dict[str, list[Run]], kills: Sequence[Kill], lease_s: float, slack_s: float
) -> list[float]:
    """For every run that was cut short by a kill: how long after it the job started again; inf for never.

    Whoever takes the job over may be killed before it starts it, which nobody sees. So where another kill came when
    the job may have been taken over, from the end of the lease to the end of the bound, the count begins anew there.
    """
    at = sorted(kill.at_ns for kill in kills)
    found = []
    for each in runs.values():
        for place, run in enumerate(each):
            kill = _killed(run, kills)
            if kill is not None and not run.end_ns:
                later_ns = each[place + 1].start_ns if place + 1 < len(each) else None
                found.append(_recovery_s(kill.at_ns, later_ns, at, lease_s, slack_s))
    return found


def _recovery_s(
    from_ns: int, start_ns: int | None, kills: Sequence[int], lease_s: float, slack_s: float
) -> float:
    if start_ns is None:
        return float("inf")
    while start_ns - from_ns > (lease_s + slack_s) * _S:
        again = [
            kill
            for kill in kills
            if from_ns + lease_s * 0.9 * _S < kill <= from_ns + (lease_s + slack_s) * _S
        ]
        if not again:
            break
        from_ns = again[-1]
    return (start_ns - from_ns) / _S


def waits_s(acks: dict[str, int], runs: dict[str, list[Run]], kills: Sequence[Kill]) -> list[float]:
    """For jobs that were acknowledged before a kill and not started by then: from the kill to their first start."""
    found = []
    for key, acked_ns in acks.items():
        first = runs[key][0].start_ns if key in runs else None
        last = max((kill.at_ns for kill in kills if acked_ns <= kill.at_ns and (first is None or kill.at_ns < first)),
                   default=None)  # fmt: skip
        if last is not None:
            found.append(float("inf") if first is None else (first - last) / _S)
    return found


def tally(values: Iterable[str]) -> str:
    """``3 BrokerUnavailable, 1 BrokerRejected``."""
    return ", ".join(f"{count} {value}" for value, count in Counter(values).most_common())
