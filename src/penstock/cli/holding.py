"""Keeps Ctrl-C waiting for as long as an interrupt would leave something half made."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def held_back() -> Generator[None]:
    """SIGINT and SIGTERM that come during the block are dealt with at its end, in the way that was set before it."""
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield
        return
    before: dict[int, Any] = {}
    came: list[tuple[int, FrameType | None]] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(number)):
            before[number] = handler
            signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)
        for signalled, frame in came:
            before[signalled](signalled, frame)
