"""Dramatiq: acknowledged late as it stands; for safety a dead worker is noticed after seconds, and looked for often."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.soak.peers.apps import told, work

# By default 60 s, and 1,000 of a million commands look for it.
SHORT: dict[str, Any] = {"heartbeat_timeout": told.TIMEOUT_S * 1000, "maintenance_chance": 1_000_000}
dramatiq.set_broker(RedisBroker(url=told.REDIS_URL, **(SHORT if told.SHORT else {})))


@dramatiq.actor
def job(key: str, seconds: float) -> None:
    work.job(key, seconds)


def enqueue(key: str, seconds: float, delay_s: float) -> None:
    job.send_with_options(args=(key, seconds), delay=int(delay_s * 1000) or None)
