"""Middleware and hooks: the decorators keep a function's type, and refuse one that cannot be called so."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, assert_type

from penstock import Call, CurrentJob, FailedJob, Middleware, Penstock

app = Penstock("typed", broker="memory://typed")


@app.middleware
async def one(job: CurrentJob, call: Call) -> int:
    assert_type(job.args, tuple[Any, ...])
    assert_type(job.kwargs, Mapping[str, Any])
    return len(str(await call()))


@app.middleware
async def other(job: CurrentJob, call: Callable[[], Awaitable[Any]]) -> object:
    return await call()


value: Middleware = other


@app.on("worker_start")
def start() -> None: ...


@app.on("worker_stop")
async def stop() -> None: ...


@app.on("attempt_failed")
def count(job: FailedJob, error: BaseException) -> int:
    return job.attempt


@app.on("job_failed")
async def tell(job: FailedJob, error: Exception) -> None:
    assert_type(job.retry_in, float | None)


def plain(job: CurrentJob, call: Call) -> int:
    return 1


def nothing() -> None: ...


def wants_a_job(job: FailedJob) -> None: ...


app.middleware(plain)  # E: type-var reportArgumentType
app.on("job_failed")(nothing)  # E: type-var reportArgumentType
app.on("worker_start")(wants_a_job)  # E: type-var reportArgumentType
app.on("job_done")  # E: call-overload reportCallIssue,reportArgumentType
count(1, ValueError())  # E: arg-type reportArgumentType
