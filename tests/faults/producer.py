"""Enqueues jobs one after another and keeps, forced to the disk, what the broker acknowledged.

    python -m tests.faults.producer OUT PREFIX COUNT PAUSE_S MANY TASK[=SECONDS] ...

A line of OUT is one JSON object: ``{"ask": KEY, "ns": ...}`` before the call, then ``{"ack": KEY, "id": ..., "took_s":
..., "ns": ...}`` or ``{"error": KEY, "type": ..., "took_s": ..., "ns": ...}``. With MANY above 1 a call is
``delay_many`` of so many.
COUNT 0 goes on until it is killed or told to stop by SIGTERM.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from typing import Any

from penstock import BrokerError
from tests.faults import lanes as tasks


class Keeper:
    """Lines forced to the disk, so that what was acknowledged is known whatever happens to this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def keep(self, lines: list[dict[str, Any]], *, force: bool) -> None:
        now = time.monotonic_ns()
        os.write(self._file, "".join(json.dumps({**line, "ns": now}) + "\n" for line in lines).encode())
        if force:
            os.fdatasync(self._file)


def main() -> None:
    out, prefix, count, pause_s, many = sys.argv[1:6]
    choices = [
        (name, float(seconds or 0)) for name, _, seconds in (each.partition("=") for each in sys.argv[6:])
    ]
    keeper = Keeper(out)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    numbers = iter(range(int(count))) if int(count) else itertools.count()
    size = int(many)
    while not stopped:
        keys = [f"{prefix}-{number}" for number in itertools.islice(numbers, size)]
        if not keys:
            break
        name, longest_s = random.choice(choices)
        task = getattr(tasks, name)
        rest = (random.uniform(0, longest_s),) if name in {"on_thread", "on_loop", "in_process"} else ()
        keeper.keep([{"ask": key} for key in keys], force=False)
        began = time.monotonic()
        try:
            handles = (
                [task.delay(keys[0], *rest)] if size == 1 else task.delay_many([(key, *rest) for key in keys])
            )
        except BrokerError as error:
            took_s = time.monotonic() - began
            line = {"type": type(error).__name__, "took_s": took_s, "text": str(error)}
            keeper.keep([{"error": key, **line} for key in keys], force=True)
        else:
            took_s = time.monotonic() - began
            lines = [
                {"ack": key, "id": handle.id, "took_s": took_s}
                for key, handle in zip(keys, handles, strict=True)
            ]
            keeper.keep(lines, force=True)
        if float(pause_s):
            time.sleep(float(pause_s))
    tasks.app.close()
    print("producer is done", flush=True)


if __name__ == "__main__":
    main()
