"""The bare loop as a worker process: what redis-py, msgspec and uvloop cost before any engine stands around them."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from benchmarks import limit_redis


def main() -> None:
    """Drains a number of jobs on uvloop; prints when the first was run, and the peak of its memory."""
    url, count = sys.argv[-2], int(sys.argv[-1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _, first = runner.run(limit_redis._loop(url, count))
    # perf_counter and monotonic are one clock on Linux, but need not be elsewhere.
    mono_first = time.monotonic() - (time.perf_counter() - first)
    (peak,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")
    )
    print(
        f'{{"mono_first": {mono_first}, "peak_mb": {int(peak.split()[1]) / 1024}, "cpu_s": {time.process_time()}}}'
    )
