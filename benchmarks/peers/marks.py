"""The work itself, and a measurement that asks no library anything.

Every job has a number. As it ends it writes the moment into its own place in a file that worker and driver map into
memory, and adds one to its count of runs there: some 0.2 us a job, the same for every library, over threads and forked
processes alike. The driver reads from the file how many jobs were done and how often, and when the first began and the
last ended; no-op jobs write their end alone, so that of these the first one's end counts. Two runs of one job count as
one only where both add within the same tenth of a microsecond.

Runs in every library's environment: the standard library only.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import time
from pathlib import Path

PATH = "PEERS_MARKS"
# Of a job: when it began, when it ended, and how often it ran. Of all jobs, one after the other.
_MOMENT, _COUNT = 8, 1
_MOST_RUNS = 255


def _open(path: Path) -> tuple[memoryview, memoryview, memoryview]:
    with path.open("r+b") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0))
    jobs = len(whole) // (2 * _MOMENT + _COUNT)
    moments = whole[: 2 * _MOMENT * jobs].cast("Q")
    return moments[:jobs], moments[jobs:], whole[2 * _MOMENT * jobs :]


# Moments in nanoseconds of the system's monotonic clock; 0 where a job has not come so far. A producer has none.
_NONE = memoryview(b"")
began, ended, runs = _open(Path(os.environ[PATH])) if PATH in os.environ else (_NONE, _NONE, _NONE)


def _ran(number: int) -> None:
    ended[number] = time.monotonic_ns()
    if (count := runs[number]) < _MOST_RUNS:
        runs[number] = count + 1


def noop(number: int) -> int:
    """Nothing but the mark."""
    _ran(number)
    return number


def nap(number: int, seconds: float) -> int:
    """A job that waits, as most do: on its own thread."""
    began[number] = time.monotonic_ns()
    time.sleep(seconds)
    _ran(number)
    return number


async def async_nap(number: int, seconds: float) -> int:
    """The same on an event loop."""
    began[number] = time.monotonic_ns()
    await asyncio.sleep(seconds)
    _ran(number)
    return number


class Marks:
    """The driver's side of the file."""

    def __init__(self, path: Path, count: int) -> None:
        self.count = count
        self._next = 0
        path.write_bytes(bytes((2 * _MOMENT + _COUNT) * count))
        self._began, self._ended, self._runs = _open(path)

    def any(self) -> bool:
        """Whether a job was seen; jobs come in about the order in which they were enqueued."""
        return any(self._ended[: min(self.count, 1000)]) or any(self._began[: min(self.count, 1000)])

    def complete(self) -> bool:
        """Whether every job has ended; looks at each job once, however often it is asked."""
        while self._next < self.count and self._runs[self._next]:
            self._next += 1
        return self._next == self.count

    def done(self) -> int:
        """How many jobs have ended."""
        return self.count - bytes(self._runs).count(0)

    def repeated(self) -> int:
        """How many jobs have run more than once."""
        return self.done() - bytes(self._runs).count(1)

    def first_s(self) -> float:
        """When the first job began, or ended where none tells its beginning; 0.0 where there is none."""
        moments = [*filter(None, self._began)] or [*filter(None, self._ended)]
        return min(moments, default=0) / 1e9

    def last_s(self) -> float:
        """When the last job ended; 0.0 where none has."""
        return max(self._ended) / 1e9
