"""An application with middleware, for all three lanes; the tests ring and the children of the process lane hear."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any

from penstock import INJECTED, Call, CurrentJob, Penstock, Reject, Retry, RetryLater, current_job
from tests.runtime.conftest import ring

app = Penstock("layers", broker="memory://layers")
bell = os.environ.get("TEST_BELL", "")
trail: contextvars.ContextVar[str] = contextvars.ContextVar("trail", default="none")


@app.resource(scope="job")
def opened() -> Iterator[str]:
    ring(bell, "opened")
    try:
        yield "opened"
    except ValueError as error:
        ring(bell, f"closed by {error}")
        raise
    else:
        ring(bell, "closed")


@app.middleware
async def outer(job: CurrentJob, call: Call) -> Any:
    trail.set("outer")
    result = await (asyncio.wait_for(call(), 60) if job.headers.get("outer") == "own task" else call())
    return f"{result} < outer" if isinstance(result, str) else result


@app.middleware
async def inner(  # noqa: C901 - one case for each thing that a middleware may do
    job: CurrentJob, call: Call
) -> Any:
    """Does what the job's header says."""
    assert current_job().id == job.id
    trail.set(f"{trail.get()} > inner of {job.headers.get('tenant', 'nobody')}")
    match job.headers.get("do"):
        case "skip":
            return f"skipped {job.task.rpartition('.')[2]}{job.args}{dict(job.kwargs)}"
        case "raise":
            raise KeyError("from middleware")
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt(3)
        case "generator exit":
            raise GeneratorExit(3)
        case "exit after":
            await call()
            raise SystemExit(3)
        case "reject":
            raise Reject("not wanted")
        case "later":
            raise RetryLater(600, "not now")
        case "twice":
            await call()
            return await call()
        case "rescue":
            with contextlib.suppress(ValueError):
                await call()
            return "rescued"
        case "forget":
            left.add(asyncio.ensure_future(call()))
            await asyncio.sleep(0)
            return "forgotten"
        case "hang":
            return await hang(call, before=True)
        case "hang after":
            return await hang(call, before=False)
        case "short":
            return await asyncio.wait_for(call(), 0.05)
        case "short and rescue":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(call(), 0.05)
            return "rescued"
        case "own task":
            return await asyncio.wait_for(call(), 60)
        case "open":
            opened.get()
            return "opened by middleware"
        case _:
            return await call()


left: set[asyncio.Future[Any]] = set()


async def hang(call: Call, *, before: bool) -> Any:
    if not before:
        await call()
    ring(bell, "hangs")
    try:
        await asyncio.sleep(600)
    finally:
        ring(bell, "let go")


def _told(text: str, what: str) -> str:
    """What each task does, whatever its lane."""
    match text:
        case "fail":
            raise ValueError("from the task")
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt(3)
        case "generator exit":
            raise GeneratorExit(3)
        case "loop":
            # A function of its own: whether a loop runs in this thread decides what libraries let it do.
            asyncio.run(asyncio.sleep(0))
    return f"{text} [{trail.get()}] {what}"


@app.task(retry=False)
def on_thread(text: str, what: Annotated[str, opened] = INJECTED) -> str:
    return _told(text, what)


@app.task(retry=False)
async def on_loop(text: str, what: Annotated[str, opened] = INJECTED) -> str:
    await asyncio.sleep(0)
    return _told(text, what)


@app.task(retry=False, lane="process")
def in_child(text: str, what: Annotated[str, opened] = INJECTED) -> str:
    return _told(text, what)


@app.task(retry=False, lane="process")
async def on_childs_loop(text: str, what: Annotated[str, opened] = INJECTED) -> str:
    await asyncio.sleep(0)
    return _told(text, what)


@app.task(retry=False)
def where() -> str:
    ring(bell, "begun")
    return threading.current_thread().name


@app.task(retry=False)
def until_asked() -> str:
    mono_until = time.monotonic() + 10
    while not current_job().cancelled():
        if time.monotonic() > mono_until:
            ring(bell, "never asked")
            return "never asked"
        time.sleep(0.01)
    ring(bell, "asked")
    return "asked"


@app.task(retry=False, timeout=0.5)
def late() -> str:
    """On a thread, past its timeout."""
    while current_job()._run.ask is None:  # cancelled() would be taken for heeding it
        time.sleep(0.01)
    ring(bell, "asked")
    return "late"


@app.task(retry=False, timeout=0.5)
def timed() -> str:
    return "in time"


@app.task(retry=False, timeout=0.5)
async def timed_on_loop() -> str:
    return "in time"


@app.task(retry=False, timeout=0.5, lane="process")
def timed_in_child() -> str:
    return "in time"


@app.task(retry=Retry(attempts=2, base=0.01))
def on_second() -> str:
    """Fails in the first attempt."""
    if current_job().attempt == 1:
        raise ValueError("first")
    return trail.get()
