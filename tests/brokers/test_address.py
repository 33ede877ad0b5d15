"""Which broker a URL names, and that nobody sees its password."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from penstock import brokers
from penstock.brokers.memory import MemoryBlocking, MemoryBroker
from penstock.errors import ConfigError
from penstock.ports.broker import Capabilities


@pytest.mark.parametrize(
    ("url", "scheme", "shown"),
    [
        ("memory://", "memory", "memory://"),
        ("memory://name", "memory", "memory://name"),
        ("redis://localhost:6379/0", "redis", "redis://localhost:6379/0"),
        ("REDIS://localhost", "redis", "redis://localhost"),
        ("rediss://user:s3cret@example.com:6380/1?x=s3cret", "rediss", "rediss://example.com:6380/1"),
        ("valkey://:s3cret@[::1]:6379", "valkey", "valkey://[::1]:6379"),
        ("valkeys://:p%40s3cret@h", "valkeys", "valkeys://h"),
    ],
)
def test_a_url_is_read_and_shown_without_its_password(url: str, scheme: str, shown: str) -> None:
    address = brokers.address(url, "apart")
    assert (address.url, address.scheme, address.namespace) == (url, scheme, "apart")
    assert address.shown() == shown
    for text in (repr(address), str(address), f"{address}"):
        assert "s3cret" not in text
        assert shown in text


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "redis:localhost", "celery://h", "://h", "postgresql://u:s3cret@h"]
)
def test_an_unknown_scheme_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not known; use one of memory, redis, rediss, sqlite") as caught:
        brokers.address(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["redis://:s3cret/pass@h:1", "redis://h:port", "redis://h:99999", "redis://[::1", "redis://:s3cret#@h"],
)
def test_a_url_that_cannot_be_read_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        brokers.address(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value, limit=0))


def test_a_file_is_relative_to_its_root_or_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = brokers.address("sqlite:///jobs.db")
    assert here.url == f"sqlite:///{tmp_path}/jobs.db"
    assert brokers.address("sqlite:///sub/../jobs.db", root=tmp_path).url == here.url
    assert brokers.address(f"sqlite:///{tmp_path}/jobs.db", root=Path("/elsewhere")).url == here.url
    assert brokers.address("sqlite:////var/lib/a.db?x=1").url == "sqlite:////var/lib/a.db"
    assert brokers.address("sqlite:////var/lib/a%20b.db").url == "sqlite:////var/lib/a b.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:////", "sqlite://jobs.db", "sqlite://?x"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"sqlite:///file\.db \(relative\)"):
        brokers.address(url)


def test_the_adapter_is_the_one_that_the_scheme_names() -> None:
    address = brokers.address("memory://test-address")
    broker = brokers.connect(address)
    assert isinstance(broker, MemoryBroker)
    assert isinstance(brokers.connect_blocking(address), MemoryBlocking)
    assert brokers.inspector(broker) is broker


def test_a_broker_that_cannot_be_looked_into_says_so() -> None:
    broker = brokers.connect(brokers.address("memory://test-address"))
    broker.capabilities = Capabilities(inspect=False)
    with pytest.raises(ConfigError, match="MemoryBroker cannot list or change jobs"):
        brokers.inspector(broker)
