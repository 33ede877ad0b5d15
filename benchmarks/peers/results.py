"""What was measured, as it is kept in ``benchmarks/results/peers.json``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any, NamedTuple

# When the server forces its append-only file to the disk; "none" keeps no such file.
DURABILITIES = ("none", "everysec", "always")


class Case(NamedTuple):
    """What is measured: a library in a setting at a kind of work, or enqueuing ``one`` by one or ``many`` at once."""

    peer: str
    setting: str
    kind: str
    durability: str


@dataclass(slots=True)
class Results:
    """Every figure of a run of the benchmark.

    Attributes:
        machine: On what it was measured.
        limits: How long runs were meant to take; see ``running.Limits``.
        quick: Whether it was too short to be quoted.
        rounds: How often each was measured.
        command: What was typed.
        chosen: When and on what the best settings' processes and jobs at once were measured.
        took_s: How long all of it took.
        versions: Of each library.
        absent: Libraries that could not be had, and why.
        failed: What failed, and why; it was tried once more in that round, which may have had a figure.
        samples: Each round's figures by name: ``rate`` in jobs a second, ``start_s``, ``peak_mb``, ``took_s``, ...
    """

    machine: dict[str, str]
    limits: dict[str, float]
    quick: bool
    rounds: int
    command: str
    chosen: list[str] = field(default_factory=list)
    took_s: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[Case, str] = field(default_factory=dict)
    samples: dict[Case, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, case: Case, **figures: float) -> None:
        """One more round of a case."""
        kept = self.samples.setdefault(case, {})
        for name, figure in figures.items():
            kept.setdefault(name, []).append(figure)

    def middle(self, case: Case, name: str = "rate") -> float | None:
        """The median of its rounds; None where it has no figure."""
        figures = self.samples.get(case, {}).get(name)
        return median(figures) if figures else None

    def rounds_of(self, case: Case) -> int:
        """In how many rounds it has a figure."""
        return len(self.samples.get(case, {}).get("rate", ()))

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it."""
        # Not `asdict`: before Python 3.12 it cannot copy every kind of mapping, and these need no copy.
        whole = {each.name: getattr(self, each.name) for each in fields(self)}
        whole["failed"] = [case._asdict() | {"reason": reason} for case, reason in self.failed.items()]
        whole["samples"] = [case._asdict() | {"figures": kept} for case, kept in self.samples.items()]
        return whole

    @classmethod
    def loaded(cls, whole: dict[str, Any]) -> Results:
        """What ``saved`` gave."""
        rest = {name: value for name, value in whole.items() if name not in ("failed", "samples")}
        made = cls(**rest)
        made.failed = {_case(each): each["reason"] for each in whole["failed"]}
        made.samples = {_case(each): each["figures"] for each in whole["samples"]}
        return made


def _case(kept: dict[str, Any]) -> Case:
    return Case(*(kept[name] for name in Case._fields))
