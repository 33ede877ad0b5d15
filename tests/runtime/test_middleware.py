"""Middleware around jobs of each lane: what it sees, what it may do, and what becomes of one that hangs."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from penstock import Call, ConfigError, CurrentJob, JobCancelled, JobFailed, JobState, Penstock, Task
from penstock.ids import new_id
from tests.runtime import layers_app as tasks
from tests.runtime.conftest import WITHIN_S, Beside, Doorbell, Working, wait_for

REFERENCE = "tests.runtime.layers_app:app"
LANES = [tasks.on_thread, tasks.on_loop, tasks.in_child, tasks.on_childs_loop]
TIMED = [tasks.timed, tasks.timed_on_loop, tasks.timed_in_child]
AnyTask = Task[Any, Any, Any]
TRAIL = "[outer > inner of {}]"

each_lane = pytest.mark.parametrize("task", LANES, ids=lambda task: task.name.rpartition(".")[2])
each_timed = pytest.mark.parametrize("task", TIMED, ids=lambda task: task.name.rpartition(".")[2])


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch, bell: Doorbell) -> Iterator[Penstock]:
    """The application with middleware, on a fresh broker."""
    monkeypatch.setenv("TEST_BELL", bell.path)
    monkeypatch.setattr(tasks, "bell", bell.path)
    tasks.app.configure({"broker_url": f"memory://{new_id()}"})
    yield tasks.app
    tasks.app.close()


@pytest.fixture
def beside(layers: Penstock) -> Iterator[Beside]:
    running = Beside(layers, app_reference=REFERENCE, concurrency=2).ready()
    yield running
    running.stop(at_once=True)
    running.end()


def do(task: AnyTask, what: str = "", *, tenant: str = "acme") -> AnyTask:
    return task.options(headers={"tenant": tenant, "do": what})


@each_lane
def test_it_surrounds_the_task(beside: Beside, task: AnyTask) -> None:
    expected = "a " + TRAIL + " opened < outer"
    assert do(task).delay("a").result(WITHIN_S) == expected.format("acme")
    assert do(task, tenant="other").delay("a").result(WITHIN_S) == expected.format("other")
    assert do(task, "own task").delay("a").result(WITHIN_S) == expected.format("acme")


@each_lane
def test_it_need_not_call(beside: Beside, task: AnyTask, bell: Doorbell) -> None:
    short = task.name.rpartition(".")[2]
    assert do(task, "skip").delay("a").result(WITHIN_S) == f"skipped {short}('a',){{}} < outer"
    assert do(task, "skip").delay(text="b").result(WITHIN_S) == f"skipped {short}(){{'text': 'b'}} < outer"
    assert do(task, "rescue").delay("fail").result(WITHIN_S) == "rescued < outer"
    bell.wait("opened")
    bell.wait("closed by from the task")  # and not with success, though the job has it


@each_lane
def test_what_it_raises_is_the_jobs(beside: Beside, task: AnyTask) -> None:
    with pytest.raises(JobFailed, match="from middleware") as failure:
        do(task, "raise").delay("a").result(WITHIN_S)
    assert (failure.value.cause, failure.value.error_type) == ("error", "KeyError")
    with pytest.raises(JobFailed, match="not wanted") as failure:
        do(task, "reject").delay("a").result(WITHIN_S)
    assert failure.value.cause == "rejected"
    job = do(task, "later").delay("a")
    wait_for(lambda: job.status() is JobState.SCHEDULED)


@each_lane
def test_the_tasks_error_passes_through(beside: Beside, task: AnyTask) -> None:
    with pytest.raises(JobFailed, match="from the task") as failure:
        do(task).delay("fail").result(WITHIN_S)
    frames = failure.value.remote_traceback
    assert "in _told" in frames
    assert "in inner" in frames
    assert "onion.py" not in frames
    assert "crossing.py" not in frames


@each_lane
def test_calling_twice_is_an_error(beside: Beside, task: AnyTask) -> None:
    with pytest.raises(JobFailed, match=r"layers_app.inner called call\(\) twice"):
        do(task, "twice").delay("a").result(WITHIN_S)


@each_lane
def test_ending_before_the_call_is_an_error(beside: Beside, task: AnyTask) -> None:
    with pytest.raises(JobFailed, match=r"layers_app.inner called call\(\) and ended before it"):
        do(task, "forget").delay("a").result(WITHIN_S)


@each_lane
@pytest.mark.parametrize("what", ["", "own task"])
@pytest.mark.parametrize("how", ["exit", "interrupt", "generator exit"])
def test_a_task_that_exits_ends_nothing_but_itself(
    beside: Beside, task: AnyTask, what: str, how: str
) -> None:
    with pytest.raises(JobFailed, match="3"):
        do(task, what).delay(how).result(WITHIN_S)
    assert do(task).delay("a").result(WITHIN_S)
    assert not beside.worker._stopping.asked


@each_lane
@pytest.mark.parametrize("where", ["", "own task"])
@pytest.mark.parametrize("how", ["exit", "interrupt", "generator exit", "exit after"])
def test_a_middleware_that_exits_ends_nothing_but_its_job(
    beside: Beside, task: AnyTask, where: str, how: str
) -> None:
    odd = task.options(headers={"do": how, "outer": where}).delay("a")
    with pytest.raises(JobFailed, match="3"):
        odd.result(WITHIN_S)
    assert do(task).delay("a").result(WITHIN_S)
    assert not beside.worker._stopping.asked


@each_lane
def test_what_a_middleware_opens_is_closed(beside: Beside, task: AnyTask, bell: Doorbell) -> None:
    assert do(task, "open").delay("a").result(WITHIN_S) == "opened by middleware < outer"
    bell.wait("opened")
    bell.wait("closed")


@pytest.mark.parametrize("task", [tasks.on_thread, tasks.in_child], ids=["thread", "child"])
def test_no_loop_runs_where_a_plain_function_does(beside: Beside, task: AnyTask) -> None:
    assert do(task).delay("loop").result(WITHIN_S)


def test_a_plain_function_keeps_to_its_threads(beside: Beside) -> None:
    assert tasks.where.delay().result(WITHIN_S).startswith("penstock-thread-")


def test_each_attempt_has_a_context_of_its_own(beside: Beside) -> None:
    assert tasks.on_second.delay().result(WITHIN_S) == "outer > inner of nobody < outer"


@each_timed
@pytest.mark.parametrize("when", ["hang", "hang after"])
def test_the_timeout_reaches_a_middleware_that_hangs(
    beside: Beside, task: AnyTask, when: str, bell: Doorbell
) -> None:
    job = do(task, when).delay()
    bell.wait("hangs")
    with pytest.raises(JobFailed, match="longer than its timeout") as failure:
        job.result(WITHIN_S)
    assert failure.value.cause == "timeout"
    bell.wait("let go")
    others = [do(LANES[TIMED.index(task)]).delay("a") for _ in range(3)]  # more than there are slots
    assert all(other.result(WITHIN_S) for other in others)


@each_lane
def test_a_cancel_reaches_a_middleware_that_hangs(beside: Beside, task: AnyTask, bell: Doorbell) -> None:
    job = do(task, "hang").delay("a")
    bell.wait("hangs")
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(WITHIN_S)
    bell.wait("let go")


def test_a_function_that_its_middleware_waits_for_no_more_is_asked_to_end(
    beside: Beside, bell: Doorbell
) -> None:
    """The job ends as its middleware does; its slot is held until the function is back, which looks at cancelled()."""
    with pytest.raises(JobFailed) as failure:
        do(tasks.until_asked, "short").delay().result(WITHIN_S)
    assert failure.value.error_type == "TimeoutError"
    assert failure.value.cause == "error"
    bell.wait("asked")
    assert do(tasks.until_asked, "short and rescue").delay().result(WITHIN_S) == "rescued < outer"
    bell.wait("asked")


def test_a_thread_that_returns_late_has_succeeded(beside: Beside) -> None:
    assert tasks.late.delay().result(WITHIN_S) == "late < outer"


def test_a_middleware_that_hangs_behind_a_late_thread_is_cancelled(
    beside: Beside, bell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.runtime.crossing.AFTER_S", 0.05)
    job = do(tasks.late, "hang after").delay()
    bell.wait("hangs")
    with pytest.raises(JobFailed, match="longer than its timeout"):
        job.result(WITHIN_S)
    bell.wait("let go")


def test_the_end_of_the_grace_reaches_a_middleware(layers: Penstock, bell: Doorbell) -> None:
    beside = Beside(layers, app_reference=REFERENCE, grace_s=0.1).ready()
    job = do(tasks.on_thread, "hang").delay("a")
    bell.wait("hangs")
    beside.stop()
    assert beside.end() == 4
    bell.wait("let go")
    assert job.status() is JobState.READY


@pytest.mark.parametrize("scheme", ["sqlite", "redis"])
def test_on_real_brokers(
    layers: Penstock, scheme: str, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_url") if scheme == "redis" else f"sqlite:///{tmp_path}/jobs.db"
    layers.close()
    layers.configure({"broker_url": url})
    beside = Beside(layers, app_reference=REFERENCE, command_line={"broker_url": url}).ready()
    try:
        # One of each: nobody hears the bell here, and it holds ten words.
        results = [job.result(WITHIN_S) for job in [do(task, tenant="x").delay("a") for task in LANES]]
    finally:
        beside.stop()
        beside.end()
    assert results == [f"a {TRAIL.format('x')} opened < outer"] * len(LANES)


# --- declared


class Callable_:
    async def __call__(self, job: CurrentJob, call: Call) -> Any:
        return [type(self).__name__, await call()]


async def labelled(label: str, job: CurrentJob, call: Callable[[], Awaitable[Any]]) -> Any:
    return [label, await call()]


def test_objects_and_partials_can_be_middleware(app: Penstock, working: Working) -> None:
    app.middleware(Callable_())
    app.middleware(functools.partial(labelled, "label"))

    @app.task
    def work() -> Any:
        return 1

    with working():
        assert work.delay().result(WITHIN_S) == ["Callable_", ["label", 1]]


def test_the_decorator_gives_the_function_back(app: Penstock) -> None:
    async def mine(job: CurrentJob, call: Call) -> Any:
        return await call()

    assert app.middleware(mine) is mine
    assert app.middlewares == [mine]


def plain(job: object, call: object) -> None: ...


async def one(job: object) -> None: ...


async def three(job: object, call: object, more: object) -> None: ...


async def generates(job: object, call: object) -> Any:
    yield


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (plain, r"plain is not async.*write: async def plain\(job, call\)"),
        (one, r"one\(job: .*is called with two arguments"),
        (three, r"three\(.*is called with two arguments"),
        (generates, "has a yield"),
        (7, "7 is no function"),
    ],
)
def test_what_cannot_be_one_is_refused(app: Penstock, function: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        app.middleware(function)
    assert not app.middlewares


def test_nothing_of_a_job_leaks_into_the_next(app: Penstock, working: Working) -> None:
    seen: contextvars.ContextVar[int] = contextvars.ContextVar("seen", default=0)

    @app.middleware
    async def count(job: CurrentJob, call: Call) -> Any:
        seen.set(seen.get() + 1)
        return await call()

    @app.task
    def work() -> int:
        return seen.get()

    with working():
        assert [work.delay().result(WITHIN_S) for _ in range(3)] == [1, 1, 1]
