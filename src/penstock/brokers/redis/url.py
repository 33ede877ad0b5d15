"""What a Redis URL says about the connection, for the driver's asynchronous and blocking connections alike."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio.connection import parse_url

from penstock.brokers import Address
from penstock.errors import ConfigError

# A call that is not answered by then has failed; whoever made it may repeat it with its number.
ANSWER_S: Final = 5.0
CONNECT_S: Final = 5.0
_DRIVERS_SCHEME: Final = {"valkey": "redis", "valkeys": "rediss"}


def connection_options(address: Address) -> tuple[bool, dict[str, Any]]:
    """Whether the connection is encrypted, and the driver's keyword arguments for it.

    Raises:
        ConfigError: The URL holds something that cannot be read.
    """
    scheme = _DRIVERS_SCHEME.get(address.scheme, address.scheme)
    try:
        options = dict(parse_url(scheme + address.url[len(address.scheme) :]))
    except ValueError as error:
        raise ConfigError(f"broker URL: {address.shown()}: {error}") from error
    options.pop("connection_class", None)
    options.setdefault("host", "localhost")
    return scheme == "rediss", options
