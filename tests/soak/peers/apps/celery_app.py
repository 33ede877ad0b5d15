"""Celery: acknowledged early as it stands; for safety late, one fetched ahead, and found again after seconds."""

from __future__ import annotations

from celery import Celery

from tests.soak.peers.apps import told, work

app = Celery("peers", broker=told.REDIS_URL)
if told.SHORT:
    # By default an hour, and looked for every 100 s.
    app.conf.broker_transport_options = {
        "visibility_timeout": told.TIMEOUT_S,
        "unacked_restore_throttle": 1,
    }
if told.SAFE:
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True
    app.conf.worker_prefetch_multiplier = 1


@app.task
def job(key: str, seconds: float) -> None:
    work.job(key, seconds)


def enqueue(key: str, seconds: float, delay_s: float) -> None:
    job.apply_async((key, seconds), countdown=delay_s or None)
