"""One model for a whole process: a lock around it, and a bell that wakes waiting coroutines of any loop."""

from __future__ import annotations

import asyncio
import threading

from penstock.brokers.memory.inspection import Inspection
from penstock.brokers.memory.model import Model
from penstock.errors import ConfigError


class Shared:
    """A model, used under ``lock``. ``ring`` it after a change for which somebody may wait."""

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.model: Model = Model()
        self.inspection: Inspection = Inspection(self.model)
        self._bells: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def check_not_within(self) -> None:
        """Refuses the thread that has the lock: the handler of a signal may come in the middle of a change.

        Raises:
            ConfigError: It has.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]  # as threading.Condition asks, too
            raise ConfigError(
                "memory: enqueued in the middle of another call of the same thread, as the handler of a signal may;"
                " let the handler set an event, and enqueue where that is waited for"
            )

    def ring(self) -> None:
        """Wakes everybody who waits; each looks again. Call it under the lock."""
        for bell, loop in list(self._bells.items()):
            try:
                loop.call_soon_threadsafe(bell.set)
            except RuntimeError:  # the loop was closed with a fetch under way
                self._bells.pop(bell, None)

    def listen(self) -> asyncio.Event:
        """A bell of the running loop. Call it under the lock, before looking; ``leave`` it afterwards."""
        bell = asyncio.Event()
        self._bells[bell] = asyncio.get_running_loop()
        return bell

    def leave(self, bell: asyncio.Event) -> None:
        """Takes the bell down."""
        with self.lock:
            self._bells.pop(bell, None)


_shared: dict[tuple[str, str], Shared] = {}
_shared_lock = threading.Lock()


def shared(name: str, namespace: str) -> Shared:
    """The one of this name and namespace; it lives as long as the process."""
    with _shared_lock:
        return _shared.setdefault((name, namespace), Shared())
