"""Calls and handles, as the page of the public surface spells them, where one line of it says several things."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Annotated

import pytest

from penstock import (
    INJECTED,
    InvalidArguments,
    JobProgress,
    JobState,
    Penstock,
    PenstockError,
    ResultTimeout,
    Retry,
    RetryLater,
    current_job,
)
from penstock.ids import new_id

pytestmark = pytest.mark.anyio


async def test_delay_many_takes_tuples_and_dicts_together(app: Penstock) -> None:
    @app.task
    def send_welcome_email(user_id: int, email_address: str) -> str:
        return f"{user_id} {email_address}"

    def enqueue() -> list[str]:
        jobs = send_welcome_email.delay_many([(1, "a"), {"user_id": 2, "email_address": "b"}])
        return [job.result(timeout=10) for job in jobs]

    async with app, app.worker():
        assert await asyncio.to_thread(enqueue) == ["1 a", "2 b"]


async def test_higher_priority_runs_first(app: Penstock) -> None:
    ran: list[str] = []

    @app.task
    def note(word: str) -> None:
        ran.append(word)

    @app.task(priority=5)
    def middle(word: str) -> None:
        ran.append(word)

    last = await note.adelay("default, which is 0")
    await note.options(priority=1).adelay("1")
    await middle.adelay("the task's 5")
    await middle.options(priority=0).adelay("0")
    await note.options(priority=9).adelay("9")
    async with app, app.worker(concurrency=1):
        await last.aresult(timeout=10)
        while len(ran) < 5:  # noqa: ASYNC110 - the other one of priority 0, before or behind it
            await asyncio.sleep(0.005)
    assert ran[:3] == ["9", "the task's 5", "1"]
    assert sorted(ran[3:]) == ["0", "default, which is 0"]


async def test_every_duration_may_be_a_timedelta(app: Penstock) -> None:
    hour = timedelta(hours=1)

    @app.task(timeout=hour, expires=hour, result_ttl=hour,
              retry=Retry(attempts=2, base=timedelta(seconds=2), cap=hour, within=hour))  # fmt: skip
    def spelled() -> None: ...

    @app.task(
        timeout=3600, expires=3600, result_ttl=3600, retry=Retry(attempts=2, base=2, cap=3600, within=3600)
    )
    def in_seconds() -> None: ...

    @app.task(retry=Retry(attempts=2, delay=lambda n, error: timedelta(seconds=0.01)))
    async def again(runs: int) -> int:
        if current_job().attempt < runs:
            raise ValueError("not yet")
        return current_job().attempt

    @app.task
    async def put_off() -> str:
        if not seen:
            seen.append("once")
            raise RetryLater(timedelta(seconds=0.01))
        return "done"

    seen: list[str] = []
    for name in ("timeout_s", "expires_s", "result_ttl_s", "retry"):
        assert getattr(spelled.spec, name) == getattr(in_seconds.spec, name), name
    later = await spelled.options(countdown=hour, expires=2 * hour).adelay()
    assert await later.astatus() is JobState.SCHEDULED
    with pytest.raises(ResultTimeout):
        await later.aresult(timeout=timedelta(seconds=0.01))
    async with app, app.worker():
        assert await (await again.adelay(2)).aresult(timeout=timedelta(seconds=10)) == 2
        assert await (await put_off.adelay()).aresult(timeout=timedelta(seconds=10)) == "done"


async def test_blocking_calls_on_a_running_loop_name_their_async_twins() -> None:
    app = Penstock("tasks", broker=f"memory://{new_id()}")

    @app.task
    def note() -> None: ...

    async with app:
        job = await note.adelay()
        for blocking, twin in ((job.status, "astatus"), (job.cancel, "acancel"), (job.result, "aresult")):
            with pytest.raises(PenstockError, match=rf"{blocking.__name__}\(\).*use: await job\.{twin}\(\)"):
                blocking()
        assert await job.astatus() is JobState.READY, "none of them did anything"


async def test_progress_is_read_back_while_the_job_runs(app: Penstock) -> None:
    seen = threading.Event()

    @app.task
    def export() -> str:
        current_job().progress(1, 2, "half")
        assert seen.wait(10)
        return "done"

    async with app, app.worker():
        job = await export.adelay()
        while await job.aprogress() is None:  # noqa: ASYNC110 - the broker tells of ends only
            await asyncio.sleep(0.005)
        half = JobProgress(done=1, total=2, note="half")
        assert await job.aprogress() == half
        assert await asyncio.to_thread(job.progress) == half
        assert await asyncio.to_thread(job.status) is JobState.RUNNING
        seen.set()
        assert await job.aresult(timeout=10) == "done"


async def test_a_plain_call_may_pass_what_a_worker_injects() -> None:
    app = Penstock("tasks", broker=f"memory://{new_id()}")

    @app.resource
    async def db() -> AsyncIterator[str]:
        yield "the worker's"

    @app.resource(scope="job")
    def session() -> Iterator[str]:
        yield "the worker's"

    @app.task
    async def charge(order_id: int, pool: Annotated[str, db] = INJECTED) -> str:
        return f"{order_id} {pool}"

    @app.task
    def save(order_id: int, s: Annotated[str, session] = INJECTED) -> str:
        return f"{order_id} {s}"

    assert await charge(1, pool="mine") == "1 mine"
    assert (save(1, s="mine"), save(2, "mine")) == ("1 mine", "2 mine")
    with pytest.raises(InvalidArguments, match=r"a plain call must pass s=\.\.\."):
        save(1)
