"""What a worker runs while it is measured: plain functions that do nothing, and one that tells what happened.

The counter is the proof that every job ran. It costs some 40 ns a job, which the limit does not pay.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

from penstock import Penstock

app = Penstock("noop")


class Seen:
    """What this process has done since it last told."""

    def __init__(self) -> None:
        self.count = itertools.count().__next__
        self.first_mono = self.first_cpu_s = self.last_mono = 0.0
        self.stamps_ns: list[int] = []

    def first(self) -> None:
        """The first job has begun."""
        self.first_mono, self.first_cpu_s = time.monotonic(), time.process_time()


seen = Seen()


def count() -> None:
    """One more job runs."""
    if not seen.count():
        seen.first()


def tell(path: str) -> None:
    """Writes down what was done since the last time."""
    global seen
    told, seen = seen, Seen()
    facts = {"ran": told.count(), "first_mono": told.first_mono, "last_mono": told.last_mono}
    facts |= {"cpu_s": time.process_time() - told.first_cpu_s, "cpu_s_in_all": time.process_time()}
    whole = Path(path).with_suffix(".part")
    whole.write_text(json.dumps(facts | {"stamps_ns": told.stamps_ns}))
    whole.rename(path)


@app.task(name="noop", result_ttl=0)
def noop(number: int, address: str) -> None:
    """Nothing, and nothing is kept."""
    count()


@app.task(name="noop_result")
def noop_result(number: int, address: str) -> int:
    """Nothing, and its result is kept."""
    count()
    return number


@app.task(name="work", result_ttl=0)
def work(number: int, address: str) -> None:
    """Some 100 us of Python."""
    count()
    sum(number * number for number in range(3_200))


@app.task(name="stamp", result_ttl=0)
def stamp(mono_sent_ns: int) -> None:
    """How long it took to come here."""
    seen.stamps_ns.append(time.monotonic_ns() - mono_sent_ns)
    count()


@app.task(name="nap", result_ttl=0)
def nap() -> None:
    """Sleeps 100 ms."""
    count()
    time.sleep(0.1)
    seen.last_mono = time.monotonic()


@app.task(name="told", result_ttl=0)
def told(path: str) -> None:
    """Enqueued when all else has ended."""
    tell(path)
