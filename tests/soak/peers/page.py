"""The tables of ``docs/guarantees.md``, made from what was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.faults.processes import ROOT
from tests.soak.peers.faults import FAULTS
from tests.soak.peers.systems import SYSTEMS, System
from tests.soak.peers.verdict import Outcome

PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- figures of scripts/soak peers -->", "<!-- end of the peers' figures -->"
HEAD = (
    "| library | setting | trials | jobs | not run | still held | cut short | ran again | ended twice | recovery | |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|",
)
_NUMBER = re.compile(r"\d+(?:[.]\d+)?")


def line(system: System, trials: Sequence[Mapping[str, Any]]) -> str:
    """The row of all trials of one fault at one library: what they have in common, else the least and the most."""
    found = [Outcome(**trial["outcome"]) for trial in trials if "outcome" in trial]
    # A log's bar would be a cell's end.
    failed = [trial["failed"].replace("|", "/") for trial in trials if "failed" in trial]
    reasons = [f"no figure: {reason}" for reason in dict.fromkeys(failed)]
    if not found:
        return f"| {system.peer.name} | {system.setting} | 0 | | | | | | | | {'; '.join(reasons)} |"
    lost = spread(len(each.missing) for each in found)
    notes = _together([[*_where(each), *each.notes] for each in found])
    if failed:
        notes.append(f"{len(failed)} more without a figure: {'; '.join(dict.fromkeys(failed))}")
    cells = [
        system.peer.name,
        system.setting,
        f"{len(found)}",
        spread(each.jobs for each in found),
        "0" if lost == "0" else f"**{lost}**",
        spread(each.still_held for each in found if each.missing),
        spread(each.cut_short for each in found),
        spread(each.again for each in found),
        spread(each.twice for each in found),
        _recovery(found),
        "; ".join(notes),
    ]
    return f"| {' | '.join(cells)} |"


def spread(values: Iterable[float], digits: int = 0) -> str:
    """The least and the most, or the one value that all of them are; nothing of none."""
    said = [f"{value:.{digits}f}" for value in sorted(values)]
    return " to ".join(dict.fromkeys([said[0], said[-1]])) if said else ""


def _recovery(found: Sequence[Outcome]) -> str:
    """How long it took where nothing is missing, and in how many trials something was, where they differ in it."""
    whole = [each for each in found if not each.missing]
    held = [each for each in found if each.missing and each.still_held]
    parts = {
        f"{spread((each.recovery_s or 0 for each in whole), 1)} s": len(whole),
        f"not within {spread(each.wait_s for each in held)} s": len(held),
        "never": len(found) - len(whole) - len(held),
    }
    parts = {text: count for text, count in parts.items() if count}
    return "; ".join(f"{text}{_share(count, len(found))}" for text, count in parts.items())


def _share(count: int, of: int) -> str:
    return "" if count == of else f" (in {count} of {of})"


def _together(notes: Sequence[Sequence[str]]) -> list[str]:
    """The notes of all trials; those that differ in numbers alone are one, with the least and the most of each."""
    alike: dict[str, list[list[str]]] = {}
    for each in notes:
        for note in each:
            alike.setdefault(_NUMBER.sub("\0", note), []).append(_NUMBER.findall(note))
    said: list[str] = []
    for words, numbers in alike.items():
        text = words
        for column in zip(*numbers, strict=True):
            ends = dict.fromkeys([min(column, key=float), max(column, key=float)])
            text = text.replace("\0", " to ".join(ends), 1)
        said.append(text + _share(len(numbers), len(notes)))
    return said


def _where(found: Outcome) -> list[str]:
    places: Mapping[str, int] = found.facts.get("places", {})
    said = [f"{count} in `{name}`" for name, count in sorted(places.items())]
    failed = [
        f"{count} in `{name}`"
        for name, count in found.facts.get("sizes", {}).items()
        if name.startswith(("rq:failed", "rq:wip"))
    ]
    return ([f"held: {', '.join([*said, *failed])}"] if said else []) + (
        [f"{found.gone} gone from the broker"] if found.gone else []
    )


def section(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Everything between the markers, of the trials of each fault and setting (``FAULT/SETTING``)."""
    trials = [trial for row in rows.values() for trial in row]
    dates = sorted({trial["date"] for trial in trials})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]]))
    machines = "; ".join(dict.fromkeys(trial["machine"] for trial in trials))
    parts = [
        f"{when}, {machines}, up to {max(trial['at_once'] for trial in trials)} trials at once.",
        "Repeated by `scripts/soak peers --write`.",
        "",
        *_versions(rows),
        "",
        *(f"- {system.peer.name}, {system.setting}: {system.about}" for system in SYSTEMS),
    ]
    for key, fault in FAULTS.items():
        lines = [line(system, row) for system in SYSTEMS if (row := rows.get(f"{key}/{system.name}"))]
        if lines:
            title = fault.title.capitalize() if fault.title[0].islower() else fault.title
            parts += ["", f"### {title}", "", fault.about, "", *HEAD, *lines]
    return "\n".join(parts)


def _versions(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What the rows were taken with. Rows that were not taken again keep theirs, which is said."""
    said: dict[str, dict[str, None]] = {}
    for system in SYSTEMS:
        for key in FAULTS:
            for trial in rows.get(f"{key}/{system.name}", ()):
                said.setdefault(system.peer.name, {})[trial["versions"]] = None
    return [f"- {name}: {'; in other rows '.join(versions)}" for name, versions in said.items()]


def write(text: str) -> None:
    """Puts it into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
