"""Hooks: what they are told of, in which process and when, and that one which fails or hangs harms nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from penstock import (
    Call,
    ConfigError,
    CurrentJob,
    FailedJob,
    JobFailed,
    Penstock,
    PenstockError,
    Reject,
    Retry,
    RetryLater,
)
from penstock import current_job as current
from penstock.core.codec import Envelope, encode_envelope
from penstock.core.job import Job, JobError
from penstock.core.settlement import Again, Cause, Dead
from penstock.ids import new_id
from penstock.runtime import telling
from penstock.runtime.hooks import failed_job
from tests.runtime import children_app as children
from tests.runtime.bench import delivery
from tests.runtime.conftest import WITHIN_S, Beside, Doorbell, Working, wait_for

Told = tuple[str, FailedJob, Exception]
QUICK = Retry(attempts=2, base=0.01)


class Listener:
    """Hooks for both kinds of failure, and what they were told."""

    def __init__(self, app: Penstock, *, is_async: bool = False) -> None:
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        for event in ("attempt_failed", "job_failed"):
            app.on(event)(self._coroutine(event) if is_async else self._function(event))  # type: ignore[call-overload]

    def _function(self, event: str) -> Callable[[FailedJob, Exception], None]:
        def hook(job: FailedJob, error: Exception) -> None:
            self._told.put((event, job, error))

        return hook

    def _coroutine(self, event: str) -> Callable[[FailedJob, Exception], Any]:
        async def hook(job: FailedJob, error: Exception) -> None:
            await asyncio.sleep(0)
            self._told.put((event, job, error))

        return hook

    def next(self) -> Told:
        return self._told.get(timeout=WITHIN_S)

    def expect(self, *events: str) -> list[Told]:
        told = [self.next() for _ in events]
        assert [event for event, _, _ in told] == list(events)
        return told

    def heard_nothing_else(self) -> bool:
        return self._told.empty()


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, bell: Doorbell) -> Iterator[Penstock]:
    """The application of the children, on a fresh broker."""
    monkeypatch.setenv("TEST_BELL", bell.path)
    children.app.configure({"broker_url": f"memory://{new_id()}"})
    yield children.app
    for hooks in children.app.hooks.values():
        hooks.clear()
    children.app.close()


@contextlib.contextmanager
def worker_of(app: Penstock, **settings: object) -> Iterator[Beside]:
    beside = Beside(app, **settings).ready()
    try:
        yield beside
    finally:
        beside.stop(at_once=True)
        beside.end()


# --- failures


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_each_attempt_and_the_end(app: Penstock, working: Working, lane: str, is_async: bool) -> None:
    listener = Listener(app, is_async=is_async)

    def work(x: int, *, y: str) -> None:
        raise ValueError(f"{x} {y}")

    async def awork(x: int, *, y: str) -> None:
        work(x, y=y)

    task = app.task(retry=QUICK, tags=["own"])(work if lane == "thread" else awork)
    with working():
        job = task.options(headers={"tenant": "a"}, tags=["odd"]).delay(7, y="z")
        first, last, dead = listener.expect("attempt_failed", "attempt_failed", "job_failed")
    for _, told, error in (first, last, dead):
        assert (told.id, told.task, told.queue, told.max_attempts) == (job.id, task.name, "default", 2)
        assert (told.headers, told.args, told.kwargs) == ({"tenant": "a"}, (7,), {"y": "z"})
        assert "odd" in told.tags
        assert abs(told.enqueued_at.timestamp() - time.time()) < 60
        assert told.cause == "error"
        assert type(error) is ValueError
        assert str(error) == "7 z"
        assert error.__traceback__ is not None
    assert [told.attempt for _, told, _ in (first, last, dead)] == [1, 2, 2]
    assert first[1].retry_in is not None
    assert 0.01 <= first[1].retry_in < 0.02
    assert (last[1].retry_in, dead[1].retry_in) == (None, None)
    assert last[2] is dead[2]


def test_what_is_a_failure_and_what_is_not(app: Penstock, working: Working) -> None:
    listener = Listener(app)

    @app.task(retry=False)
    def ends(how: str) -> Any:
        match how:
            case "reject":
                raise Reject("no")
            case "later" if current().headers.get("again") is None and current().attempt == 1:
                raise RetryLater(600)
            case "unencodable":
                return object()
            case "exit":
                raise SystemExit(3)
            case _:
                return None

    with working():
        ends.delay("well").result(WITHIN_S)
        ends.delay("later")
        ends.delay("reject")
        (_, rejected, error), _ = listener.expect("attempt_failed", "job_failed")
        assert (rejected.cause, type(error), str(error)) == ("rejected", Reject, "no")
        ends.delay("unencodable")
        (_, refused, error), _ = listener.expect("attempt_failed", "job_failed")
        assert (refused.cause, type(error)) == ("result", JobFailed)
        ends.delay("exit")
        (_, _, error), _ = listener.expect("attempt_failed", "job_failed")
        assert isinstance(error, JobFailed)
        assert (error.error_type, error.error_message) == ("SystemExit", "3")
        assert isinstance(error.__cause__, SystemExit)
        assert "in ends" in error.remote_traceback
        assert listener.heard_nothing_else()


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_a_timeout_is_a_failed_attempt(app: Penstock, working: Working, lane: str) -> None:
    listener = Listener(app)

    def work() -> None:
        while not current().cancelled():
            time.sleep(0.01)

    async def awork() -> None:
        await asyncio.sleep(600)

    task = app.task(retry=QUICK, timeout=0.05)(work if lane == "thread" else awork)
    with working():
        task.delay()
        told = listener.expect("attempt_failed", "attempt_failed", "job_failed")
    assert [job.cause for _, job, _ in told] == ["timeout"] * 3
    assert all(isinstance(error, TimeoutError) for _, _, error in told)


def test_a_job_that_never_ran(app: Penstock, working: Working) -> None:
    listener = Listener(app)

    @app.task
    def takes_a_number(x: int) -> None: ...

    app.tasks.pop(takes_a_number.name)
    job = app.send(takes_a_number.name, "seven")
    app.tasks[takes_a_number.name] = takes_a_number.spec
    with working():
        [(_, told, error)] = listener.expect("job_failed")
    assert (told.id, told.task, told.args, told.cause) == (job.id, takes_a_number.name, (), "arguments")
    assert (told.attempt, told.max_attempts) == (1, 25)
    assert isinstance(error, JobFailed)
    assert error.error_type == "InvalidArguments"


def test_what_is_told_of_a_delivery_alone() -> None:
    body = encode_envelope(Envelope(1, "unknown", headers={"a": "b"}, at=3.0))
    dead = Dead(delivery(body=body, attempt=2, crashes=3), JobError("Poison", "lost"), Cause.POISON)
    job, error = failed_job(dead, None, {})
    assert (job.task, job.attempt, job.max_attempts, job.headers) == ("unknown", 3, 0, {"a": "b"})
    assert (job.cause, str(error), job.enqueued_at.timestamp()) == ("poison", "Poison: lost", 3.0)
    job, _ = failed_job(Again(delivery(body=b"?"), 5.0, JobError("TimedOut")), None, {})
    assert (job.task, job.cause, job.retry_in) == ("", "timeout", 5.0)


AT_MS = 1_763_820_000_000.0  # milliseconds, where seconds belong


def put(app: Penstock, task: str, *args: object, at: float = AT_MS) -> None:
    """Enqueues what no producer of Penstock's writes: a call of a moment that no calendar has."""
    id = f"default:{new_id()}"
    app.enqueue([Job(id, "default", delivery(task, *args, at=at).body)])


