"""When a process has done enough, or has grown too large, and another is to take its place."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

MB: Final = 1_000_000
# A worn process whose jobs are let end for longer is spoken of, and others are not kept waiting for it any more.
PATIENCE_S: Final = 600.0
_STATM: Final = Path("/proc/self/statm")


class Limits(NamedTuple):
    """What one process may do and hold; 0 for no limit.

    Attributes:
        jobs: Runs that have ended.
        memory_mb: Megabytes (10^6 bytes) resident.
    """

    jobs: int = 0
    memory_mb: int = 0

    def reached(self, done: int) -> str:
        """Why this process is to be replaced, as words that follow its name; empty while it is not.

        Args:
            done: Runs that have ended in it. One that has done nothing is never too large: its successor would be too.
        """
        if self.jobs and done >= self.jobs:
            return f"has done {done} job(s) (max_jobs_per_process is {self.jobs})"
        if self.memory_mb and done:
            held = resident_bytes()
            if held > self.memory_mb * MB:
                return f"holds {held / MB:.0f} MB (max_memory_mb is {self.memory_mb})"
        return ""


NO_LIMITS: Final = Limits()


def resident_bytes() -> int:
    """Bytes of memory that this process holds now; where the system does not say, the most it ever held; else 0."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows: nothing is known, so nothing is too large
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
