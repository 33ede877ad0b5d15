"""How a process ended, in words."""

from __future__ import annotations

import os
import signal


class Ended:
    """How a process ended; its text goes behind the process's name.

    Args:
        status: As ``os.wait4`` gives it.
        peak_bytes: The most memory that it had, 0 for unknown.
    """

    def __init__(self, status: int, peak_bytes: int = 0) -> None:
        self.code: int = os.waitstatus_to_exitcode(status)
        self._peak_bytes = peak_bytes

    def __str__(self) -> str:
        if self.code >= 0:
            how = f"ended with exit code {self.code}"
        else:
            how = f"was killed by {signal_name(-self.code)}"
            if self.code == -signal.SIGKILL:
                how += " (by hand, or by the kernel for want of memory)"
        return f"{how}, peak memory {self._peak_bytes / 1e6:.0f} MB" if self._peak_bytes else how


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
