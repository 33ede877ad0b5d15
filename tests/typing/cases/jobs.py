"""Handles, the job that runs, what is asked of an application, and what runs around a job."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from penstock import (
    Call,
    CurrentJob,
    JobHandle,
    JobProgress,
    JobState,
    Penstock,
    Retry,
    RetryLater,
    SendOptions,
    current_job,
)

app = Penstock("typed", broker="memory://typed")


@app.task
def length(text: str) -> int:
    return len(text)


@app.task
async def nothing() -> None: ...


def handles() -> None:
    job = length.delay("a")
    assert_type(job, JobHandle[int])
    assert_type(job.id, str)
    assert_type(job.added, bool)
    assert_type(job.result(), int)
    assert_type(job.result(timeout=3, allow_wait=True), int)
    assert_type(job.result(timedelta(seconds=3)), int)
    assert_type(job.status(), JobState)
    assert_type(job.cancel(), bool)
    assert_type(job.progress(), JobProgress | None)
    assert_type(nothing.delay().result(), None)
    text: str = job.result()  # E: assignment reportAssignmentType
    job.result(timeout="3")  # E: arg-type reportArgumentType
    job.result().upper()  # E: attr-defined reportAttributeAccessIssue,reportUnknownMemberType
    print(text)


async def async_handles() -> None:
    job = await length.adelay("a")
    assert_type(await job.aresult(timeout=3), int)
    assert_type(await job.astatus(), JobState)
    assert_type(await job.acancel(), bool)
    assert_type(await job.aprogress(), JobProgress | None)
    text: str = await job.aresult()  # E: assignment reportAssignmentType
    print(text)


OPTIONS: SendOptions = {
    "countdown": timedelta(seconds=3),
    "eta": None,
    "queue": "mail",
    "priority": 9,
    "expires": datetime.now(UTC),
    "job_id": "order-17",
    "retry": Retry(attempts=2),
    "headers": {"tenant": "a"},
    "tags": ("x", "y"),
}


async def by_name_in_async_code() -> None:
    assert_type(await app.asend("other.task", 1, a=2, options={"queue": "mail"}), JobHandle[Any])
    await app.asend("other.task", options={"quee": "mail"})  # E: arg-type reportArgumentType


def by_name() -> None:
    assert_type(app.send("other.task", 1, a=2, options={"queue": "mail"}), JobHandle[Any])
    assert_type(app.job("default:1"), JobHandle[Any])
    assert_type(app.job("mine", queue="mail"), JobHandle[Any])
    assert_type(app.send("other.task", options=OPTIONS), JobHandle[Any])
    app.send("other.task", options={"quee": "mail"})  # E: arg-type reportArgumentType
    app.send("other.task", options={"queue": 3})  # E: arg-type reportArgumentType
    app.send("other.task", options={"expires": "soon"})  # E: arg-type reportArgumentType
    app.send("other.task", options=3)  # E: arg-type reportArgumentType
    app.send(3)  # E: arg-type reportArgumentType
    app.job()  # E: call-arg reportCallIssue


@app.task
def inside(count: int) -> None:
    job = current_job()
    assert_type(job, CurrentJob)
    assert_type(job.id, str)
    assert_type(job.task, str)
    assert_type(job.queue, str)
    assert_type(job.attempt, int)
    assert_type(job.max_attempts, int)
    assert_type(job.enqueued_at, datetime)
    assert_type(job.deadline_at, datetime | None)
    assert_type(job.headers, Mapping[str, str])
    assert_type(job.cancelled(), bool)
    assert_type(job.stopping(), bool)
    job.progress(1, count, "pages")
    job.progress("1")  # E: arg-type reportArgumentType
    job.attempt = 3  # E: misc reportAttributeAccessIssue
    raise RetryLater("60")  # E: arg-type reportArgumentType


@app.middleware
async def timed(job: CurrentJob, call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


@app.middleware
async def named(job: CurrentJob, call: Call) -> Any:
    assert_type(job.attempt, int)
    return await call()


def middleware() -> None:
    assert_type(timed.__name__, str)

    @app.middleware  # E: type-var reportArgumentType,reportUntypedFunctionDecorator
    async def too_few(job: CurrentJob) -> Any: ...

    @app.middleware  # E: type-var reportArgumentType,reportUntypedFunctionDecorator
    def plain(job: CurrentJob, call: Callable[[], Awaitable[Any]]) -> str:
        return ""

    print(too_few, plain)


async def lists(text: str) -> None:
    assert_type([job.id for job in app.jobs(queue="mail", state=["ready", "running"])], list[str])
    assert_type([job.id async for job in app.ajobs(tag="a")], list[str])
    app.jobs(state=JobState.READY)
    app.jobs(state="ready")
    app.ajobs(state={JobState.READY, JobState(text)})
    app.ajobs(state=(JobState.FAILED, "quarantined"))
    app.jobs(state="redy")  # E: arg-type reportArgumentType
    app.jobs(state="succeeded")  # E: arg-type reportArgumentType - nobody keeps a list of those
    app.ajobs(state=["redy"])  # E: list-item reportArgumentType
    app.ajobs(state=text)  # E: arg-type reportArgumentType - JobState(text) says what is wrong with it
    assert_type([counts.queue for counts in app.queues()], list[str])
    assert_type([worker.id for worker in await app.aworkers()], list[str])
    app.jobs(quee="mail")  # E: call-arg reportCallIssue
    async with app.worker(concurrency=3, queues=["mail"]) as worker:
        assert_type(worker.id, str)
    with app.worker():  # E: attr-defined reportGeneralTypeIssues
        pass
