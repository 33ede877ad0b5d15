"""One connection with its own deadlines: commands go out together, every reply is waited for, and only so long.

redis-py's client would send a command again after a timeout, and the server would then run a claim twice: its
connections are used directly, one exchange at a time. Whatever interrupts an exchange closes the connection, so that
nobody reads an answer that was meant for somebody else.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from redis import exceptions as driver
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from penstock.brokers import Address
from penstock.brokers.redis.errors import translated
from penstock.brokers.redis.scripts import Command
from penstock.brokers.redis.url import ANSWER_S, CONNECT_S, connection_options
from penstock.errors import BrokerUnavailable


def new_connection(address: Address) -> Connection:
    """A connection that is not made yet, without the driver's own deadlines and retries."""
    encrypted, options = connection_options(address)
    kind = SSLConnection if encrypted else Connection
    # Deadlines stand around whole exchanges here; the driver's own would be started anew with every reply.
    options |= {
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_S,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "socket_keepalive": True,
        "protocol": 2,
    }
    return kind(**options)


class Link:
    """A connection that is made when it is needed and again after it broke."""

    def __init__(self, address: Address) -> None:
        self._shown = address.shown()
        self._connection = new_connection(address)
        self._turn = asyncio.Lock()

    async def call(self, commands: Sequence[Command], answer_s: float = ANSWER_S) -> list[Any]:
        """Sends ``commands`` in one go and returns their replies, in order.

        Scripts that the server does not know are sent again whole, in order, when all replies have come.

        Args:
            commands: What to send.
            answer_s: Seconds until all replies must have come, those that a blocking command waits included.

        Raises:
            BrokerError: Not reached, not answered in time, or refused; see ``penstock.errors``.
        """
        replies = await self.ask(commands, answer_s)
        for reply in replies:
            if isinstance(reply, driver.ResponseError):
                error = translated(reply, self._shown)
                if isinstance(error, BrokerUnavailable):
                    # A server that was demoted or is loading: the address may lead to another one by now.
                    await self._drop()
                raise error
        return replies

    async def ask(self, commands: Sequence[Command], answer_s: float = ANSWER_S) -> list[Any]:
        """As ``call``; what the server refused stands among the replies as the driver's ``ResponseError``."""
        try:
            # Others may stand before us, and the server may answer none of them.
            async with asyncio.timeout(answer_s + CONNECT_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise translated(error, self._shown) from None
        try:
            return await self._ask(commands, answer_s)
        except BaseException as error:
            await self._drop()
            if isinstance(error, (driver.RedisError, OSError)):
                raise translated(error, self._shown) from None
            raise
        finally:
            self._turn.release()

    async def _ask(self, commands: Sequence[Command], answer_s: float) -> list[Any]:
        if self._connection.is_connected and await self._connection.can_read():
            # Nothing is asked and yet there is something: the server has hung up meanwhile.
            await self._drop()
        async with asyncio.timeout(answer_s + (0.0 if self._connection.is_connected else CONNECT_S)):
            replies = await self._exchange(commands)
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, driver.NoScriptError)]
            if unknown:
                again = await self._exchange([commands[at].whole() for at in unknown])
                for at, reply in zip(unknown, again, strict=True):
                    replies[at] = reply
        return replies

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        packed = (
            commands[0].packed() if len(commands) == 1 else b"".join([each.packed() for each in commands])
        )
        await connection.send_packed_command(packed, check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response(timeout=math.inf))
            except driver.ResponseError as error:
                replies.append(error)
        return replies

    async def _drop(self) -> None:
        # Without waiting for the other side, which may not be there any more.
        await self._connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Closes the connection; a later call makes it anew."""
        await self._drop()
        # The socket is closed in the loop's next turn, which may be its last.
        await asyncio.sleep(0)
