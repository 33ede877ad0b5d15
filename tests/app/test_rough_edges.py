"""What a job, or a deploy, can do that must not cost anybody else anything."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from penstock import (
    ConfigError,
    InvalidArguments,
    JobFailed,
    JobState,
    Penstock,
    Reject,
    ResultTimeout,
    Retry,
    RetryLater,
    current_job,
)
from tests.app.conftest import Working

SURROGATE = "caf\udce9"


def test_an_error_text_that_utf8_cannot_hold_stops_nobody(
    app: Penstock, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The log shows the user's traceback as it is, and what runs the tests cannot pass such text between processes.
    monkeypatch.setattr(logging.getLogger("penstock.worker"), "disabled", True)
    laters: list[int] = []

    @app.task(retry=False)
    def raises(how: str) -> int:
        if how == "reject":
            raise Reject(SURROGATE)
        if how == "later" and not laters:
            laters.append(1)
            raise RetryLater(0.01, SURROGATE)
        if how == "later":
            return 5
        raise ValueError(SURROGATE)

    @app.task
    def quick() -> int:
        return 1

    with working():
        jobs = [raises.delay(how) for how in ("error", "reject", "later")]
        assert quick.delay().result(10) == 1
        with pytest.raises(JobFailed, match=r"caf\?"):
            jobs[0].result(10)
        with pytest.raises(JobFailed, match=r"caf\?"):
            jobs[1].result(10)
        assert jobs[2].result(10) == 5


def test_a_header_or_tag_that_utf8_cannot_hold_is_refused(app: Penstock) -> None:
    @app.task
    def f() -> None: ...

    with pytest.raises(ConfigError, match="headers"):
        f.options(headers={"a": SURROGATE})
    with pytest.raises(ConfigError, match="tags"):
        f.options(tags=(SURROGATE,))
    with pytest.raises(InvalidArguments):
        app.send("f", SURROGATE)


def test_progress_takes_finite_numbers(app: Penstock, working: Working) -> None:
    @app.task(retry=False)
    def f() -> None:
        current_job().progress(float("nan"))

    with working(), pytest.raises(JobFailed, match="finite"):
        f.delay().result(10)


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_at_most_once_holds_when_the_grace_is_over(app: Penstock, working: Working, lane: str) -> None:
    begun, go = threading.Event(), threading.Event()
    runs: list[int] = []

    def wait() -> None:
        runs.append(1)
        begun.set()
        go.wait(10)

    async def await_() -> None:
        runs.append(1)
        begun.set()
        await asyncio.Event().wait()

    task = app.task(delivery="at_most_once")(wait if lane == "thread" else await_)  # type: ignore[type-var]
    with working(grace_s=0.05):
        job = task.delay()
        assert begun.wait(10)
    go.set()
    assert job.status() is JobState.FAILED
    with working(), pytest.raises(JobFailed) as caught:
        job.result(5)
    assert caught.value.cause == "lost"
    assert len(runs) == 1


def test_at_most_once_cannot_be_retried_by_a_call(app: Penstock, working: Working) -> None:
    runs: list[int] = []

    @app.task(name="once", delivery="at_most_once")
    def once() -> None:
        runs.append(1)
        raise ValueError

    with pytest.raises(ConfigError, match="runs a job once"):
        once.options(retry=Retry(attempts=3)).delay()
    stranger = Penstock("stranger", broker=app.settings["broker_url"])
    with working():
        job = stranger.send("once", options={"retry": Retry(attempts=3, base=0.01)})
        with pytest.raises(JobFailed):
            job.result(10)
    assert len(runs) == 1
    stranger.close()


def test_a_coroutine_that_does_not_heed_its_timeout_is_reported(
    app: Penstock, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    go = threading.Event()

    @app.task(timeout=0.05)
    async def deaf() -> int:
        while not go.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return 1

    @app.task(timeout=0.05)
    async def blocking() -> int:
        time.sleep(1.5)  # noqa: ASYNC251 - the mistake that is to be reported
        return 1

    caplog.set_level(logging.WARNING)
    with working() as worker:
        job = deaf.delay()
        while "runs longer than its timeout" not in caplog.text:
            assert worker.ready.is_set()
        go.set()
        assert job.result(10) == 1
        caplog.clear()
        assert blocking.delay().result(10) == 1
        assert "blocking runs longer than its timeout" in caplog.text


def test_loops_that_are_closed_without_ceremony_are_let_go(app: Penstock) -> None:
    @app.task
    def f() -> None: ...

    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(f.adelay())
        loop.close()
    asyncio.run(f.adelay())
    assert len(app._clients) <= 1


def test_a_result_is_not_waited_for_longer_than_asked(app: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task
    def f() -> None: ...

    job = f.delay()

    class Frozen:
        async def wait(self, id: str, timeout_s: float) -> None:
            await asyncio.Event().wait()

    async def inspector(_self: Penstock) -> Frozen:
        return Frozen()

    monkeypatch.setattr(Penstock, "inspector", inspector)
    mono = time.monotonic()
    with pytest.raises(ResultTimeout, match="no answer"):
        job.result(0.1)
    assert time.monotonic() - mono < 3
