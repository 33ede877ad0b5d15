"""Removes all that is stored under a namespace: for whoever made up one of its own, such as the demo."""

from __future__ import annotations

from typing import Final

from penstock.brokers import Address
from penstock.brokers.redis.link import Link
from penstock.brokers.redis.scripts import Command

# What a look passes over; a long one would stop everybody.
_STEP_KEYS: Final = 1000


async def clear(address: Address) -> int:
    """Removes every key of the namespace of ``address``, and no other; returns how many. Nobody may be using it.

    Goes through all keys of the server's database, in small steps.
    """
    # A namespace has no character that means something in a pattern (check_queue_name).
    pattern = f"{{{address.namespace}:*".encode()
    link, cursor, removed = Link(address), b"0", 0
    try:
        while True:
            (reply,) = await link.call([Command((b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _STEP_KEYS))])
            cursor, keys = reply
            if keys:
                removed += (await link.call([Command((b"UNLINK", *keys))]))[0]
            if cursor == b"0":
                return removed
    finally:
        await link.close()
