"""With how many processes and jobs at once everybody is measured at its best: what was best in short runs of each."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bench import say
from benchmarks.peers import chosen
from benchmarks.peers.peer import Choice, Peer, Setting
from benchmarks.peers.results import Case, Results
from benchmarks.peers.running import Limits
from benchmarks.peers.table import ALL
from benchmarks.peers.turns import Programs, Turn

# Shorter runs than those that are published: they are to order the candidates of one library, not to be quoted.
LIMITS = Limits(run_s=1.0, wait_s=0.6, cut_s=5.0, enqueue_s=0.3)
# No run begins later than this after the first one; the choice is then made from what there is.
WITHIN_S = 13 * 60.0
# A candidate whose first run was slower than this share of the best one's is not run again.
_HOPELESS = 0.6


def turns(peers: list[tuple[Peer, Programs]], number: int, results: Results) -> Iterator[Turn]:
    """A round: the candidates of each setting and kind of work one after another, every other round backwards."""
    for peer, programs in peers:
        for setting, kind in _work(peer):
            for choice in setting.choices[:: -1 if number % 2 else 1]:
                case = case_of(peer, setting, kind, choice)
                if _hopeful(results, case, [case_of(peer, setting, kind, each) for each in setting.choices]):
                    yield Turn(case, peer, replace(setting, chosen={kind: choice}), programs(setting))


def _work(peer: Peer) -> Iterator[tuple[Setting, str]]:
    for setting in peer.settings:
        if len(setting.choices) > 1:
            for kind in setting.kinds:
                yield setting, kind


def _hopeful(results: Results, case: Case, rivals: list[Case]) -> bool:
    rates = [results.samples[each]["rate"][0] for each in rivals if each in results.samples]
    first = results.samples.get(case)
    return first is None or first["rate"][0] >= _HOPELESS * max(rates)


def case_of(peer: Peer, setting: Setting, kind: str, choice: Choice) -> Case:
    """What a candidate is called among the results."""
    return Case(peer.key, f"{setting.name}, {choice.told}", kind, "none")


def found(results: Results) -> chosen.Kept:
    """By library, setting and kind of work, the candidate with the highest median, and the rates of all."""
    kept: chosen.Kept = {}
    for peer in ALL:
        settings: dict[str, Any] = {}
        for setting, kind in _work(peer):
            if best := _best(results, peer, setting, kind):
                settings.setdefault(setting.name, {})[kind] = best
        if settings:
            kept[peer.key] = {
                "date": time.strftime("%Y-%m-%d"),
                "machine": f"{os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}",
                "version": results.versions.get(peer.key, ""),
                # In its documented default, on these cores.
                "default at once": peer.settings[0].at_once("noop"),
                "settings": settings,
            }
    return kept


def _best(results: Results, peer: Peer, setting: Setting, kind: str) -> dict[str, Any] | None:
    """The first of equals; None where no candidate has a figure."""
    medians: dict[Choice, float] = {}
    rates: dict[str, list[int]] = {}
    for choice in setting.choices:
        case = case_of(peer, setting, kind, choice)
        median = results.middle(case)
        if median is not None:
            medians[choice] = median
            rates[choice.told] = [round(rate) for rate in results.samples[case]["rate"]]
    return {"chosen": max(medians, key=lambda each: medians[each]), "rates": rates} if medians else None


def keep(results: Results, file: Path) -> None:
    """Writes what was chosen; what was not measured this time stays as it was."""
    new = found(results)
    text = json.dumps(chosen.load(file) | new, indent=1, ensure_ascii=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Lists of numbers, each in one line.
    file.write_text(
        re.sub(r"\[[\d\s,]+\]", lambda numbers: f"[{' '.join(numbers[0][1:-1].split())}]", text) + "\n"
    )
    for key, library in new.items():
        for setting, kinds in library["settings"].items():
            for kind, best in kinds.items():
                say(f"{key}, {setting}, {kind}: {Choice(*best['chosen']).told} of {best['rates']}")
    say(f"written to {file.name}")
