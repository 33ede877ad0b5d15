"""The reference model as a broker, for tests: ``memory://`` or ``memory://name``, one store a name in the process."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.brokers.memory.broker import MemoryBlocking, MemoryBroker
from penstock.brokers.memory.model import Model
from penstock.brokers.memory.shared import Shared, shared
from penstock.ports.inspector import Facts

if TYPE_CHECKING:
    from penstock.brokers import Address

__all__ = ["MemoryBlocking", "MemoryBroker", "Model", "facts", "open_blocking", "open_broker"]


def _shared_at(address: Address) -> Shared:
    return shared(urlsplit(address.url).netloc, address.namespace)


def open_broker(address: Address) -> MemoryBroker:
    """The asynchronous broker over the store that ``address`` names."""
    return MemoryBroker(_shared_at(address))


def open_blocking(address: Address) -> MemoryBlocking:
    """The blocking producer over the store that ``address`` names."""
    return MemoryBlocking(_shared_at(address))


async def facts(_broker: MemoryBroker) -> Facts:
    """It is this process."""
    return Facts(f"memory of Python {platform.python_version()}", 0.0, [], [])
