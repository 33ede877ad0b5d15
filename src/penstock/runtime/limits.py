"""When a process has done enough, or has grown too large, and another is to take its place."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

MB: Final = 1_000_000
# What is recommended is rounded up to a multiple of it.
ROUND_MB: Final = 50
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

    def too_small(self, who: str) -> str:
        """What is wrong with a bound on memory that this process is above before it has done anything; else empty.

        Args:
            who: How to call a process as this one.
        """
        held = resident_bytes() / MB if self.memory_mb else 0.0
        if held <= self.memory_mb:
            return ""
        enough = math.ceil(2 * held / ROUND_MB) * ROUND_MB
        return (
            f"max_memory_mb is {self.memory_mb}, but {who} holds {held:.0f} MB before its first job: each is replaced "
            f"as soon as it has done one, for ever. Set it well above that, as to {enough}, or to 0 for no limit"
        )


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
