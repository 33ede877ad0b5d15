"""Brokers, one folder or file each, that never import each other; ``connect`` finds the one that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from penstock.errors import ConfigError
from penstock.ports.broker import BlockingProducer, Broker
from penstock.ports.inspector import Facts, Inspector


class Address(NamedTuple):
    """A broker's URL, read: never shown whole, because it may hold a password."""

    url: str
    scheme: str
    namespace: str

    def __repr__(self) -> str:
        return f"Address({self.shown()!r}, namespace={self.namespace!r})"

    def shown(self) -> str:
        """The URL without user information and query, for logs and errors."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"


class Adapter(Protocol):
    """What a broker's module offers."""

    def open_broker(self, address: Address) -> Broker:
        """The asynchronous broker, not yet opened; it also fulfils ``Inspector`` where its capabilities say so."""
        ...

    def open_blocking(self, address: Address) -> BlockingProducer:
        """The blocking producer; connects on first use."""
        ...

    async def facts(self, broker: Any) -> Facts:
        """What the server behind its opened broker says of itself."""
        ...


_ADAPTERS = {
    "memory": "penstock.brokers.memory",
    "sqlite": "penstock.brokers.sqlite",
    "redis": "penstock.brokers.redis",
    "rediss": "penstock.brokers.redis",
    "valkey": "penstock.brokers.redis",
    "valkeys": "penstock.brokers.redis",
}


def address(url: str, namespace: str = "penstock", root: Path | None = None) -> Address:
    """Reads a broker's URL.

    Args:
        url: e.g. ``redis://localhost:6379/0``, ``sqlite:///jobs.db``, ``memory://``.
        namespace: Sets applications on one broker apart.
        root: The folder that a relative SQLite path is relative to; the current one by default.

    Raises:
        ConfigError: No broker of Penstock's has this scheme, or the URL cannot be read.
    """
    scheme = url.partition(":")[0].lower() if "://" in url else ""
    if scheme not in _ADAPTERS:
        shown = f"{scheme}://..." if scheme else "a URL without a scheme"
        raise ConfigError(f"broker URL: {shown} is not known; use one of {', '.join(sorted(_ADAPTERS))}")
    if scheme == "sqlite":
        path = unquote(url[len("sqlite://") :].partition("?")[0])
        if not path.startswith("/") or path in {"/", "//"}:
            raise ConfigError(
                "broker URL: sqlite:///file.db (relative) or sqlite:////full/path/file.db (absolute)"
            )
        file = (root or Path.cwd()) / path[1:]
        return Address(f"sqlite:///{file.resolve()}", scheme, namespace)
    try:
        parts = urlsplit(url)
        # Behind the host an @ is the rest of a password, and what is taken for the path is its beginning.
        readable = "@" not in parts.path + parts.query + parts.fragment
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:  # its text quotes what may be a part of the password
        readable = False
    if not readable:
        raise ConfigError(
            f"broker URL: {scheme}://...: host and port cannot be read; write '/', '#', '?' and '@' of a password as "
            "%2F, %23, %3F and %40"
        )
    return Address(url, scheme, namespace)


def _adapter(address: Address) -> Adapter:
    from importlib import import_module

    try:
        module: Any = import_module(_ADAPTERS[address.scheme])
    except ModuleNotFoundError as error:
        extra = _ADAPTERS[address.scheme].rpartition(".")[2]
        raise ConfigError(
            f"{address.scheme}://: its driver {error.name!r} is not installed: pip install 'penstock[{extra}]'"
        ) from error
    return module  # type: ignore[no-any-return]  # modules fulfil the Protocol by their functions


def connect(address: Address) -> Broker:
    """The broker at ``address``, not yet opened."""
    return _adapter(address).open_broker(address)


def connect_blocking(address: Address) -> BlockingProducer:
    """The blocking producer for ``address``; it connects on first use."""
    return _adapter(address).open_blocking(address)


def inspector(broker: Broker) -> Inspector:
    """The inspector of an opened broker.

    Raises:
        ConfigError: This broker cannot be looked into.
    """
    if not broker.capabilities.inspect:
        raise ConfigError(f"{type(broker).__name__} cannot list or change jobs")
    return broker  # type: ignore[return-value]  # said by the capability


async def facts(address: Address, broker: Broker) -> Facts:
    """What the server behind an opened broker says of itself."""
    return await _adapter(address).facts(broker)
