"""With how many processes everybody is measured at its best: the number that was best in short runs of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.bench import say
from benchmarks.peers.peer import Peer, Setting
from benchmarks.peers.results import Case, Results
from benchmarks.peers.table import ALL, PROCESSES
from benchmarks.peers.turns import Programs, Turn


def turns(peers: list[tuple[Peer, Programs]]) -> Iterator[Turn]:
    """A round: each choice of each setting, one after another."""
    for peer, programs in peers:
        for setting, kind, number, case in _choices(peer):
            chosen = replace(setting, chosen={kind: number})
            yield Turn(case, peer, chosen, programs(setting))


def _choices(peer: Peer) -> Iterator[tuple[Setting, str, int, Case]]:
    for setting in peer.settings:
        for kind in setting.kinds:
            for number in setting.choices:
                yield (
                    setting,
                    kind,
                    number,
                    Case(
                        peer.key,
                        f"{setting.name}, {number} {'process' if number == 1 else 'processes'}",
                        kind,
                        "none",
                    ),
                )


def chosen(results: Results) -> dict[str, dict[str, dict[str, int]]]:
    """By library, setting and kind of work, the number of processes with the highest rate; the first of equals."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for peer in ALL:
        best: dict[tuple[str, str], float] = {}
        for setting, kind, number, case in _choices(peer):
            rate = results.middle(case)
            if rate is not None and rate > best.get((setting.name, kind), 0.0):
                best[setting.name, kind] = rate
                found.setdefault(peer.key, {}).setdefault(setting.name, {})[kind] = number
    return found


def keep(results: Results, *, write: bool) -> None:
    """Tells what was chosen and writes it; what was not measured this time stays as it was."""
    found = chosen(results)
    print(json.dumps(found, indent=1))
    if not write:
        return
    kept = json.loads(PROCESSES.read_text()) if PROCESSES.exists() else {}
    PROCESSES.write_text(json.dumps(kept | found, indent=1) + "\n")
    say(f"written to {PROCESSES.name}")
