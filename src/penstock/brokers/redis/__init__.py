"""Redis 6.2 or later, and Valkey. ``lua/_queue.lua`` shows how a queue is stored."""

from __future__ import annotations

from penstock.brokers import Address
from penstock.brokers.redis.blocking import RedisBlocking
from penstock.brokers.redis.broker import RedisBroker
from penstock.ports.inspector import Facts


def open_broker(address: Address) -> RedisBroker:
    """The asynchronous broker, not yet opened; it is also its own Inspector."""
    return RedisBroker(address)


def open_blocking(address: Address) -> RedisBlocking:
    """The blocking producer; it connects on first use."""
    return RedisBlocking(address)


async def facts(broker: RedisBroker) -> Facts:
    """What the server says of itself; for ``penstock doctor``."""
    from penstock.brokers.redis.doctoring import examine  # no worker pays for it

    return await examine(broker)