@pytest.mark.parametrize("lane", ["thread", "loop"])
def test_a_moment_that_no_calendar_has_harms_nothing(app: Penstock, working: Working, lane: str) -> None:
    listener = Listener(app)
    seen: list[datetime] = []

    def work(x: int) -> None:
        seen.append(current().enqueued_at)
        raise ValueError(x)

    async def awork(x: int) -> None:
        work(x)

    task = app.task(retry=False, name="work")(work if lane == "thread" else awork)
    with working():
        put(app, "work", 1)
        put(app, "work", "no number")
        told = [job for _, job, _ in (listener.next() for _ in range(3))]
        with pytest.raises(JobFailed, match="2"):
            task.delay(2).result(WITHIN_S)
        listener.expect("attempt_failed", "job_failed")
        wait_for(lambda: not any(queue.running or queue.ready for queue in app.queues()))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert sorted(job.cause for job in told) == ["arguments", "error", "error"]
    assert {job.enqueued_at for job in told} == {epoch}
    assert seen[0] == epoch
    assert seen[1] > epoch


def test_telling_that_fails_harms_nothing(
    app: Penstock, working: Working, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with telling of a failure: all that came or ended with it is settled, and the next is told."""
    listener = Listener(app)
    odd_ones: list[str] = []

    def odd(settlement: Any, *others: Any) -> Any:
        if settlement.delivery.id in odd_ones:
            raise SystemExit("odd")
        return failed_job(settlement, *others)

    monkeypatch.setattr(telling, "failed_job", odd)

    @app.task(retry=False)
    def work(x: int) -> int:
        return 1 // x

    app.tasks.pop(work.name)
    jobs = [app.send(work.name, x) for x in (0, "none", 1)]
    app.tasks[work.name] = work.spec
    odd_ones += [job.id for job in jobs]
    with working():
        for job in jobs[:2]:
            with pytest.raises(JobFailed):
                job.result(WITHIN_S)
        assert jobs[2].result(WITHIN_S) == 1
        with pytest.raises(JobFailed):
            work.delay(0).result(WITHIN_S)
        listener.expect("attempt_failed", "job_failed")
    lines = [record.getMessage() for record in caplog.records]
    untold = {job.id for job in jobs for line in lines if line.startswith(f"job {job.id}: no hook")}
    assert untold == {job.id for job in jobs[:2]}


def test_children_send_their_errors_as_data(processes: Penstock) -> None:
    listener = Listener(processes)
    with worker_of(processes, app_reference="tests.runtime.children_app:app"):
        children.log_and_fail.delay()
        (_, job, error), _ = listener.expect("attempt_failed", "job_failed")
        assert job.cause == "rejected"
        assert isinstance(error, JobFailed)
        assert (error.error_type, error.error_message) == ("Reject", "no")
        assert "in log_and_fail" in error.remote_traceback
        children.deaf.delay()  # killed in each attempt
        told = listener.expect("attempt_failed", "attempt_failed", "job_failed")
        assert [(job.cause, isinstance(error, TimeoutError)) for _, job, error in told] == [
            ("timeout", True)
        ] * 3


@pytest.mark.parametrize("scheme", ["sqlite", "redis"])
def test_on_real_brokers(scheme: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("redis_url") if scheme == "redis" else f"sqlite:///{tmp_path}/jobs.db"
    app = Penstock("hooks", broker=url)
    listener = Listener(app)

    @app.task(retry=QUICK)
    def work() -> None:
        raise ValueError("odd")

    with contextlib.closing(app), worker_of(app):
        work.delay()
        listener.expect("attempt_failed", "attempt_failed", "job_failed")


def test_hooks_of_one_failure_come_in_order_and_outside_the_job(app: Penstock, working: Working) -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    @app.on("job_failed")
    def last(job: FailedJob, error: Exception) -> None:
        with pytest.raises(PenstockError, match="outside a job"):
            current()
        said.put(f"last on {threading.current_thread().name}")

    @app.on("attempt_failed")
    async def first(job: FailedJob, error: Exception) -> None:
        with pytest.raises(PenstockError, match="outside a job"):
            current()
        said.put("first")

    @app.on("attempt_failed")
    def second(job: FailedJob, error: Exception) -> None:
        said.put("second")

    @app.task(retry=False)
    def work() -> None:
        raise ValueError

    with working():
        work.delay()
        heard = [said.get(timeout=WITHIN_S) for _ in range(3)]
    assert heard == ["first", "second", "last on penstock-hook-1"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_one_that_fails_changes_nothing(
    app: Penstock,
    working: Working,
    caplog: pytest.LogCaptureFixture,
    is_async: bool,
    kind: type[BaseException],
) -> None:
    def fails(job: FailedJob, error: Exception) -> None:
        raise kind("from the hook")

    async def afails(job: FailedJob, error: Exception) -> None:
        fails(job, error)

    app.on("attempt_failed")(afails if is_async else fails)
    listener = Listener(app)

    @app.task(retry=False)
    def work() -> None:
        raise ValueError("odd")

    with working():
        with pytest.raises(JobFailed, match="odd"):
            work.delay().result(WITHIN_S)
        listener.expect("attempt_failed", "job_failed")
    [record] = [record for record in caplog.records if record.getMessage().endswith("fails failed")]
    assert record.getMessage().startswith("attempt_failed: tests.runtime.test_hooks.")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], kind)


@pytest.mark.parametrize("event", ["worker_start", "attempt_failed", "worker_stop"])
def test_one_that_exits_in_a_task_of_its_own_stops_the_worker_in_order(app: Penstock, event: str) -> None:
    """Such a task ends the user's loop, and with that the worker; its jobs and hooks end as ever."""
    listener = Listener(app)

    async def exits() -> None:
        raise SystemExit("from the hook")

    async def hook(*_: object) -> None:
        await asyncio.wait_for(exits(), 30)

    app.on(event)(hook)  # type: ignore[call-overload]

    @app.task(retry=False)
    async def work() -> None:
        raise ValueError("odd")

    beside = Beside(app)
    if event == "worker_start":
        with pytest.raises(PenstockError, match="worker_start"):
            beside.end()
        return
    job = work.delay()
    listener.expect("attempt_failed", "job_failed")
    with pytest.raises(JobFailed, match="odd"):
        job.result(WITHIN_S)
    if event == "worker_stop":
        beside.stop()
    assert beside.end() == (0 if event == "worker_stop" else 4)


# --- hooks that hang


class Hanging:
    """A hook that hangs until it is let go."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.go = threading.Event()
        self.cancelled = threading.Event()

    def hook(self, job: FailedJob, error: Exception) -> None:
        self.begun.put(job.id)
        assert self.go.wait(WITHIN_S)

    async def ahook(self, job: FailedJob, error: Exception) -> None:
        self.begun.put(job.id)
        try:
            await asyncio.sleep(600)
        finally:
            self.cancelled.set()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.go.set()


def test_one_that_hangs_holds_up_no_job(
    app: Penstock,
    working: Working,
    hanging: Hanging,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(telling, "WITHIN_S", 0.05)
    monkeypatch.setattr(telling, "AT_ONCE", 2)
    monkeypatch.setattr(telling, "MOST_WAITING", 1)
    monkeypatch.setattr(telling, "HURRIED_WITHIN_S", 0.05)
    app.on("attempt_failed")(hanging.hook)
    listener = Listener(app)

    @app.task(retry=False)
    def work(fail: bool) -> None:
        if fail:
            raise ValueError("odd")

    with working(concurrency=1):
        work.delay(True)
        assert hanging.begun.get(timeout=WITHIN_S)
        listener.expect("attempt_failed", "job_failed")  # the others are told all the same
        work.delay(True)
        assert hanging.begun.get(timeout=WITHIN_S)
        for _ in range(2):  # there is room for one to wait
            work.delay(True)
        wait_for(lambda: any("told to no hook" in each.getMessage() for each in caplog.records))
        work.delay(False).result(WITHIN_S)
        hanging.go.set()  # and then all goes on
        listener.expect("attempt_failed", "job_failed")
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "Hanging.hook has not ended in 0.05 s; until it does it holds one of 2 places" in text


def test_a_coroutine_that_hangs_is_cancelled(
    app: Penstock, working: Working, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "WITHIN_S", 0.05)
    monkeypatch.setattr(telling, "AT_ONCE", 1)
    app.on("attempt_failed")(hanging.ahook)
    listener = Listener(app)

    @app.task(retry=False)
    def work() -> None:
        raise ValueError("odd")

    with working():
        for _ in range(2):  # its place is free again
            work.delay()
            assert hanging.begun.get(timeout=WITHIN_S)
            assert hanging.cancelled.wait(WITHIN_S)
            listener.expect("attempt_failed", "job_failed")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_one_that_hangs_holds_up_no_drain(
    app: Penstock,
    hanging: Hanging,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_async: bool,
) -> None:
    monkeypatch.setattr(telling, "END_WITHIN_S", 0.05)
    app.on("attempt_failed")(hanging.ahook if is_async else hanging.hook)

    @app.task(retry=False)
    def work() -> None:
        raise ValueError("odd")

    beside = Beside(app).ready()
    work.delay()
    assert hanging.begun.get(timeout=WITHIN_S)
    beside.stop()
    assert beside.end() == 0
    assert "1 failure(s) could not be told to all hooks" in caplog.text


def test_what_fails_last_is_told_before_the_end(app: Penstock) -> None:
    begun, go = threading.Event(), threading.Event()
    told: list[str] = []

    @app.on("job_failed")
    def slow(job: FailedJob, error: Exception) -> None:
        time.sleep(0.1)
        told.append("failed")

    @app.on("worker_stop")
    def end() -> None:
        told.append("stop")

    @app.task(retry=False)
    def work() -> None:
        begun.set()
        assert go.wait(WITHIN_S)
        raise ValueError("odd")

    beside = Beside(app).ready()
    work.delay()
    assert begun.wait(WITHIN_S)
    beside.stop()
    go.set()
    assert beside.end() == 0
    assert told == ["failed", "stop"]


# --- the worker


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_start_and_stop_stand_around_all_jobs(app: Penstock, is_async: bool) -> None:
    said: list[str] = []
    done = threading.Event()

    @app.resource
    def shared() -> Iterator[int]:
        yield 1
        said.append("closed")

    def say(word: str) -> Callable[[], Any]:
        def function() -> None:
            said.append(word)

        async def coroutine() -> None:
            await asyncio.sleep(0.01)
            function()

        return coroutine if is_async else function

    for word in ("first", "second"):
        app.on("worker_start")(say(word))
    app.on("worker_stop")(say("stop"))

    @app.task
    def work() -> None:
        said.append(f"job {shared.get()}")
        done.set()

    work.delay()
    beside = Beside(app).ready()
    assert done.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 0
    assert said == ["first", "second", "job 1", "stop", "closed"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_start_that_fails_keeps_the_worker_from_starting(
    app: Penstock, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    stopped: list[str] = []

    def load_model() -> None:
        raise FileNotFoundError("model.bin")

    async def aload_model() -> None:
        load_model()

    app.on("worker_start")(aload_model if is_async else load_model)
    app.on("worker_stop")(lambda: stopped.append("stop"))
    beside = Beside(app)
    with pytest.raises(PenstockError, match=r"load_model failed, so .*: FileNotFoundError: model\.bin"):
        beside.end()
    assert not stopped
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], FileNotFoundError)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_start_that_hangs_can_be_stopped(
    app: Penstock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    monkeypatch.setattr(telling, "COMPLAIN_EVERY_S", 0.05)
    begun, go, cancelled = threading.Event(), threading.Event(), threading.Event()

    @app.task
    def work() -> None: ...

    def hang() -> None:
        begun.set()
        assert go.wait(WITHIN_S)

    async def ahang() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            cancelled.set()

    app.on("worker_start")(ahang if is_async else hang)
    job = work.delay()
    beside = Beside(app)
    assert begun.wait(WITHIN_S)
    wait_for(lambda: "hang has not ended yet; nothing is fetched before" in caplog.text)
    assert job.status() == "ready"
    beside.stop()
    assert beside.end() == 0
    assert cancelled.wait(WITHIN_S) if is_async else not cancelled.is_set()
    go.set()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_stop_that_hangs_is_left(
    app: Penstock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    monkeypatch.setattr(telling, "END_WITHIN_S", 0.05)
    go = threading.Event()
    told: list[str] = []

    def hang() -> None:
        go.wait(WITHIN_S)

    async def ahang() -> None:
        await asyncio.sleep(600)

    app.on("worker_stop")(ahang if is_async else hang)
    app.on("worker_stop")(lambda: told.append("next"))
    beside = Beside(app).ready()
    beside.stop()
    assert beside.end() == 0
    go.set()
    assert "hang did not end in time" in caplog.text
    assert told in ([], ["next"])  # there was no time left to wait for it


def test_a_stop_that_fails_is_logged(app: Penstock, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    @app.on("worker_stop")
    def fails() -> None:
        raise ValueError("odd")

    app.on("worker_stop")(lambda: told.append("next"))
    beside = Beside(app).ready()
    beside.stop()
    assert beside.end() == 0
    assert told == ["next"]
    assert "fails failed" in caplog.text


# --- declared


def test_an_unknown_event_is_refused(app: Penstock) -> None:
    with pytest.raises(ConfigError, match="there are: worker_start, worker_stop, attempt_failed, job_failed"):
        app.on("job_done")  # type: ignore[call-overload]


def generates() -> Iterator[None]:
    yield


def takes_one(job: object) -> None: ...


@pytest.mark.parametrize(
    ("event", "function", "words"),
    [
        ("worker_start", generates, r"generates has a yield.*write: def generates\(\)"),
        ("worker_start", takes_one, r"takes_one\(job: .*is called with \(\) by worker_start"),
        ("job_failed", takes_one, r"takes_one\(job: .*is called with \(job, error\) by job_failed"),
        ("job_failed", 7, "7 is no function"),
    ],
)
def test_what_cannot_be_a_hook_is_refused(app: Penstock, event: Any, function: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        app.on(event)(function)
    assert not any(app.hooks.values())


def test_the_decorator_gives_the_function_back(app: Penstock) -> None:
    def mine(job: FailedJob, error: Exception) -> None: ...

    assert app.on("job_failed")(mine) is mine
    assert app.hooks["job_failed"] == [mine]


def test_without_hooks_errors_are_not_kept(app: Penstock, working: Working) -> None:
    runs: list[Any] = []

    @app.task(retry=False)
    def work() -> None:
        runs.append(current()._run)
        raise ValueError("odd")

    app.on("worker_start")(lambda: logging.getLogger("test").debug("begun"))
    with working():
        with pytest.raises(JobFailed):
            work.delay().result(WITHIN_S)
        assert runs[0].error is None


# --- beside a program's own work


def test_in_an_embedded_worker_too(app: Penstock) -> None:
    said: list[object] = []

    async def program() -> None:
        here = asyncio.get_running_loop()

        @app.on("worker_start")
        async def start() -> None:
            said.append(asyncio.get_running_loop() is here)

        @app.middleware
        async def around(job: CurrentJob, call: Call) -> Any:
            return [asyncio.get_running_loop() is here, await call()]

        @app.on("job_failed")
        async def failed(job: FailedJob, error: Exception) -> None:
            said.append(str(error))

        @app.on("worker_stop")
        def stop() -> None:
            said.append("stop")

        @app.task(retry=False)
        def work(fail: bool) -> Any:
            if fail:
                raise ValueError("odd")
            return "done"

        async with app.worker():
            assert await (await work.adelay(False)).aresult(WITHIN_S) == [True, "done"]
            with pytest.raises(JobFailed):
                await (await work.adelay(True)).aresult(WITHIN_S)
        await app.aclose()

    asyncio.run(program())
    assert said == [True, "odd", "stop"]


def test_an_embedded_worker_whose_start_fails_raises(app: Penstock) -> None:
    @app.on("worker_start")
    async def load_model() -> None:
        raise FileNotFoundError("model.bin")

    async def program() -> None:
        async with app.worker():
            raise AssertionError("it has started")

    with pytest.raises(PenstockError, match=r"load_model failed, so .*model\.bin"):
        asyncio.run(program())
