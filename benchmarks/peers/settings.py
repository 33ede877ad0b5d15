"""What the driver tells an application, over the environment. Standard library only."""

from __future__ import annotations

import os

REDIS_URL = os.environ.get("PEERS_REDIS_URL", "redis://127.0.0.1:6379/0")
SETTING = os.environ.get("PEERS_SETTING", "default")
CONCURRENCY = int(os.environ.get("PEERS_CONCURRENCY", "10"))
# A task's further arguments, by kind of work; the number of the job comes first.
ARGUMENTS: dict[str, tuple[float, ...]] = {"noop": (), "1 ms": (0.001,), "10 ms": (0.01,)}
TASK: dict[str, str] = {"noop": "noop", "1 ms": "nap", "10 ms": "nap"}
