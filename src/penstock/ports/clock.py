"""Time as the runtime sees it, so that tests can move it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two clocks: which one a moment was read from is said in its name."""

    def wall(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def mono(self) -> float:
        """Seconds since some moment; never goes back. For timeouts."""
        ...
