"""The user's event loop, as those parts of a worker see it that want something done there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class UserLoop:
    """Made when it is first needed; what is posted before it runs waits for it. All methods from any thread.

    Args:
        start: Asks for the loop to be started, once; whoever runs it then calls ``attach`` on it.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start: Callable[[], None] | None = start
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[Callable[[], object]] = []

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop runs; called on it."""
        with self._lock:
            self._loop, self._start = loop, None
            for action in self._waiting:
                loop.call_soon(action)
            self._waiting.clear()

    def post(self, action: Callable[[], object]) -> None:
        """Calls ``action`` on the loop, soon.

        Raises:
            RuntimeError: The loop is closed: the worker has ended.
        """
        start = None
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    self._waiting.append(action)
                    start, self._start = self._start, None
                    action = _nothing
        if start is not None:
            start()
        elif action is not _nothing and self._loop is not None:
            self._loop.call_soon_threadsafe(action)


def _nothing() -> None:
    """In place of an action that waits."""
