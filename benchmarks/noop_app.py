"""What a worker runs while it is measured: plain functions that do nothing, and one that tells what happened.

The counter is the proof that every job ran. It costs some 40 ns a job, which the limit does not pay.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

from penstock import Penstock

app = Penstock("noop")

_count = itertools.count().__next__
_first = {"mono": 0.0, "cpu_s": 0.0}


def _mark_first() -> None:
    _first.update(mono=time.monotonic(), cpu_s=time.process_time())


def count() -> None:
    """One more job has run."""
    if not _count():
        _mark_first()


@app.task(name="noop", result_ttl=0)
def noop(number: int, address: str) -> None:
    """Nothing, and nothing is kept."""
    count()


@app.task(name="noop_result")
def noop_result(number: int, address: str) -> int:
    """Nothing, and its result is kept."""
    count()
    return number


@app.task(name="told", result_ttl=0)
def told(path: str) -> None:
    """Writes down what this process has done so far. Enqueued when all else has ended."""
    tell(path)


def tell(path: str) -> None:
    """What ``told`` does, for the other applications."""
    facts = {"ran": _count(), "first_mono": _first["mono"], "first_cpu_s": _first["cpu_s"]}
    facts |= {"cpu_s": time.process_time(), "mono": time.monotonic(), "pid": os.getpid()}
    whole = Path(path).with_suffix(".part")
    whole.write_text(json.dumps(facts))
    whole.rename(path)
