"""RQ: a process forked for each job; for safety a lost job has retries, and is looked for every few seconds."""

from __future__ import annotations

import datetime
from typing import Any

from redis import Redis
from rq import Queue, Retry

from tests.soak.peers.apps import told, work

OPTIONS: dict[str, Any] = {"retry": Retry(max=3)} if told.SAFE else {}
_queue: list[Queue] = []


def job(key: str, seconds: float) -> None:
    work.job(key, seconds)


def enqueue(key: str, seconds: float, delay_s: float) -> None:
    if not _queue:
        _queue.append(Queue(connection=Redis.from_url(told.REDIS_URL)))
    if delay_s:
        _queue[0].enqueue_in(datetime.timedelta(seconds=delay_s), job, key, seconds, **OPTIONS)
    else:
        _queue[0].enqueue(job, key, seconds, **OPTIONS)
