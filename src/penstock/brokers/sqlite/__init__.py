"""Jobs in a SQLite file: the embedded default, shared by the processes of one machine.

What survives: an acknowledged job is in the file, and on the disk before it is acknowledged (``synchronous=FULL``), so
it outlives killed processes and a failure of the power; a claim may be forgotten by the latter, its job is then ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.brokers.sqlite.blocking import SQLiteProducer
from penstock.brokers.sqlite.broker import SQLiteBroker
from penstock.brokers.sqlite.file import path_of
from penstock.ports.inspector import Facts

if TYPE_CHECKING:
    from penstock.brokers import Address

__all__ = ["SQLiteBroker", "SQLiteProducer", "facts", "open_blocking", "open_broker"]


def open_broker(address: Address) -> SQLiteBroker:
    """The asynchronous broker on the file that ``address`` names; not yet opened."""
    return SQLiteBroker(path_of(address.url), address.namespace)


def open_blocking(address: Address) -> SQLiteProducer:
    """The blocking producer on that file; it opens it on first use."""
    return SQLiteProducer(path_of(address.url), address.namespace)


async def facts(broker: SQLiteBroker) -> Facts:
    """What the server says of itself; for ``penstock doctor``."""
    from penstock.brokers.sqlite.doctoring import examine  # no worker pays for it

    return await examine(broker)
