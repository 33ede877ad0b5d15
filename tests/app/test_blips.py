"""Whoever waits for a result outlives a broker that is away for a moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from penstock import BrokerError, BrokerRejected, BrokerUnavailable, JobCancelled, Penstock, ResultTimeout
from penstock.brokers.memory.broker import MemoryBroker
from penstock.brokers.redis.broker import RedisBroker
from penstock.core.job import JobRecord
from tests.servers import RedisServer


class Away:
    """Does not answer so many times (None: always): by an error, or where it is ``silent`` by nothing at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int | None, silent: bool = False) -> None:
        self.asked_s: list[float] = []
        real = MemoryBroker.wait

        async def wait(broker: MemoryBroker, id: str, timeout_s: float) -> JobRecord | None:
            self.asked_s.append(timeout_s)
            if times is not None and len(self.asked_s) > times:
                return await real(broker, id, timeout_s)
            if silent:
                await asyncio.Event().wait()
            raise BrokerUnavailable("connection refused")

        monkeypatch.setattr(MemoryBroker, "wait", wait)


@pytest.mark.parametrize("timeout", [30, None])
def test_it_looks_again(app: Penstock, monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    job = app.send("f")
    job.cancel()
    away = Away(monkeypatch, 3)
    with pytest.raises(JobCancelled):
        job.result(timeout)
    assert len(away.asked_s) == 4
    assert away.asked_s[1:] == [0.0] * 3, "it looks before it waits"


@pytest.mark.parametrize("silent", [False, True])
def test_until_its_time_is_up(app: Penstock, monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    job = app.send("f")
    away = Away(monkeypatch, None, silent)
    mono = time.monotonic()
    words = "it is silent" if silent else "connection refused"
    with pytest.raises(ResultTimeout, match=rf"gave no answer within 0\.3 s: {words}"):
        job.result(0.3)
    assert 0.1 < time.monotonic() - mono < 2
    assert silent or len(away.asked_s) > 2


def test_without_a_timeout_for_as_long_as_an_enqueue(app: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    app.configure({"enqueue_timeout": 0.3})
    job = app.send("f")
    away = Away(monkeypatch, None)
    mono = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="connection refused"):
        job.result()
    assert 0.1 < time.monotonic() - mono < 2
    assert len(away.asked_s) > 2


@pytest.mark.parametrize("look", ["workers", "queues"])
@pytest.mark.parametrize("error", [BrokerUnavailable("connection refused"), BrokerRejected("no permission")])
def test_no_hint_is_worth_an_error(
    app: Penstock, monkeypatch: pytest.MonkeyPatch, look: str, error: BrokerError
) -> None:
    async def fails(broker: MemoryBroker) -> NoReturn:
        raise error

    monkeypatch.setattr(MemoryBroker, look, fails)
    with pytest.raises(ResultTimeout, match=r"waits for a worker$"):
        app.send("f").result(0.1)


def test_a_server_may_be_restarted(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_redis(appendonly=True, appendfsync="always")
    asked, missed = threading.Event(), threading.Event()
    real = RedisBroker.wait

    async def wait(broker: RedisBroker, id: str, timeout_s: float) -> JobRecord | None:
        asked.set()
        try:
            return await real(broker, id, timeout_s)
        except BrokerUnavailable:
            missed.set()
            raise

    monkeypatch.setattr(RedisBroker, "wait", wait)
    app = Penstock("blip", broker=server.url)
    job = app.send("f")
    ends: list[Any] = []

    def waits() -> None:
        try:
            ends.append(job.result(timeout=60))
        except Exception as error:
            ends.append(error)

    waiter = threading.Thread(target=waits)
    waiter.start()
    assert asked.wait(10)
    server.kill()
    assert missed.wait(20)
    server.start()
    while not ends:
        try:
            if job.cancel():
                break
        except BrokerUnavailable:
            continue
    waiter.join(70)
    assert isinstance(ends[0], JobCancelled), ends
    app.close()
