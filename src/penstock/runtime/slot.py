"""A place among a supervisor's worker processes: the process that has it now, and what the supervisor knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.runtime.wards import Ward


class Slot:
    """One worker process, and those that are started in its place when it dies.

    Args:
        number: How the log calls it.

    Attributes:
        pid: Of the process that runs now; 0 for none.
        code: How the last one ended, once none will follow or while the next is waited for.
        over: No other will follow.
        failures: How many in a row ended soon.
        mono_started: When the process that runs now was started.
        mono_retry: When to start the next one.
        reading: Where its lines come from.
        ward: What it has said; None while no process runs.
        quiet: It was told to take nothing new.
        worn: It has asked to be replaced; when it drains its jobs are let end.
        mono_hurry: It is worn and drains: when what still runs in it is given back; None for not at all.
        mono_drains_since: When it was told to drain so that another takes its place.
        mono_drains_until: It was replaced and drains: when it is killed if it still runs; None while it works.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.code = 0
        self.over = False
        self.failures = 0
        self.mono_started: float = 0.0
        self.mono_retry: float = 0.0
        self.reading = -1
        self.ward: Ward | None = None
        self.quiet = False
        self.worn = False
        self.mono_hurry: float | None = None
        self.mono_drains_since: float = 0.0
        self.mono_drains_until: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it has been heard: it reached its broker, and listens to signals."""
        return self.ward is not None and self.ward.ready

    def __str__(self) -> str:
        return f"worker process {self.number} (pid {self.pid})"
