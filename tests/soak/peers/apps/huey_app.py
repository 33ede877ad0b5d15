"""Huey: taken off the list before a job runs; for safety signed messages and retries, which is all that it offers."""

from __future__ import annotations

from typing import Any

from huey import RedisHuey
from huey.serializer import SignedSerializer

from tests.soak.peers.apps import told, work

SAFE: dict[str, Any] = {"serializer": SignedSerializer(secret="of the fault tests")} if told.SAFE else {}
huey = RedisHuey("peers", url=told.REDIS_URL, **SAFE)


@huey.task(retries=3 if told.SAFE else 0)
def job(key: str, seconds: float) -> None:
    work.job(key, seconds)


def enqueue(key: str, seconds: float, delay_s: float) -> None:
    if delay_s:
        job.schedule((key, seconds), delay=delay_s)
    else:
        job(key, seconds)
