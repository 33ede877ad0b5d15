"""What became of the jobs, from what they left behind and what was acknowledged; no library is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import verdict
from tests.faults.verdict import Run


@dataclass
class Outcome:
    """One library at one fault.

    Attributes:
        jobs: How many were acknowledged.
        missing: Those of them that had not run to their end when the wait was over.
        still_held: How many of the missing are still somewhere in the broker; the others are gone.
        cut_short: Runs that began and did not end.
        again: Runs beyond each job's first.
        twice: Jobs that ran to their end more than once.
        recovery_s: From the last fault to the last job's end, where none is missing.
        wait_s: How long was waited after the last fault.
        notes: What else there is to say, for a reader.
        facts: What else was measured.
    """

    jobs: int
    missing: list[str]
    still_held: int
    cut_short: int
    again: int
    twice: int
    recovery_s: float | None
    wait_s: float
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def gone(self) -> int:
        """Acknowledged jobs that did not end and that the broker no longer holds."""
        return len(self.missing) - self.still_held


def missing(acks: Iterable[str], runs: dict[str, list[Run]]) -> set[str]:
    """Acknowledged jobs without a run to the end."""
    return {key for key in acks if not any(run.end_ns for run in runs.get(key, ()))}


def running(runs: dict[str, list[Run]], since_ns: int) -> list[Run]:
    """Runs that began after a moment and have not ended."""
    return [run for each in runs.values() for run in each if not run.end_ns and run.start_ns > since_ns]


def judge(
    acks: dict[str, int], runs: dict[str, list[Run]], held: Iterable[str], fault_ns: int, now_ns: int
) -> Outcome:
    """Compares what was acknowledged with what ran.

    Args:
        acks: When each job was acknowledged.
        runs: Every run of every job.
        held: Jobs that the broker still holds.
        fault_ns: The moment of the last fault.
        now_ns: The moment at which nobody waits any more.
    """
    runs = {key: each for key, each in runs.items() if key in acks}
    lost = missing(acks, runs)
    ends = [run.end_ns for each in runs.values() for run in each if run.end_ns]
    # A job that ended before the fault needed no recovery.
    last_ns = max(
        [*(min(run.end_ns for run in runs[key] if run.end_ns) for key in acks if key not in lost), fault_ns]
    )
    return Outcome(
        jobs=len(acks),
        missing=sorted(lost),
        still_held=len(lost & set(held)),
        cut_short=sum(not run.end_ns for each in runs.values() for run in each),
        again=verdict.again(runs),
        twice=sum(sum(1 for run in each if run.end_ns) > 1 for each in runs.values()),
        recovery_s=None if lost or not ends else (last_ns - fault_ns) / 1e9,
        wait_s=(now_ns - fault_ns) / 1e9,
    )


def moments_s(acks: dict[str, int], runs: dict[str, list[Run]]) -> list[list[float]]:
    """For each job the moments of its starts, in seconds after it was acknowledged; 0 of one that began before."""
    return [
        [max(0.0, round((run.start_ns - acked) / 1e9, 1)) for run in runs.get(key, ())]
        for key, acked in acks.items()
    ]


def read(out: Path, effects: Path) -> tuple[dict[str, int], dict[str, list[Run]]]:
    """What was acknowledged and what ran."""
    return verdict.acknowledged([out]), verdict.runs_of(effects)


def calls(outs: Sequence[Path]) -> dict[str, Any]:
    """How the producer fared."""
    errors = verdict.errors(outs)
    return {
        "errors": verdict.tally(line["type"] for line in errors),
        "refused": len(errors),
        "longest_call_s": round(verdict.longest_call_s(outs), 1),
    }
