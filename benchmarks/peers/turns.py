"""What a round of the benchmark is made of, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.peer import KINDS, Peer, Setting
from benchmarks.peers.results import DURABILITIES, Case

# Where the programs of a library are, by its setting.
Programs = Callable[[Setting], Path]


@dataclass(frozen=True, slots=True)
class Turn:
    """One system at one kind of work; what a round is made of."""

    case: Case
    peer: Peer
    setting: Setting
    programs: Path


def turns(peers: list[tuple[Peer, Programs]]) -> Iterator[Turn]:
    """A round: each kind of work by all systems, one after another."""
    for kind in KINDS:
        yield from _turns(peers, kind, "none", lambda setting, kind=kind: kind in setting.kinds)
    for durability in DURABILITIES[1:]:
        yield from _turns(peers, "noop", durability, lambda setting: setting.durable)
    for way in ("one", "many"):
        for peer, programs in peers:
            first = peer.settings[0]
            yield Turn(Case(peer.key, first.name, way, "none"), peer, first, programs(first))


def _turns(
    peers: list[tuple[Peer, Programs]], kind: str, durability: str, wanted: Callable[[Setting], bool]
) -> Iterator[Turn]:
    for peer, programs in peers:
        for setting in filter(wanted, peer.settings):
            yield Turn(Case(peer.key, setting.name, kind, durability), peer, setting, programs(setting))


def rotated(peers: list[tuple[Peer, Programs]], number: int, rounds: int) -> list[tuple[Peer, Programs]]:
    """The order of a round: each begins elsewhere, so that nobody always follows the same one's heat or quiet."""
    first = number * len(peers) // rounds
    return peers[first:] + peers[:first]
