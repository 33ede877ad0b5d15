"""New ids: for jobs, producers, consumers."""

from __future__ import annotations

import os
import time

from penstock.core.job import uuid7


def new_id() -> str:
    """A UUIDv7 of this moment, as 32 hex digits."""
    return uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))
