"""A file, and jobs to put into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from penstock import brokers
from penstock.brokers import Address
from penstock.brokers.sqlite import SQLiteBroker, SQLiteProducer, open_blocking, open_broker
from penstock.core.job import Job, Origin


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def address(path: Path) -> Address:
    return brokers.address(f"sqlite:///{path}")


@pytest.fixture
def broker(address: Address) -> SQLiteBroker:
    """Not yet opened; the test closes it on its loop."""
    return open_broker(address)


@pytest.fixture
def producer(address: Address) -> Iterator[SQLiteProducer]:
    producer = open_blocking(address)
    yield producer
    producer.close()


@pytest.fixture
def put(producer: SQLiteProducer) -> Callable[..., list[str]]:
    """Enqueues jobs with these bodies in one call; returns their ids."""
    numbers = count(1)

    def put(*bodies: bytes, queue: str = "q") -> list[str]:
        jobs = [Job(f"{queue}:{os.urandom(8).hex()}", queue, body) for body in bodies]
        producer.enqueue(jobs, Origin("put", next(numbers)))
        return [job.id for job in jobs]

    return put
