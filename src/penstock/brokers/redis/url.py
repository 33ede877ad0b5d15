"""What a Redis URL says about the connection, for the driver's asynchronous and blocking connections alike."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import parse_url

from penstock.brokers import Address
from penstock.errors import ConfigError

# A call that is not answered by then has failed; whoever made it may repeat it with its number.
ANSWER_S: Final = 5.0
CONNECT_S: Final = 5.0
# What a URL may say; deadlines and the protocol are Penstock's own affair.
_OPTIONS: Final = frozenset({"host", "port", "db", "username", "password", "client_name"})
_DRIVERS_SCHEME: Final = {"valkey": "redis", "valkeys": "rediss"}


def connection_options(address: Address) -> tuple[bool, dict[str, Any]]:
    """Whether the connection is encrypted, and the driver's keyword arguments for it.

    Raises:
        ConfigError: The URL holds something that cannot be read.
    """
    scheme = _DRIVERS_SCHEME.get(address.scheme, address.scheme)
    encrypted = scheme == "rediss"
    database = urlsplit(address.url).path.strip("/")
    if database and not database.isdecimal():
        raise ConfigError(f"broker URL: {address.shown()}: the path is a database's number, e.g. /0")
    try:
        options = dict(parse_url(scheme + address.url[len(address.scheme) :]))
    except ValueError as error:
        raise ConfigError(f"broker URL: {address.shown()}: {error}") from error
    options.pop("connection_class", None)
    for name in options:
        if name not in _OPTIONS and not (encrypted and name.startswith("ssl_")):
            raise ConfigError(f"broker URL: {address.shown()}: the option {name!r} is not known")
    options.setdefault("host", "localhost")
    # To tell the server the driver's name costs a round trip with every connection.
    options["driver_info"] = None
    return encrypted, options
