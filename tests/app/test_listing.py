"""``app.queues()``, ``app.jobs()``, ``app.workers()`` and their async twins, on each broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from penstock import ConfigError, JobInfo, JobState, Penstock, PenstockError, QueueCounts, WorkerInfo
from penstock.ids import new_id
from penstock.listing import SLICE
from penstock.runtime.worker import Worker
from penstock.runtime.worker_settings import WorkerSettings


@pytest.fixture
def app(broker_url: str) -> Iterator[Penstock]:
    application = Penstock("listing", broker=broker_url)
    yield application
    application.close()


@pytest.fixture
def filled(app: Penstock) -> Penstock:
    """Three queues with jobs in two states."""
    app.send("shop.add", 1, options={"tags": ("vip",)})
    app.send("shop.add", 2, options={"countdown": 3600, "priority": 7, "expires": 7200})
    app.send("shop.send", 3, options={"queue": "mail"})
    app.send("post.send", 4, options={"queue": "bulk", "tags": ("vip", "slow")})
    return app


def test_queues(filled: Penstock) -> None:
    queues = filled.queues()
    assert all(type(each) is QueueCounts for each in queues)
    assert [(each.queue, each.ready, each.scheduled) for each in queues] == [
        ("bulk", 1, 0),
        ("default", 1, 1),
        ("mail", 1, 0),
    ]
    assert asyncio.run(filled.aqueues()) == queues


def names(jobs: Iterator[JobInfo]) -> set[tuple[str, str, str | None]]:
    return {(job.queue, str(job.state), job.task) for job in jobs}


ADD_NOW = ("default", "ready", "shop.add")
ADD_LATER = ("default", "scheduled", "shop.add")
SEND = ("mail", "ready", "shop.send")
POST = ("bulk", "ready", "post.send")


def test_jobs_by_what_they_have_in_common(filled: Penstock) -> None:
    assert names(filled.jobs()) == {ADD_NOW, ADD_LATER, SEND, POST}
    assert names(filled.jobs(queue="mail")) == {SEND}
    assert names(filled.jobs(queue=["mail", "bulk"])) == {SEND, POST}
    assert names(filled.jobs(queue="other")) == set()
    assert names(filled.jobs(task="*.send")) == {SEND, POST}
    assert names(filled.jobs(state=JobState.SCHEDULED)) == {ADD_LATER}
    assert names(filled.jobs(state="ready", tag="vip")) == {ADD_NOW, POST}
    assert names(filled.jobs(state=("scheduled", "failed"), tag="vip")) == set()


def test_what_is_told_of_a_job(filled: Penstock) -> None:
    (job,) = filled.jobs(state="scheduled")
    assert type(job) is JobInfo
    assert filled.job(job.id).status() is JobState.SCHEDULED
    assert (job.priority, job.attempt, job.worker, job.cause, job.error_type) == (7, 0, None, None, None)
    assert job.enqueued_at is not None
    assert abs(job.enqueued_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert job.due_at is not None
    assert job.expires_at is not None
    assert job.enqueued_at < job.due_at < job.expires_at
    assert job.ended_at is None


def test_async_callers(filled: Penstock) -> None:
    async def look() -> None:
        assert {job.task async for job in filled.ajobs(queue=["mail", "bulk"])} == {"shop.send", "post.send"}
        assert await filled.aworkers() == []
        await filled.aclose()

    asyncio.run(look())


def test_jobs_come_page_by_page(app: Penstock) -> None:
    many = SLICE * 2 + 20

    @app.task
    def f(n: int) -> None: ...

    f.delay_many([(n,) for n in range(many)])
    jobs = app.jobs()
    first = next(jobs)
    # What a page has not shown yet is gone; what it has shown is still told.
    for each in [*app.jobs()][SLICE:]:
        app.job(each.id).cancel()
    app.close()  # between two pages nothing is held on to
    rest = list(jobs)
    assert len({first.id, *(job.id for job in rest)}) == SLICE


def test_a_worker_and_what_it_runs(app: Penstock) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task(retry=False)
    def f() -> None:
        begun.set()
        assert go.wait(10)
        raise ValueError("no")

    worker = Worker(
        app.tasks, app.connect, WorkerSettings(queues=["default"], concurrency=3, app_name="shop")
    )
    thread = threading.Thread(target=worker.run, kwargs={"signals": False})
    id = f.delay().id
    thread.start()
    try:
        assert begun.wait(10)
        (card,) = app.workers()
        assert type(card) is WorkerInfo
        assert (card.app, card.queues, card.concurrency, card.state) == ("shop", ("default",), 3, "running")
        assert card.started_at is not None
        assert card.started_at.tzinfo is UTC
        (job,) = app.jobs(state="running")
        assert (job.id, job.worker) == (id, card.id)
    finally:
        go.set()
        worker.stop()
        thread.join(10)
    (dead,) = app.jobs(state="failed")
    assert (dead.cause, dead.error_type, dead.error_message, dead.attempt) == ("error", "ValueError", "no", 1)
    assert dead.ended_at is not None


def test_blocking_calls_on_a_loop_name_their_twins(filled: Penstock) -> None:
    begun = filled.jobs()

    async def call() -> None:
        with pytest.raises(PenstockError, match=r"use: await app\.aqueues\(\)"):
            filled.queues()
        with pytest.raises(PenstockError, match=r"use: async for job in app\.ajobs\(\)"):
            filled.jobs()
        with pytest.raises(PenstockError, match=r"use: async for job in app\.ajobs\(\)"):
            next(begun)
        with pytest.raises(PenstockError, match=r"use: await app\.aworkers\(\)"):
            filled.workers()

    asyncio.run(call())


def test_what_cannot_be_listed_is_refused_at_once() -> None:
    app = Penstock("refused", broker=f"memory://{new_id()}")
    for call in (app.jobs, app.ajobs):
        with pytest.raises(ConfigError, match="state succeeded: one of scheduled"):
            call(state="succeeded")
        with pytest.raises(ConfigError, match="queue name 'a b'"):
            call(queue="a b")
