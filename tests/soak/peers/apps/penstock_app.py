"""Penstock, as it stands out of the box."""

from __future__ import annotations

from penstock import Penstock
from tests.soak.peers.apps import told, work

app = Penstock("peers", broker=told.REDIS_URL, lease=told.TIMEOUT_S if told.SHORT else 15)


@app.task
def job(key: str, seconds: float) -> None:
    work.job(key, seconds)


def enqueue(key: str, seconds: float, delay_s: float) -> None:
    if delay_s:
        job.options(countdown=delay_s).delay(key, seconds)
    else:
        job.delay(key, seconds)
