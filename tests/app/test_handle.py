"""What a caller learns of a job: states, results, errors, cancellation, progress."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import (
    ConfigError,
    JobCancelled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobProgress,
    JobState,
    Penstock,
    PenstockError,
    Reject,
    ResultTimeout,
    Retry,
    RetryLater,
    current_job,
)
from tests.app.conftest import Working


def test_a_job_goes_through_its_states(app: Penstock, working: Working) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def f() -> int:
        begun.set()
        assert go.wait(10)
        return 5

    job = f.delay()
    assert job.status() is JobState.READY
    with working():
        assert begun.wait(10)
        assert job.status() is JobState.RUNNING
        go.set()
        assert job.result(10) == 5
        assert job.status() is JobState.SUCCEEDED
        assert app.job(job.id).result(1) == 5


def test_results_have_the_type_that_the_task_says(app: Penstock, working: Working) -> None:
    @app.task
    def when() -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)

    @app.task
    def nothing() -> None: ...

    with working():
        job = when.delay()
        assert job.result(10) == datetime(2026, 1, 2, tzinfo=UTC)
        assert app.job(job.id).result(1) == datetime(2026, 1, 2, tzinfo=UTC)
        stranger = Penstock("stranger", broker=app.settings["broker_url"])
        assert stranger.job(job.id).result(1) == "2026-01-02T00:00:00Z"
        stranger.close()
        quiet = nothing.delay()
        assert quiet.result(10) is None
        assert quiet.status() is JobState.SUCCEEDED


def test_no_result_is_kept_where_none_is_wanted(app: Penstock, working: Working) -> None:
    done = threading.Event()

    @app.task(result_ttl=0)
    def f() -> int:
        done.set()
        return 1

    with working():
        job = f.delay()
        assert done.wait(10)
        with pytest.raises(ConfigError, match="result_ttl=0"):
            job.result(1)
        with pytest.raises(JobNotFound, match=job.id):
            app.job(job.id).result(5)
    with pytest.raises(LookupError):
        job.status()


def test_a_failure_comes_back_as_data(app: Penstock, working: Working) -> None:
    @app.task(retry=False)
    def f() -> None:
        raise ZeroDivisionError("by nought")

    @app.task
    def g() -> None:
        raise Reject("not this one")

    with working():
        with pytest.raises(JobFailed, match="ZeroDivisionError: by nought") as caught:
            f.delay().result(10)
        assert (caught.value.cause, caught.value.error_type) == ("error", "ZeroDivisionError")
        assert caught.value.error_message == "by nought"
        assert "raise ZeroDivisionError" in caught.value.remote_traceback
        with pytest.raises(JobFailed, match="rejected") as caught:
            g.delay().result(10)
        assert caught.value.cause == "rejected"


def test_a_result_that_cannot_be_stored_is_not_run_again(app: Penstock, working: Working) -> None:
    runs: list[int] = []

    @app.task
    def f(kind: str) -> Any:
        runs.append(1)
        return {"object": object(), "nan": float("nan"), "large": "x" * 1_100_000}[kind]

    with working():
        for kind in ("object", "nan", "large"):
            with pytest.raises(JobFailed) as caught:
                f.delay(kind).result(10)
            assert caught.value.cause == "result"
    assert len(runs) == 3


def test_a_timeout_says_where_the_job_stands(app: Penstock, working: Working) -> None:
    failed = threading.Event()

    @app.task(retry=Retry(attempts=7, base=100, jitter=0))
    def f() -> None:
        failed.set()
        raise ValueError("no")

    job = f.delay()
    with pytest.raises(ResultTimeout, match=r"attempt 1 of 7 waits for a worker"):
        job.result(0.01)
    with working():
        assert failed.wait(10)
        with pytest.raises(TimeoutError, match=r"attempt 2 of 7 in (100|99) s, last error ValueError"):
            job.result(0.5)
    with pytest.raises(ResultTimeout, match=r"attempt 1 of 3 in 60 s"):
        f.options(retry=3, countdown=60).delay().result(0.01)


def test_a_result_that_is_not_what_the_task_says_it_returns(app: Penstock, working: Working) -> None:
    @app.task(name="number")
    def number() -> int:
        return "secret"  # type: ignore[return-value]

    @app.task(name="numbers")
    def numbers() -> list[int]:
        return [1, "secret"]  # type: ignore[list-item]

    @app.task(name="either")
    def either() -> list[int] | tuple[int]:  # which of the two, JSON does not say
        return [1]

    said: list[str] = []
    with working():
        for job in (number.delay(), numbers.delay(), either.delay()):
            with pytest.raises(JobError) as caught:
                job.result(10)
            assert type(caught.value) is JobError
            assert job.id in str(caught.value)
            said.append(str(caught.value))
    assert "what number returned is no int: expected int, got str; correct its return annotation" in said[0]
    assert "what numbers returned is no list[int]: expected int, got str, at $[1]; " in said[1]
    assert "what either returned is no list[int] | tuple[int]: " in said[2]
    assert "secret" not in "".join(said)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1, "5", True, timedelta(seconds=-1)])
def test_a_timeout_that_is_no_duration_is_refused(app: Penstock, wrong: Any) -> None:
    job = app.send("f")
    with pytest.raises(ConfigError, match=r"result\(timeout=\.\.\.\)"):
        job.result(wrong)
    with pytest.raises(ConfigError, match=r"result\(timeout=\.\.\.\)"):
        asyncio.run(job.aresult(wrong))
    with pytest.raises(ResultTimeout, match=r"in 0\.01 s"):
        job.result(timedelta(milliseconds=10))


def test_a_timeout_without_a_worker_says_what_would_help(app: Penstock, tmp_path: Path) -> None:
    shared = Penstock("shared", broker=f"sqlite:///{tmp_path / 'jobs.db'}")
    said: list[str] = []
    for each in (app, shared):
        with pytest.raises(ResultTimeout) as caught:
            each.send("f").result(0.01)
        said.append(str(caught.value))
    shared.close()
    assert said[0].endswith("memory:// is not shared, for a worker of its own use sqlite:// or redis://")
    assert said[1].endswith("no worker serves queue 'default', start one: penstock -A ... worker -Q default")


@pytest.mark.parametrize("wait", [{}, {"countdown": 60}])
def test_a_timeout_says_that_the_queue_is_paused(broker_url: str, wait: dict[str, Any]) -> None:
    app = Penstock("paused", broker=broker_url)

    async def pause() -> None:
        await (await app.inspector()).pause(["mail"])

    app.call(pause())
    with pytest.raises(ResultTimeout) as polled:
        app.send("f", options={"queue": "mail", **wait}).result(0)
    assert "paused" not in str(polled.value)  # who asks again and again does not have all queues counted
    said: list[str] = []
    for queue in ("mail", "default"):
        with pytest.raises(ResultTimeout) as caught:
            app.send("f", options={"queue": queue, **wait}).result(0.1)
        said.append(str(caught.value))
    app.close()
    resume = "" if app.in_process else ", resume it: penstock -A ... resume mail"
    assert f"; queue 'mail' is paused{resume}" in said[0]
    assert "no worker" in said[0] or wait
    assert "paused" not in said[1]


def test_a_timeout_says_in_words_why_a_job_was_put_off(app: Penstock, working: Working) -> None:
    @app.task
    def later(word: str) -> None:
        raise RetryLater(60, word) if word else RetryLater(60)

    jobs = [app.send("else.where"), later.delay("the shop is closed"), later.delay("")]
    with working():
        mono_until = time.monotonic() + 10
        while any(job.status() is not JobState.SCHEDULED for job in jobs):
            assert time.monotonic() < mono_until, "they were not deferred"
            time.sleep(0.005)  # a state in the broker: nobody signals it
    said: list[str] = []
    for job in jobs:
        with pytest.raises(ResultTimeout) as caught:
            job.result(0.01)
        said.append(str(caught.value))
        assert "Deferred" not in said[-1]
    unknown, closed, silent = said
    assert unknown.endswith(
        " s; the worker that took it knows no task else.where: start one whose application defines it"
    )
    assert closed.endswith(" s, put off by RetryLater: the shop is closed")
    assert silent.endswith(" s, put off by RetryLater: run again in 60 s")


def test_cancel_what_waits(app: Penstock) -> None:
    @app.task
    def f() -> None: ...

    job = f.delay()
    assert job.cancel()
    assert job.status() is JobState.CANCELLED
    assert not job.cancel()
    with pytest.raises(JobCancelled):
        job.result(1)
    later = f.options(countdown=1000).delay()
    assert later.cancel()
    assert later.status() is JobState.CANCELLED


def test_expiry(app: Penstock, working: Working) -> None:
    @app.task
    def f() -> None: ...

    job = f.options(expires=datetime.now(UTC)).delay()
    with working(), pytest.raises(JobExpired):
        job.result(10)


def test_progress(app: Penstock, working: Working) -> None:
    said, go = threading.Event(), threading.Event()

    @app.task
    def f() -> None:
        current_job().progress(3, 10, "a third")
        said.set()
        assert go.wait(10)

    with working(lease_s=1.0):
        job = f.delay()
        assert said.wait(10)
        seen = None
        while seen is None:
            seen = job.progress()
        assert seen == JobProgress(3, 10, "a third")
        go.set()
        job.result(10)


def test_on_a_running_loop_the_async_twins_are_named(app: Penstock, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    def f() -> None: ...

    async def main() -> None:
        job = f.delay()
        f.delay()
        for call, twin in ((job.status, "astatus"), (job.result, "aresult"), (job.cancel, "acancel")):
            with pytest.raises(PenstockError, match=f"await job.{twin}"):
                call()
        assert await job.astatus() is JobState.READY
        assert await job.aprogress() is None
        assert await job.acancel()
        with pytest.raises(JobCancelled):
            await job.aresult(1)
        await app.aclose()

    asyncio.run(main())
    assert caplog.text.count("await task.adelay") == 1


def test_waiting_inside_a_task_is_refused_unless_allowed(app: Penstock, working: Working) -> None:
    @app.task
    def inner() -> int:
        return 3

    @app.task(retry=False)
    def outer(allow: bool) -> int:
        return inner.delay().result(10, allow_wait=allow)

    with working():
        assert outer.delay(True).result(10) == 3
        with pytest.raises(JobFailed, match="never ends"):
            outer.delay(False).result(10)


def test_async_callers_share_a_loop_and_several_loops_follow_each_other(
    app: Penstock, working: Working
) -> None:
    @app.task
    async def double(number: int) -> int:
        return number * 2

    async def main() -> list[int]:
        async with app:
            jobs = await asyncio.gather(*(double.adelay(number) for number in range(50)))
            return [await job.aresult(10) for job in jobs]

    with working():
        for _ in range(3):
            assert asyncio.run(main()) == [number * 2 for number in range(50)]


def test_retry_later_spends_no_attempt(app: Penstock, working: Working) -> None:
    attempts: list[int] = []

    @app.task(retry=Retry(attempts=2))
    def f() -> int:
        attempts.append(current_job().attempt)
        if len(attempts) < 4:
            raise RetryLater(0.01)
        return 1

    with working():
        assert f.delay().result(10) == 1
    assert attempts == [1, 1, 1, 1]


def test_inside_a_job(app: Penstock, working: Working) -> None:
    @app.task(name="look", timeout=60)
    def look() -> dict[str, Any]:
        job = current_job()
        return {
            "id": job.id,
            "task": job.task,
            "queue": job.queue,
            "attempt": [job.attempt, job.max_attempts],
            "headers": dict(job.headers),
            "enqueued": abs((datetime.now(UTC) - job.enqueued_at).total_seconds()) < 10,
            "deadline": job.deadline_at is not None
            and 50 < (job.deadline_at - datetime.now(UTC)).total_seconds() < 61,
            "asked": [job.cancelled(), job.stopping()],
        }

    with pytest.raises(PenstockError, match="outside a job"):
        current_job()
    with working():
        job = look.options(headers={"trace": "1"}, queue="mail", retry=4).delay()
        assert job.result(10) == {
            "id": job.id,
            "task": "look",
            "queue": "mail",
            "attempt": [1, 4],
            "headers": {"trace": "1"},
            "enqueued": True,
            "deadline": True,
            "asked": [False, False],
        }


def test_an_id_must_name_its_queue(app: Penstock) -> None:
    with pytest.raises(ConfigError, match="QUEUE:NAME"):
        app.job("0193")
    with pytest.raises(JobNotFound):
        app.job("mail:0193").status()
