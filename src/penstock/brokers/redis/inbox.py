"""Where a process hears that jobs have ended: one subscription, whatever the number of jobs that it waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from secrets import token_hex
from typing import Any, Final

from redis import exceptions as driver

from penstock.brokers import Address
from penstock.brokers.redis.link import new_connection

# After so long without a word the server is asked whether it is there; after as long again it is not.
_QUIET_S: Final = 10.0


class Bell:
    """Rings when a job has ended.

    Attributes:
        rung: Set when it rang.
        outcome: How the job ended, as it is stored, where the ring told it.
    """

    def __init__(self) -> None:
        self.rung: asyncio.Event = asyncio.Event()
        self.outcome: bytes = b""

    def ring(self, outcome: bytes) -> None:
        """The job has ended."""
        self.outcome = outcome
        self.rung.set()

    def still(self) -> None:
        """Forgets what it has rung for."""
        self.outcome = b""
        self.rung.clear()


class Inbox:
    """One channel of this process's own, listened to while somebody waits.

    What it says saves a look at the stored state; who waits looks there again after a second without it.
    """

    def __init__(self, address: Address, prefix: str) -> None:
        self.channel: str = prefix + token_hex(16)
        self._address = address
        self._bells: dict[str, set[Bell]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @contextlib.contextmanager
    def bell(self, id: str) -> Generator[Bell]:
        """Rings when the job has ended."""
        bell = Bell()
        self._bells.setdefault(id, set()).add(bell)
        try:
            yield bell
        finally:
            bells = self._bells[id]
            bells.discard(bell)
            if not bells:
                del self._bells[id]

    async def listen(self, timeout_s: float) -> None:
        """Subscribes, where that has not been done yet; gives up quietly, since what is heard is a hint."""
        if self._listener is None or self._listener.done():
            self._listening.clear()
            self._listener = asyncio.create_task(self._listen())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._listening.wait()

    async def _listen(self) -> None:
        # The driver's types end at a reply.
        connection: Any = new_connection(self._address)
        try:
            await connection.send_command("SUBSCRIBE", self.channel, check_health=False)
            asked = False
            while True:
                message: Any = await connection.read_response(timeout=_QUIET_S)
                if message is None:
                    if asked:
                        return
                    await connection.send_command("PING", check_health=False)
                asked = message is None
                if message is None:
                    continue
                if message[0] == b"subscribe":
                    self._listening.set()
                elif message[0] == b"message":
                    id, _, outcome = message[2].partition(b"\n")
                    for bell in self._bells.get(id.decode(), ()):
                        bell.ring(outcome)
        except (driver.RedisError, OSError):
            # The next wait subscribes anew; until then everybody looks once a second.
            return
        finally:
            self._listening.set()
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Ends the subscription."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
