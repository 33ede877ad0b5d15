from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

import pytest
import redis

from penstock import brokers
from penstock.brokers.redis import checks, open_blocking, open_broker
from penstock.errors import BrokerMisconfigured, BrokerRejected, BrokerUnavailable, ConfigError
from tests.brokers.redis.bench import drain, new_consumer, opened, origin, some_jobs
from tests.servers import RedisServer

StartRedis = Callable[..., RedisServer]


def warnings_of(url: str) -> Sequence[str]:
    async def run() -> Sequence[str]:
        broker = open_broker(brokers.address(url))
        try:
            return await broker.open()
        finally:
            await broker.close()

    return asyncio.run(run())


def test_a_server_that_evicts_is_refused(start_redis: StartRedis) -> None:
    server = start_redis(options={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"})
    with pytest.raises(BrokerMisconfigured, match=r"allkeys-lru.*noeviction"):
        warnings_of(server.url)


def test_an_evicting_policy_without_a_limit_is_warned_about(start_redis: StartRedis) -> None:
    server = start_redis(options={"maxmemory-policy": "volatile-lru"})
    assert any("volatile-lru" in line for line in warnings_of(server.url))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"appendonly": False}, "keeps nothing on disk"),
        ({"appendonly": False}, "snapshots only"),
        ({"appendonly": True, "appendfsync": "everysec"}, "appendfsync is everysec"),
    ],
)
def test_what_a_crash_would_lose_is_said_in_a_line(
    start_redis: StartRedis, settings: dict[str, object], words: str
) -> None:
    server = start_redis(**settings)
    if words == "snapshots only":
        with redis.Redis.from_url(server.url) as client:
            client.config_set("save", "3600 1")
    (line,) = warnings_of(server.url)
    assert words in line
    assert "\n" not in line


def test_a_server_that_loses_nothing_is_not_warned_about(start_redis: StartRedis) -> None:
    assert warnings_of(start_redis(appendonly=True, appendfsync="always").url) == []


def test_what_may_not_be_looked_at_is_said(start_redis: StartRedis) -> None:
    server = start_redis(appendonly=True, appendfsync="always")
    with redis.Redis.from_url(server.url) as client:
        client.acl_setuser("app", enabled=True, passwords=["+pw"], commands=["+@all", "-config"], keys=["*"])
        client.acl_setuser(
            "less", enabled=True, passwords=["+pw"], commands=["+@all", "-config", "-info"], keys=["*"]
        )
    (line,) = warnings_of(server.url.replace("//", "//app:pw@"))
    assert "CONFIG is not allowed" in line
    (line,) = warnings_of(server.url.replace("//", "//less:pw@"))
    assert "INFO" in line


def test_a_clock_that_is_off_is_warned_about(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = time.time
    monkeypatch.setattr(checks.time, "time", lambda: here() + 100)
    assert any("100.0 s behind" in line for line in warnings_of(redis_url))


def test_an_old_server_is_refused() -> None:
    with pytest.raises(BrokerMisconfigured, match=r"6\.0\.16 is too old"):
        checks._refuse({"redis_version": "6.0.16"}, "redis://x")


@pytest.mark.parametrize("password", ["", "wrong@word/secret"])
def test_a_wrong_password_is_said_without_it(start_redis: StartRedis, password: str) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "right")
    url = server.url.replace("//", f"//:{quote(password, safe='')}@") if password else server.url
    with pytest.raises(BrokerMisconfigured, match="user name or password") as caught:
        warnings_of(url)
    producer = open_blocking(brokers.address(url))
    with pytest.raises(BrokerMisconfigured, match="user name or password") as caught_too:
        producer.enqueue(some_jobs(1), origin())
    producer.close()
    for error in (caught.value, caught_too.value):
        assert "secret" not in str(error) + repr(error)
        assert error.__cause__ is None


def test_the_right_password_is_used(start_redis: StartRedis) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.acl_setuser("me", enabled=True, passwords=["+p@ss/word"], commands=["+@all"], keys=["*"])
    address = server.url.replace("//", "//me:p%40ss%2Fword@")
    producer = open_blocking(brokers.address(address))
    assert producer.enqueue(some_jobs(1), origin())[0].added
    producer.close()


def test_nobody_there_is_unavailable(start_redis: StartRedis) -> None:
    server = start_redis()
    server.stop()
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1"):
        warnings_of(server.url)
    producer = open_blocking(brokers.address(server.url))
    with pytest.raises(BrokerUnavailable):
        producer.enqueue(some_jobs(1), origin())


def test_a_replica_is_unavailable_and_a_refusal_is_rejected(start_redis: StartRedis) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        producer = open_blocking(brokers.address(server.url))
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(BrokerUnavailable, match="READONLY"):
            producer.enqueue(some_jobs(1), origin())
        client.replicaof("NO", "ONE")
        client.acl_setuser("app", enabled=True, passwords=["+pw"], commands=["+@all"], keys=["other*"])
        stranger = open_blocking(brokers.address(server.url.replace("//", "//app:pw@")))
        with pytest.raises(BrokerRejected, match="NOPERM"):
            stranger.enqueue(some_jobs(1), origin())
        assert producer.enqueue(some_jobs(1), origin())[0].added
        stranger.close()
        producer.close()


def test_a_full_server_takes_no_jobs_and_can_be_emptied(start_redis: StartRedis) -> None:
    server = start_redis()

    async def run() -> None:
        async with opened(server.url) as broker:
            await broker.enqueue(some_jobs(1000), origin())
            with redis.Redis.from_url(server.url) as client:
                client.config_set("maxmemory", "1mb")
            with pytest.raises(BrokerRejected, match="OOM"):
                await broker.enqueue(some_jobs(3), origin())
            consumer = await new_consumer(broker)
            await broker.maintain(["q"], 100, 600)
            await consumer.beat(600)
            assert await drain(consumer) == 1000
            await consumer.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:secret@localhost/zero", "database's number"),
        ("redis://:secret@localhost/0?socket_timeout=1", "'socket_timeout' is not known"),
        ("redis://:secret@localhost/0?ssl_ca_certs=x", "'ssl_ca_certs' is not known"),
        ("redis://:secret@localhost/0?db=x", "Invalid value for 'db'"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, words: str) -> None:
    for make in (open_broker, open_blocking):
        with pytest.raises(ConfigError, match=words) as caught:
            make(brokers.address(url))
        assert "secret" not in str(caught.value)


def test_a_namespace_that_would_break_the_hash_tag_is_refused() -> None:
    with pytest.raises(ConfigError, match="hash tag"):
        open_broker(brokers.address("redis://localhost", "a}b"))


def test_valkey_urls_and_client_names_are_understood(redis_url: str) -> None:
    url = redis_url.replace("redis://", "valkey://") + "?client_name=me"
    producer = open_blocking(brokers.address(url))
    assert producer.enqueue(some_jobs(1), origin())[0].added
    with redis.Redis.from_url(redis_url) as client:
        assert "me" in [each["name"] for each in client.client_list()]
    producer.close()
