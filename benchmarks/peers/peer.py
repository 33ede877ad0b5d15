"""What there is to know of a library that is measured: how its worker is started, and how jobs get to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

KINDS = ("noop", "1 ms", "10 ms")
WAITING = KINDS[1:]
EARLY, LATE, FAILS = "early", "late", "fails"


class Choice(NamedTuple):
    """With how many worker processes, and how many jobs at once in all of them together; at least one for each."""

    processes: int
    at_once: int

    @property
    def told(self) -> str:
        """For people, and for the results."""
        return f"{self.processes} {'process' if self.processes == 1 else 'processes'}, {self.at_once} at once"


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a library.

    Attributes:
        name: What the application reads as ``PEERS_SETTING``, and what the tables call it.
        command: The worker's command line. ``{bin}`` is the environment's folder of programs, ``{p}`` how many
            processes, ``{c}`` the concurrency of each, ``{url}`` the Redis server. Where there is a choice of processes
            and it has no ``{p}``, it is started as many times.
        choices: What ``--choose`` measures it with; where there is one only, that is what it has by itself.
        ack: Whether a message is gone before its job has run (``early``: a killed worker loses it), after it
            (``late``: it runs again), or the job of a killed worker is found and marked as failed (``fails``).
        results: Whether what a task returns is kept.
        about: What the setting is, for the table.
        rate: No-op jobs a second, as a first guess of how many a run needs.
        kinds: The work it is measured at.
        durable: Whether it is measured on a Redis with an append-only file too.
        env: More environment variables of the worker.
        longer: How many times as long a run is; for processes that take long to start, one after another.
        chosen: Which of the choices was best, by kind of work; the first one where none was measured.
    """

    name: str
    command: str
    choices: tuple[Choice, ...]
    ack: str
    results: bool
    about: str
    rate: float
    kinds: tuple[str, ...] = KINDS
    durable: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    longer: float = 1.0
    chosen: Mapping[str, Choice] = field(default_factory=dict)

    @property
    def best(self) -> bool:
        """Whether it is one of those that are recommended for throughput."""
        return self.name.startswith("best")

    def choice(self, kind: str) -> Choice:
        """What it runs with at a kind of work."""
        return self.chosen.get(kind, self.choices[0])

    def processes(self, kind: str) -> int:
        """Its worker processes at a kind of work."""
        return self.choice(kind).processes

    def copies(self, kind: str) -> int:
        """How many times its command is started."""
        return 1 if "{p}" in self.command or len(self.choices) == 1 else self.processes(kind)

    def each(self, kind: str) -> int:
        """Jobs at once in one of its processes."""
        return max(1, self.choice(kind).at_once // self.processes(kind))

    def at_once(self, kind: str) -> int:
        """Jobs at once in all of its processes."""
        return self.each(kind) * self.processes(kind)


@dataclass(frozen=True, slots=True)
class Peer:
    """One library.

    Attributes:
        name: As it writes itself.
        key: What the command line calls it; also its file in ``requirements/`` and its folder in ``.cache/peers``.
        sleep: What a waiting job calls.
        settings: The ways to run it, the default first.
        bulk: What its bulk call is, or why there is none.
        environment: Makes its environment and returns the folder of its programs; raises ``Absent`` with the reason.
        producer: The program that enqueues, before its arguments.
        versions: Of what it is made, given its programs.
        best_environment: The same as ``environment`` for its best settings; None where they share the other one.
    """

    name: str
    key: str
    sleep: str
    settings: tuple[Setting, ...]
    bulk: str
    environment: Callable[[], Path]
    producer: tuple[str, ...]
    versions: Callable[[Path], str]
    best_environment: Callable[[], Path] | None = None

    def setting(self, name: str) -> Setting:
        """One of its settings by name."""
        return next(setting for setting in self.settings if setting.name == name)

    def worker(self, setting: Setting, kind: str, programs: Path, url: str) -> list[str]:
        """The worker's command line."""
        words = setting.command.split()
        told = {"p": setting.processes(kind), "c": setting.each(kind), "url": url}
        return [word.format(bin=programs, **told) for word in words]

    def enqueuing(self, programs: Path, *arguments: object) -> list[str]:
        """The command line that enqueues; see ``produce``."""
        return [word.format(bin=programs) for word in self.producer] + [str(each) for each in arguments]
