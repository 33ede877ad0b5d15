"""An application's connections, one set for each event loop that uses it, opened on first use and closed with it."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from penstock.errors import BrokerUnavailable
from penstock.producer import AsyncEnqueue, pauses

if TYPE_CHECKING:
    from penstock.app import Penstock
    from penstock.ports.broker import Broker


class Client:
    """One event loop's connections.

    Attributes:
        broker: The loop's broker.
        enqueue: The way in, shared by all callers of the loop.
        error: What kept it from being opened; whoever waited for that is told the same, and the next call begins anew.
    """

    __slots__ = ("broker", "ending", "enqueue", "error", "opening")

    def __init__(self, broker: Broker, timeout_s: float) -> None:
        self.ending: AsyncIterator[None] | None = None
        self.error: BaseException | None = None
        self.broker: Broker = broker
        self.enqueue: AsyncEnqueue = AsyncEnqueue(broker, timeout_s)
        self.opening: asyncio.Lock = asyncio.Lock()


class Clients:
    """The clients of an application, by event loop.

    Args:
        app: Whose broker and ``enqueue_timeout`` they use, as its settings are when a client is opened.
    """

    def __init__(self, app: Penstock) -> None:
        self._app = app
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = (
            weakref.WeakKeyDictionary()
        )

    def __len__(self) -> int:
        return len(self._by_loop)

    async def here(self) -> Client:
        """The running loop's client, opened.

        Raises:
            BrokerUnavailable: It could not be opened in time.
        """
        loop = asyncio.get_running_loop()
        client = self._by_loop.get(loop)
        if client is None:
            self._forget_closed()
            client = self._by_loop[loop] = Client(self._app.connect(), self._app.settings["enqueue_timeout"])
            async with client.opening:
                try:
                    await self._open(client.broker)
                except BaseException as error:
                    client.error = error
                    self._by_loop.pop(loop, None)
                    raise
                client.ending = self._until_the_loop_ends()
                await anext(client.ending)
        elif client.opening.locked():
            async with client.opening:
                pass
            if isinstance(client.error, Exception):
                raise client.error
            if client.error is not None:  # who opened it was cancelled
                return await self.here()
        return client

    def _forget_closed(self) -> None:
        """Of loops that were closed without ``asyncio.run`` nothing could be closed with them."""
        # Loops of other threads come and go meanwhile, so it is a copy that is gone through.
        for other in self._by_loop.keyrefs():
            loop = other()
            if loop is not None and loop.is_closed():
                self._by_loop.pop(loop, None)

    async def close_here(self) -> None:
        """Closes the running loop's connections. They come back on the next use."""
        client = self._by_loop.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.broker.close()

    async def _open(self, broker: Broker) -> None:
        """Opens a broker, again and again while it cannot be reached, as a call on an open one is repeated."""
        within_s: float = self._app.settings["enqueue_timeout"]
        mono_until = time.monotonic() + within_s
        try:
            async with asyncio.timeout(within_s):
                waits = pauses()
                while True:
                    try:
                        await broker.open()
                        return
                    except BrokerUnavailable:
                        pause_s = next(waits)
                        if time.monotonic() + pause_s >= mono_until:
                            raise
                    await asyncio.sleep(pause_s)
        except TimeoutError:
            raise BrokerUnavailable(f"{self._app.address.shown()}: no answer within {within_s:g} s") from None

    async def _until_the_loop_ends(self) -> AsyncIterator[None]:
        """Closes the running loop's connections with it: ``asyncio.run`` ends the generators that were begun on it."""
        try:
            yield
        finally:
            await self.close_here()
