"""The tables of ``docs/guarantees.md``, made from what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.faults.processes import ROOT
from tests.soak.peers.faults import FAULTS
from tests.soak.peers.systems import SYSTEMS, System
from tests.soak.peers.verdict import Outcome

PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- figures of scripts/soak peers -->", "<!-- end of the peers' figures -->"
HEAD = (
    "| library | setting | jobs | not run | still held | cut short | ran again | ended twice | recovery | |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
)
# Of a row where the trial itself failed.
_FAILED = "failed"


def line(system: System, found: Outcome) -> str:
    """One row."""
    lost = len(found.missing)
    notes = [*_where(found), *found.notes]
    if lost:
        recovery = f"not within {found.wait_s:.0f} s" if found.still_held else "never"
    else:
        recovery = f"{found.recovery_s or 0:.1f} s"
    cells = [
        system.peer.name,
        system.setting,
        f"{found.jobs}",
        f"**{lost}**" if lost else "0",
        f"{found.still_held}" if lost else "",
        f"{found.cut_short}",
        f"{found.again}",
        f"{found.twice}",
        recovery,
        "; ".join(notes),
    ]
    return f"| {' | '.join(cells)} |"


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


def section(rows: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Everything between the markers."""
    dates = sorted({row["date"] for row in rows.values()})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]]))
    parts = [
        f"{when}, {facts['machine']}, up to {facts['at_once']} trials at once.",
        "Repeated by `scripts/soak peers --write`.",
        "",
        *(f"- {name}: {version}" for name, version in facts["versions"].items()),
        "",
        *(f"- {system.peer.name}, {system.setting}: {system.about}" for system in SYSTEMS),
    ]
    for key, fault in FAULTS.items():
        lines = [
            _line(system, row) for system in SYSTEMS if (row := rows.get(f"{key}/{system.name}")) is not None
        ]
        if lines:
            title = fault.title.capitalize() if fault.title[0].islower() else fault.title
            parts += ["", f"### {title}", "", fault.about, "", *HEAD, *lines]
    return "\n".join(parts)


def _line(system: System, row: Mapping[str, Any]) -> str:
    if _FAILED in row:
        return f"| {system.peer.name} | {system.setting} | | | | | | | | no figure: {row[_FAILED]} |"
    return line(system, Outcome(**row["outcome"]))


def write(text: str) -> None:
    """Puts it into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
