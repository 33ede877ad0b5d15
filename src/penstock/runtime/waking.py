"""A signal's handler runs on the main thread, once that does something; this makes it do something.

The main thread waits in a lock. Where the kernel hands a signal to another thread, or just before the lock is waited
for, Python notes the signal and nobody wakes the main thread: in trials one SIGTERM of fifteen went unheard until the
next. So Python writes each signal to a socket as well, and the I/O loop, which hears it, wakes the main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable

_READ_BYTES = 4096


class SignalBell:
    """Rings ``wake`` on a loop of another thread whenever this process gets a signal. Made on the main thread."""

    def __init__(self) -> None:
        self._hears, self._rings = socket.socketpair()
        self._hears.setblocking(False)
        self._rings.setblocking(False)
        self.hang()

    def hang(self) -> None:
        """Lets signals ring it: at first, and after an event loop on the main thread has had them itself."""
        signal.set_wakeup_fd(self._rings.fileno(), warn_on_full_buffer=False)

    def listen(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        """From now on ``wake`` is called on ``loop``; at once where a signal came before."""
        loop.add_reader(self._hears, self._heard, wake)

    def _heard(self, wake: Callable[[], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            self._hears.recv(_READ_BYTES)
        wake()

    def close(self) -> None:
        """Takes it down; the loop that listened has ended."""
        signal.set_wakeup_fd(-1)
        self._hears.close()
        self._rings.close()
