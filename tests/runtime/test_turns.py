"""Weights: whose turn it is, drawn; and what a worker makes of it on each broker."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock import JobState, Penstock, Retry, Task, brokers, current_job
from penstock.core.job import Job, Origin, queue_of
from penstock.core.settlement import Done
from penstock.ids import new_id
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import QueueCounts
from penstock.runtime import feeder
from penstock.runtime.turns import turns
from tests.runtime.conftest import WITHIN_S, Beside, wait_for

# What is woken is there within this, also on a busy machine; only a missed wake-up takes longer (a second).
_WOKEN_S = 0.8


def assert_share(count: int, total: int, share: float) -> None:
    """Of so many draws; beyond six standard deviations lies one run in 500 million."""
    assert abs(count - total * share) <= 6 * math.sqrt(total * share * (1 - share)), (count, total, share)


def test_each_next_queue_is_drawn_by_the_weights_of_those_left() -> None:
    draw, total = turns([5, 3, 2]), 20_000
    orders = Counter(tuple(draw()) for _ in range(total))
    assert sorted(orders) == [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    weights = (5, 3, 2)
    for order, count in orders.items():
        first, second, _ = order
        share = weights[first] / 10 * weights[second] / (10 - weights[first])
        assert_share(count, total, share)


def test_one_queue_alone_always_has_its_turn() -> None:
    assert list(turns([7])()) == [0]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else f"memory://{new_id()}"


@pytest.fixture
def shop(url: str) -> Iterator[Penstock]:
    application = Penstock("shop", broker=url)
    yield application
    application.close()


def recorder(app: Penstock, count: int) -> tuple[Task[[], None, Any], list[str], threading.Event]:
    """A task, the queues of its jobs in the order in which they ran, and an event for when so many have."""
    ran: list[str] = []
    enough = threading.Event()

    @app.task
    def work() -> None:
        ran.append(queue_of(current_job().id))
        if len(ran) == count:
            enough.set()

    return work, ran, enough


def fill(task: Task[[], None, Any], queue: str, count: int) -> None:
    task.options(queue=queue).delay_many([()] * count)


def counts(app: Penstock) -> dict[str, QueueCounts]:
    return {each.queue: each for each in app.queues()}


def pause(app: Penstock, *queues: str) -> None:
    async def act() -> None:
        assert list(await (await app.inspector()).pause(queues)) == list(queues)

    app.call(act())


def resume(app: Penstock, *queues: str) -> None:
    async def act() -> None:
        assert list(await (await app.inspector()).resume(queues)) == list(queues)

    app.call(act())


@contextmanager
def worker(app: Penstock, **settings: object) -> Iterator[Beside]:
    beside = Beside(app, **settings).ready()
    try:
        yield beside
    finally:
        beside.stop(at_once=True)
        beside.end()


# --- weights


def test_jobs_are_taken_in_the_ratio_of_the_weights_one_at_a_time(
    shop: Penstock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is fetched ahead, as with slow jobs: each job is a draw.
    monkeypatch.setattr(feeder, "AHEAD_S", 1e-9)
    total = 300
    work, ran, enough = recorder(shop, total)
    fill(work, "mail", total)
    fill(work, "default", total)
    with worker(shop, queues=["mail", "default"], weights=[3, 1], concurrency=1):
        assert enough.wait(WITHIN_S)
    assert_share(ran[:total].count("mail"), total, 3 / 4)


def test_jobs_are_taken_in_the_ratio_of_the_weights_in_batches(url: str) -> None:
    total, batch = 200, 10
    draw = turns([3, 1])

    async def run() -> Counter[str]:
        broker = brokers.connect(brokers.address(url))
        got: Counter[str] = Counter()
        try:
            await broker.open()
            for queue in ("mail", "default"):
                jobs = [Job(f"{queue}:{n}", queue, b"{}") for n in range(total * batch)]
                for at in range(0, len(jobs), 200):
                    await broker.enqueue(jobs[at : at + 200], Origin("p", at + 1))
            card = WorkerCard("w", "a")
            consumer = await broker.consumer(["mail", "default"], window=batch, lease_s=60, card=card)
            for number in range(total):
                deliveries = (await consumer.fetch(batch, 1 << 20, 0, None, draw())).deliveries
                assert len(deliveries) == batch
                assert len({delivery.queue for delivery in deliveries}) == 1
                got.update(delivery.queue for delivery in deliveries)
                await consumer.settle([Done(delivery) for delivery in deliveries], number + 1)
        finally:
            await broker.close()
        return got

    got = asyncio.run(run())
    assert_share(got["mail"] // batch, total, 3 / 4)


def test_a_light_queue_is_served_beside_a_heavy_backlog_and_an_empty_one_costs_nothing(
    shop: Penstock,
) -> None:
    work, ran, enough = recorder(shop, 60)
    fill(work, "light", 30)
    fill(work, "heavy", 30)
    began = time.monotonic()
    queues = ["empty", "heavy", "light"]
    with worker(shop, queues=queues, weights=[1000, 1000, 1], concurrency=2, burst=True) as beside:
        assert enough.wait(WITHIN_S)
        assert time.monotonic() - began < WITHIN_S / 4  # 60 waits of a second would take longer
        assert beside.end() == 0
    assert Counter(ran) == {"light": 30, "heavy": 30}


def test_a_strict_order_is_never_drawn(shop: Penstock) -> None:
    work, ran, enough = recorder(shop, 40)
    fill(work, "second", 20)
    fill(work, "first", 20)
    with worker(shop, queues=["first", "second"], concurrency=1):
        assert enough.wait(WITHIN_S)
    assert ran == ["first"] * 20 + ["second"] * 20


# --- pauses


def test_a_worker_leaves_a_paused_queue_alone_and_goes_on_at_once(shop: Penstock) -> None:
    work, ran, enough = recorder(shop, 3)
    pause(shop, "mail")
    fill(work, "mail", 2)
    with worker(shop, queues=["mail", "default"]):
        work.delay().result(WITHIN_S)  # it fetches, and waits again
        assert ran == ["default"]
        assert counts(shop)["mail"] == QueueCounts("mail", ready=2, enqueued_total=2, paused=True)
        began = time.monotonic()
        resume(shop, "mail")
        assert enough.wait(WITHIN_S)
        assert time.monotonic() - began < _WOKEN_S
    assert ran == ["default", "mail", "mail"]


def test_what_runs_and_is_retried_goes_on_beside_a_pause(shop: Penstock) -> None:
    begun, go = threading.Event(), threading.Event()

    @shop.task(retry=Retry(attempts=2, base=0.01))
    def once_more() -> None:
        if current_job().attempt > 1:
            return
        begun.set()
        assert go.wait(WITHIN_S)
        raise ValueError("again")

    handle = once_more.options(queue="mail").delay()
    with worker(shop, queues=["mail"]):
        assert begun.wait(WITHIN_S)
        pause(shop, "mail")
        go.set()
        wait_for(lambda: not counts(shop)["mail"].running)
        assert handle.status() in {JobState.READY, JobState.SCHEDULED}
        resume(shop, "mail")
        handle.result(WITHIN_S)


def test_a_burst_ends_with_only_paused_jobs_left(shop: Penstock) -> None:
    work, ran, _ = recorder(shop, 1)
    fill(work, "mail", 5)
    fill(work, "default", 1)
    pause(shop, "mail")
    assert Beside(shop, queues=["mail", "default"], burst=True).end() == 0
    assert ran == ["default"]
    assert counts(shop)["mail"].ready == 5


def test_a_pause_outlives_the_application_that_asked_for_it(url: str) -> None:
    first = Penstock("first", broker=url)
    pause(first, "mail")
    first.close()
    second = Penstock("second", broker=url)
    try:
        assert counts(second) == {"mail": QueueCounts("mail", paused=True)}
    finally:
        second.close()
