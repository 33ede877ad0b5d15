"""Class tasks in Sidekiq's spelling: each way to enqueue one, and a worker that runs it."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import anyio
import pytest

from penstock import (
    INJECTED,
    ConfigError,
    InvalidArguments,
    JobFailed,
    JobHandle,
    JobState,
    Penstock,
    PenstockError,
    Retry,
    current_job,
)
from penstock.compat.sidekiq import Job, Worker
from tests.app.conftest import Working

WAIT_S = 10

resources = Penstock("resources", broker="memory://resources")


@resources.resource
def number() -> Iterator[int]:
    yield 40


@resources.resource
async def anumber() -> AsyncIterator[int]:
    yield 50


@pytest.fixture
def email(app: Penstock) -> type[Any]:
    class EmailWorker(Job, app=app, queue="mail", retry=5):
        def perform(self, user_id: int, email: str) -> str:
            return f"{user_id} {email} on {current_job().queue}"

    return EmailWorker


def test_it_is_a_task_like_any_other(app: Penstock, email: type[Any]) -> None:
    (spec,) = app.tasks.values()
    assert spec.name == f"{__name__}.{email.__qualname__}"
    assert (spec.queue, spec.lane, spec.retry) == ("mail", "thread", Retry(attempts=6))
    assert str(spec.arguments.signature) == "(user_id: 'int', email: 'str') -> 'str'"
    assert Worker is Job


def test_each_way_to_enqueue_runs(app: Penstock, email: type[Any], working: Working) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.1)
    jobs: list[JobHandle[str]] = [
        email.perform_async(1, "a"),
        email.perform_async(user_id=2, email="b"),
        email.perform_in(0.1, 3, "c"),
        email.perform_in(timedelta(milliseconds=100), 4, email="d"),
        email.perform_at(soon, 5, "e"),
        email.perform_at(soon.timestamp(), 6, "f"),
        *email.perform_bulk([(7, "g"), {"user_id": 8, "email": "h"}]),
        email.set(queue="bulk").perform_async(9, "i"),
        email.set(queue="bulk").set(wait=0.1).perform_async(10, "j"),
        email.set(wait_until=soon).perform_async(11, "k"),
        *email.set(queue="bulk").perform_bulk((n, "l") for n in (12, 13)),
        email.set(queue="bulk").perform_in(0.1, 14, "m"),
        email.set(queue="bulk").perform_at(soon, 15, "n"),
    ]
    with working():
        results = [job.result(timeout=WAIT_S) for job in jobs]
    assert results == [
        *("1 a on mail", "2 b on mail", "3 c on mail", "4 d on mail", "5 e on mail", "6 f on mail"),
        *("7 g on mail", "8 h on mail", "9 i on bulk", "10 j on bulk", "11 k on mail"),
        *("12 l on bulk", "13 l on bulk", "14 m on bulk", "15 n on bulk"),
    ]


def test_each_way_has_an_async_twin(app: Penstock, working: Working) -> None:
    class Adder(Job, app=app):
        async def perform(self, x: int, y: int = 1) -> int:
            return x + y

    async def enqueue() -> list[JobHandle[int]]:
        soon = datetime.now(UTC) + timedelta(seconds=0.1)
        bulk = Adder.set(queue="bulk")
        return [
            await Adder.aperform_async(1),
            await Adder.aperform_in(0.1, 2),
            await Adder.aperform_at(soon, 3, y=0),
            *await Adder.aperform_bulk([(4, 1), {"x": 5}]),
            await bulk.aperform_async(6),
            await bulk.aperform_in(0.1, 7),
            await bulk.aperform_at(soon, 8),
            *await bulk.aperform_bulk([(9,)]),
        ]

    assert app.tasks[f"{__name__}.{Adder.__qualname__}"].lane == "loop"
    jobs = anyio.run(enqueue)
    with working():
        assert [job.result(timeout=WAIT_S) for job in jobs] == [2, 3, 3, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("later", ["perform_in", "perform_at", "set"])
def test_what_is_due_later_waits(email: type[Any], later: str) -> None:
    ways: dict[str, Callable[[], JobHandle[str]]] = {
        "perform_in": lambda: email.perform_in(3600, 1, "a"),
        "perform_at": lambda: email.perform_at(time.time() + 3600, 1, "a"),
        "set": lambda: email.set(wait=3600).perform_async(1, "a"),
    }
    assert ways[later]().status() is JobState.SCHEDULED


def test_five_retries_are_six_runs(app: Penstock, working: Working) -> None:
    runs: list[tuple[int, int]] = []

    class Flaky(Job, app=app, retry=5):
        def perform(self) -> None:
            runs.append((self.job.attempt, self.job.max_attempts))
            raise ValueError("again")

    spec = app.tasks[f"{__name__}.{Flaky.__qualname__}"]
    spec.retry = replace(spec.retry, base=0.001)
    job = Flaky.perform_async()
    with working(), pytest.raises(JobFailed):
        job.result(timeout=WAIT_S)
    assert runs == [(n, 6) for n in range(1, 7)]


def test_retry_false_is_one_run_and_is_kept(app: Penstock, working: Working) -> None:
    class Once(Job, app=app, retry=False):
        def perform(self) -> None:
            raise ValueError(f"run {self.job.attempt} of {self.job.max_attempts}")

    job = Once.perform_async()
    with working(), pytest.raises(JobFailed, match="run 1 of 1"):
        job.result(timeout=WAIT_S)
    assert job.status() is JobState.FAILED


def test_one_call_may_retry_otherwise(app: Penstock, working: Working) -> None:
    runs: list[int] = []

    class Flaky(Job, app=app, retry=Retry(attempts=9, base=0.001)):
        def perform(self) -> None:
            runs.append(self.job.max_attempts)
            raise ValueError("again")

    jobs = [Flaky.set(retry=value).perform_async() for value in (1, False, Retry(attempts=3, base=0.001))]
    with working():
        for job in jobs:
            with pytest.raises(JobFailed):
                job.result(timeout=WAIT_S)
    assert sorted(runs) == [1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("given", "attempts"),
    [
        ({}, 26),
        ({"retry": True}, 26),
        ({"retry": 0}, 1),
        ({"retry": Retry(attempts=4)}, 4),
        ({"delivery": "at_most_once"}, 1),
    ],
)
def test_how_often_it_runs(app: Penstock, given: dict[str, Any], attempts: int) -> None:
    class Task(Job, app=app, name="task", **given):
        def perform(self) -> None: ...

    assert app.tasks["task"].retry.attempts == attempts


def test_the_class_line_takes_the_options_of_tasks(app: Penstock) -> None:
    class Render(
        Job,
        app=app,
        name="render",
        lane="process",
        timeout=timedelta(seconds=3),
        expires=60,
        priority=7,
        result_ttl=0,
        tags=("a", "b"),
    ):
        """Draws."""

        def perform(self) -> None: ...

    spec = app.tasks["render"]
    assert (spec.lane, spec.timeout_s, spec.expires_s, spec.priority) == ("process", 3.0, 60.0, 7)
    assert (spec.result_ttl_s, spec.tags, spec.function.__doc__) == (0.0, ("a", "b"), "Draws.")


def test_one_call_says_otherwise(app: Penstock, email: type[Any], working: Working) -> None:
    class Headers(Job, app=app):
        def perform(self) -> dict[str, str]:
            return dict(self.job.headers)

    job = Headers.set(job_id="mine", headers={"a": "b"}, priority=3, expires=60, tags=["t"]).perform_async()
    assert job.id == "default:mine"
    with working():
        assert job.result(timeout=WAIT_S) == {"a": "b"}


# --- classes


def test_bases_hand_their_options_down(app: Penstock) -> None:
    class Base(Job, app=app, queue="mail", retry=2):
        pass

    class Abstract(Base, ABC, tags=["x"]):
        @abstractmethod
        def perform(self, x: int) -> int: ...

    class Concrete(Abstract, name="concrete", priority=3):
        def perform(self, x: int) -> int:
            return x

    class Urgent(Concrete, name="urgent", priority=9, queue=None):
        pass

    class Unnamed(Urgent):
        pass

    assert set(app.tasks) == {"concrete", "urgent", f"{__name__}.{Unnamed.__qualname__}"}
    spec, urgent = app.tasks["concrete"], app.tasks["urgent"]
    assert (spec.queue, spec.retry.attempts, spec.tags, spec.priority) == ("mail", 3, ("x",), 3)
    assert (urgent.queue, urgent.retry.attempts, urgent.tags, urgent.priority) == (None, 3, ("x",), 9)
    with pytest.raises(ConfigError, match=r"^Abstract is a base for class tasks"):
        Abstract.perform_async(1)


def test_each_run_has_a_new_instance(app: Penstock, working: Working) -> None:
    class Counts(Job, app=app):
        def __init__(self, start: int = 0) -> None:
            self.count = start

        def perform(self) -> int:
            self.count += 1
            return self.count

    jobs = Counts.perform_bulk([()] * 3)
    with working():
        assert [job.result(timeout=WAIT_S) for job in jobs] == [1, 1, 1]


def test_a_run_knows_its_job(app: Penstock, working: Working) -> None:
    class Which(Job, app=app):
        def perform(self) -> tuple[str, str, int]:
            return self.jid, self.job.id, self.job.attempt

    job = Which.perform_async()
    with working():
        assert job.result(timeout=WAIT_S) == (job.id, job.id, 1)
    with pytest.raises(PenstockError, match=r"^Which\.jid was read outside a job: .* Which\.perform_async"):
        Which.perform_inline()
    with pytest.raises(PenstockError, match=r"^Which\.job was read outside a job"):
        _ = Which().job


def test_resources_are_injected(app: Penstock, working: Working) -> None:
    class Sync(Job, app=app):
        def perform(self, x: int, n: Annotated[int, number] = INJECTED) -> int:
            return x + n

    class Async(Job, app=app):
        async def perform(self, x: int, n: Annotated[int, anumber] = INJECTED) -> int:
            return x + n

    jobs = [Sync.perform_async(2), Async.perform_async(2)]
    with working():
        assert [job.result(timeout=WAIT_S) for job in jobs] == [42, 52]
    assert Sync.perform_inline(2, n=3) == 5
    assert Sync.perform_inline(2, 3) == 5
    with pytest.raises(InvalidArguments, match="a worker injects n"):
        Sync.perform_inline(2)
    with pytest.raises(InvalidArguments, match="argument 'x': expected int, got str"):
        Sync.perform_inline("2", n=3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(InvalidArguments, match="is injected; do not pass it"):
        Sync.perform_async(2, n=3)


def test_inline_runs_here_and_now(app: Penstock) -> None:
    class Where(Job, app=app):
        def perform(self) -> int:
            return threading.get_ident()

    class Awaited(Job, app=app):
        async def perform(self, x: int) -> int:
            return x

    async def run() -> int:
        return await Awaited.perform_inline(7)

    assert Where.perform_inline() == threading.get_ident()
    assert anyio.run(run) == 7


def test_inline_takes_what_the_queue_would(app: Penstock, email: type[Any]) -> None:
    class Add(Job, app=app):
        def perform(self, x: int, y: int = 1) -> int:
            return x + y

    assert (Add.perform_sync(1), Add.set(queue="bulk").perform_inline(1, y=2)) == (2, 3)
    assert Add.set(queue="bulk").perform_sync(x=4) == 5
    for inline in (Add.perform_inline, Add.perform_sync, Add.set(queue="bulk").perform_inline):
        with pytest.raises(InvalidArguments, match="argument 'x': expected int, got str"):
            inline("1")  # type: ignore[arg-type]  # what is tested
        with pytest.raises(InvalidArguments, match="missing argument"):
            inline()  # type: ignore[call-arg]  # what is tested


@pytest.mark.parametrize("wait", [-5, -0.5, timedelta(days=-1)])
def test_a_wait_that_is_over_is_none(email: type[Any], wait: float | timedelta) -> None:
    assert email.perform_in(wait, 1, "a").status() is JobState.READY
    assert email.set(wait=wait).perform_async(1, "a").status() is JobState.READY


def test_a_call_on_a_loop_is_named_as_it_was_typed(
    email: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def call() -> None:
        email.perform_in(60, 1, "a")

    anyio.run(call)
    assert "perform_in() was called on a running event loop" in caplog.text


def test_a_traceback_begins_in_perform(app: Penstock, working: Working) -> None:
    class Fails(Job, app=app, retry=False):
        def perform(self) -> None:
            raise ValueError("here")

    class FailsAsync(Job, app=app, retry=False):
        async def perform(self) -> None:
            raise ValueError("here")

    jobs = [Fails.perform_async(), FailsAsync.perform_async()]
    with working():
        for job in jobs:
            with pytest.raises(JobFailed) as caught:
                job.result(timeout=WAIT_S)
            frames = [line for line in caught.value.remote_traceback.splitlines() if '  File "' in line]
            assert len(frames) == 1
            assert ", in perform" in frames[0]


# --- what is refused


def _no_app(app: Penstock) -> None:
    class Mail(Job):
        def perform(self) -> None: ...


def _app_is_text(app: Penstock) -> None:
    class Mail(Job, app="tasks"):  # type: ignore[arg-type]  # what is tested
        def perform(self) -> None: ...


def _no_self(app: Penstock) -> None:
    class Mail(Job, app=app):
        def perform(user_id: int) -> None: ...  # type: ignore[misc]  # what is tested


def _nothing_at_all(app: Penstock) -> None:
    class Mail(Job, app=app):
        def perform() -> None: ...  # type: ignore[misc]  # what is tested


def _static(app: Penstock) -> None:
    class Mail(Job, app=app):
        @staticmethod
        def perform(user_id: int) -> None: ...


def _generator(app: Penstock) -> None:
    class Mail(Job, app=app):
        def perform(self) -> Iterator[int]:
            yield 1


def _init(app: Penstock) -> None:
    class Mail(Job, app=app):
        def __init__(self, client: object) -> None: ...

        def perform(self) -> None: ...


def _backtrace(app: Penstock) -> None:
    class Mail(Job, app=app, backtrace=True):  # type: ignore[call-arg]  # what is tested
        def perform(self) -> None: ...


def _misspelt(app: Penstock) -> None:
    class Mail(Job, app=app, quee="mail"):  # type: ignore[call-arg]  # what is tested
        pass


def _celery(app: Penstock) -> None:
    class Mail(Job, app=app, max_retries=3):  # type: ignore[call-arg]  # what is tested
        pass


def _options_in_the_body(app: Penstock) -> None:
    class Mail(Job, app=app):
        sidekiq_options: ClassVar = {"queue": "mail"}

        def perform(self) -> None: ...


def _own_enqueue(app: Penstock) -> None:
    class Mail(Job, app=app):
        @classmethod
        def perform_async(cls, *args: Any) -> Any: ...  # type: ignore[override]  # what is tested

        def perform(self) -> None: ...


def _retry(app: Penstock) -> None:
    class Mail(Job, app=app, retry=-1):
        def perform(self) -> None: ...


def _type(app: Penstock) -> None:
    class Mail(Job, app=app, name="mail"):
        def perform(self, what: Penstock) -> None: ...


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (_no_app, "class Mail: no application; write class Mail(Job, app=app), or give app= to a base class of it"),
        (_app_is_text, "class Mail: app= takes a Penstock, not str"),
        (_no_self, "class Mail: perform(user_id: 'int') -> 'None' has no self; write def perform(self, ...)"),
        (_nothing_at_all, "class Mail: perform() -> 'None' has no self; write def perform(self, ...)"),
        (_static, "class Mail: perform is a staticmethod; write def perform(self, ...), or async def"),
        (_generator, "class Mail: perform is a generator; return a list or enqueue jobs instead"),
        (_init, ("class Mail: each run makes a new instance without arguments, but __init__ wants some "
                "(missing a required argument: 'client')")),
        (_backtrace, ("class Mail: no option 'backtrace'; here that is nothing: the traceback of the last error is "
                     "kept with the job")),
        (_misspelt, "class Mail: no option 'quee'; did you mean 'queue'?"),
        (_celery, "class Mail: no option 'max_retries'; here that is retry=Retry(attempts=N + 1)"),
        (_options_in_the_body, ("class Mail: no sidekiq_options here; the options stand in the class line: "
                               "class Mail(Job, app=app, queue=..., retry=...)")),
        (_own_enqueue, ("class Mail: perform_async is the base's own and cannot be another; give yours "
                       "another name and call perform_async from there")),
        (_retry, "class Mail: retry=-1: a number of retries from 0 to 1,000,000, True, False or a Retry"),
        (_type, ("task mail: parameter 'what': a Penstock cannot be carried in JSON; pass its id, its parts, or a "
                "dataclass, msgspec.Struct, attrs or pydantic model")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_class_that_cannot_work_is_refused(
    app: Penstock, define: Callable[[Penstock], None], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        define(app)
    assert str(caught.value) == says
    assert not app.tasks


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda job: job.perform_in(float("-inf"), 1, "a"), "perform_in: -inf is not a duration from 0 s"),
        (lambda job: job.set(wait="1"), "set(wait=...): seconds (a number) or a timedelta, not str"),
        (lambda job: job.set(wait_until=60), "set(wait_until=...): 60 is no Unix timestamp; set(wait=...) takes"),
        (lambda job: job.set(retry=10**30), "a number of retries from 0 to 1,000,000"),
        (lambda job: job.set(priority=10), "priority=10: a whole number from 0 to 9"),
        (lambda job: job.set(headers={"a": 1}), "set: headers are a mapping of strings"),
        (lambda job: job.set(job_id="a").perform_bulk([(1, "a")]), "set(job_id=...) names one job; perform_bulk"),
        (lambda job: job.perform_in(1_800_000_000, 1, "a"), "is a Unix timestamp; perform_at takes those"),
        (lambda job: job.perform_at(60, 1, "a"), "is no Unix timestamp; perform_in takes seconds from now"),
        (lambda job: job.perform_at(1.8e12, 1, "a"), "is no Unix timestamp in seconds"),
        (lambda job: job.perform_at(float("nan"), 1, "a"), "is no Unix timestamp in seconds"),
        (lambda job: job.perform_at("now", 1, "a"), "an aware datetime or a Unix timestamp in seconds, not str"),
        (lambda job: job.perform_at(datetime(2030, 1, 1), 1, "a"), "perform_at: datetime.datetime(2030, "),  # noqa: DTZ001 - refused
        (lambda job: job.set(sync=True), "no option 'sync'; here that is perform_inline"),
        (lambda job: job.set(quee="x"), "no option 'quee'; did you mean 'queue'?"),
        (lambda job: job.set(countdown=3), "no option 'countdown'; here that is set(wait=SECONDS) or perform_in"),
        (lambda job: job.set(eta=3), "no option 'eta'; here that is set(wait_until=WHEN) or perform_at"),
        (lambda job: job.set(wait=3, wait_until=2e9), "set: wait and wait_until exclude each other"),
        (lambda job: job.set(retry="x"), "retry='x': a number of retries from 0"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_work_is_refused(
    email: type[Any], call: Callable[[Any], object], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        call(email)
    assert says in str(caught.value)


def test_a_wrong_argument_fails_in_the_caller(email: type[Any]) -> None:
    with pytest.raises(InvalidArguments, match=r"argument 'user_id': expected int, got str"):
        email.perform_async("1", "a")
    with pytest.raises(InvalidArguments, match=r"^row 1: .* missing argument\(s\) email"):
        email.perform_bulk([(1, "a"), (2,)])
    with pytest.raises(InvalidArguments, match=r"perform_bulk takes a tuple or a dict for each job, not int"):
        email.perform_bulk([1])


def test_none_says_nothing(email: type[Any]) -> None:
    assert email.set(wait=None, queue=None, retry=None).perform_async(1, "a").id.startswith("mail:")


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("delay", "perform_async(...)"),
        ("adelay", "aperform_async(...)"),
        ("apply_async", "perform_async(...), or perform_in(SECONDS, ...), or set(...).perform_async(...)"),
        ("delay_many", "perform_bulk([...])"),
        ("options", "set(...).perform_async(...)"),
        ("perform_later", "perform_async(...)"),
    ],
)
def test_the_spelling_of_plain_tasks_leads_to_this_one(email: type[Any], typed: str, instead: str) -> None:
    said = f"EmailWorker.{typed}: a class task has no {typed}; say EmailWorker.{instead}"
    for asked in (email, email()):
        with pytest.raises(AttributeError) as caught:
            getattr(asked, typed)
        assert str(caught.value) == said
        assert not hasattr(asked, typed)


def test_a_class_may_have_those_names_for_itself(app: Penstock) -> None:
    class Slow:
        delay = 5

        def options(self) -> str:
            return "mine"

    class Mail(Job, Slow, app=app):
        def perform(self) -> None: ...

    assert (Mail.delay, Mail().delay, Mail().options()) == (5, 5, "mine")
    assert Mail.options(Mail()) == "mine"


def test_a_setter_shows_its_task(email: type[Any]) -> None:
    assert repr(email.set(queue="bulk")) == f"<Setter {__name__}.{email.__qualname__}>"
