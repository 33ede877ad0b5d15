"""Enqueues jobs one after another with one library, in its own environment, and keeps what was acknowledged.

    python -m tests.soak.peers.produce MODULE OUT PREFIX COUNT PAUSE_S SECONDS DELAY_S

A line of OUT is what ``tests.faults.verdict`` reads: ``{"ack": KEY, "took_s": ..., "ns": ...}`` or ``{"error": KEY,
"type": ..., ...}``, written as soon as the call has returned. A job that was not acknowledged is not tried again.
Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import sys
import time
from typing import Any


def produce(app: Any, out: str, prefix: str, count: int, pause_s: float, *rest: float) -> None:
    """One call after another; a blocking one never meets a running loop, which is where no user has it."""
    file = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with asyncio.Runner() as runner:
        opened = getattr(app, "opened", contextlib.nullcontext)()
        runner.run(opened.__aenter__())
        for number in range(count):
            key, began = f"{prefix}-{number:04}", time.monotonic()
            line: dict[str, Any] = {"ack": key}
            try:
                if inspect.iscoroutinefunction(app.enqueue):
                    runner.run(app.enqueue(key, *rest))
                else:
                    app.enqueue(key, *rest)
            except Exception as error:  # whatever a caller of this library would see
                line = {"error": key, "type": type(error).__name__}
            line |= {"took_s": time.monotonic() - began, "ns": time.monotonic_ns()}
            os.write(file, (json.dumps(line) + "\n").encode())
            time.sleep(pause_s)


if __name__ == "__main__":
    module, out, prefix, count, *rest = sys.argv[1:]
    produce(importlib.import_module(module), out, prefix, int(count), *map(float, rest))
    print("done", flush=True)
    # Threads and loops of a client may wait for ever for a broker that is away.
    os._exit(0)
