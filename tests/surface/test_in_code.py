"""The public surface in code, as its page spells it: one test for each line of the page.

What a line means in every detail is proved beside what does it; here it is only that the names, the options and the
defaults are these, and that they work together on a real worker.
"""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, TypedDict
from uuid import UUID, uuid4

import attrs
import msgspec
import pytest

from penstock import (
    INJECTED,
    ConfigError,
    InvalidArguments,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobHandle,
    JobState,
    Penstock,
    PenstockError,
    Reject,
    ResultTimeout,
    Retry,
    RetryLater,
    Task,
    current_job,
)
from penstock.ids import new_id

pytestmark = pytest.mark.anyio
ADDRESS = "someone@example.org"


class Size(msgspec.Struct):
    width: int
    height: int


# --- the table of calls


async def test_delay_and_adelay_and_a_plain_call(app: Penstock) -> None:
    @app.task
    def send_welcome_email(user_id: int, email_address: str) -> str:
        return f"{user_id} {email_address}"

    @app.task(queue="media", retry=Retry(attempts=5, base=10, on=(ConnectionError,)), timeout=30, expires=3600,
              priority=5)  # fmt: skip
    async def resize(picture: UUID, width: int) -> Size:
        return Size(width, width // 2)

    assert send_welcome_email(1, "a@b.c") == "1 a@b.c"
    picture = uuid4()
    assert await resize(picture, 10) == Size(10, 5)
    async with app, app.worker(concurrency=4):
        job = await send_welcome_email.adelay(1, "a@b.c")
        assert await job.aresult(timeout=10) == "1 a@b.c"
        assert await (await resize.adelay(picture, width=20)).aresult(timeout=10) == Size(20, 10)


def test_delay_from_a_blocking_caller_returns_once_it_is_accepted(app: Penstock) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    job = add.delay(1, b=2)
    assert job.status() is JobState.READY
    assert app.job(job.id).status() == "ready"
    assert job.cancel()
    assert job.status() == "cancelled"
    assert job.progress() is None


async def test_many_take_tuples_and_dicts(app: Penstock) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    async with app, app.worker():
        jobs = await add.adelay_many([(1, 2), {"a": 3, "b": 4}])
        assert [await job.aresult(timeout=10) for job in jobs] == [3, 7]


def test_delay_many_takes_any_iterable(app: Penstock) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    assert len(add.delay_many((n, n) for n in range(1_201))) == 1_201
    assert sum(queue.ready for queue in app.queues()) == 1_201


async def test_options_of_one_call(app: Penstock) -> None:
    @app.task
    def note(word: str) -> dict[str, str]:
        return dict(current_job().headers)

    later = datetime.now(UTC) + timedelta(hours=1)
    job = await note.options(
        countdown=60, queue="bulk", priority=9, expires=600, job_id="order-17", retry=Retry(attempts=2),
        headers={"tenant": "a"}, tags=("x", "y"),
    ).adelay("a")  # fmt: skip
    assert job.id == "bulk:order-17"
    assert await app.job("order-17", queue="bulk").astatus() is JobState.SCHEDULED
    assert await (await note.options(eta=later).adelay("b")).astatus() == "scheduled"
    [found] = [each async for each in app.ajobs(queue="bulk", tag="x")]
    assert (found.priority, found.tags, found.task) == (9, ("x", "y"), note.name)
    with pytest.raises(ConfigError, match="no time zone"):
        note.options(eta=datetime(2030, 1, 1))  # noqa: DTZ001 - it is to be refused
    async with app, app.worker():
        told = await note.options(headers={"tenant": "b"}).adelay("c")
        assert (await told.aresult(timeout=10))["tenant"] == "b"


async def test_celerys_spelling(app: Penstock) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    later = datetime.now(UTC) + timedelta(hours=1)
    job = await asyncio.to_thread(
        add.apply_async, args=(1,), kwargs={"b": 2}, expires=60, queue="bulk", priority=3, task_id="mine"
    )
    assert job.id == "bulk:mine"
    put_off = await asyncio.to_thread(add.apply_async, (1, 2), countdown=30)
    dated = await asyncio.to_thread(add.apply_async, (1, 2), eta=later)
    assert [await put_off.astatus(), await dated.astatus()] == ["scheduled", "scheduled"]
    async with app, app.worker(queues=["bulk"]):
        assert await job.aresult(timeout=10) == 3


async def test_by_name(app: Penstock) -> None:
    @app.task(name="tasks.send_welcome_email")
    def send_welcome_email(user_id: int, email_address: str) -> str:
        return f"{current_job().queue} {user_id} {email_address}"

    stranger = Penstock("other", broker=app.address.url)
    name = "tasks.send_welcome_email"
    async with app, stranger, app.worker(queues=["mail", "default"]):
        job = await stranger.asend(name, 1, "a@b.c")
        assert await job.aresult(timeout=10) == "default 1 a@b.c"
        job = await asyncio.to_thread(stranger.send, name, 2, "b@b.c", options={"queue": "mail"})
        assert await job.aresult(timeout=10) == "mail 2 b@b.c"
    stranger.close()


# --- the decorator, retries, types


def test_the_decorators_options_and_their_defaults() -> None:
    app = Penstock("tasks", broker=f"memory://{new_id()}")

    @app.task(name=None, queue=None, lane=None, retry=Retry(), timeout=None, expires=None, priority=0,
              result_ttl=3600, delivery="at_least_once", tags=())  # fmt: skip
    def all_defaults() -> None: ...

    @app.task
    def bare() -> None: ...

    @app.task
    async def coroutine() -> None: ...

    @app.task(lane="process", timeout=120)
    def render(report: str) -> bytes:
        return report.encode()

    specs = {each.spec.name.rpartition(".")[2]: each.spec for each in (all_defaults, bare, coroutine, render)}
    kept = {
        name: getattr(specs["bare"], name) for name in ("retry", "timeout_s", "expires_s", "priority", "tags")
    }
    assert {name: getattr(specs["all_defaults"], name) for name in kept} == kept
    assert specs["bare"].result_ttl_s == 3600
    assert [spec.lane for spec in specs.values()] == ["thread", "thread", "loop", "process"]


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("bind", "nothing: use penstock.current_job() inside the task"),
        ("max_retries", "retry=Retry(attempts=N + 1)"),
        ("acks_late", 'nothing: late is the default; delivery="at_most_once" is the other way'),
        ("ignore_result", "result_ttl=0"),
        ("autoretry_for", "retry=Retry(on=(...,))"),
        ("default_retry_delay", "retry=Retry(base=SECONDS)"),
        ("time_limit", "timeout=SECONDS"),
    ],
)
def test_celerys_options_are_refused_with_penstocks_name(option: str, instead: str) -> None:
    app = Penstock("tasks", broker=f"memory://{new_id()}")
    with pytest.raises(ConfigError, match=f"no option {option!r}; here that is {re.escape(instead)}$"):
        app.task(**{option: True})(lambda: None)  # type: ignore[call-overload]  # it is to be refused


def test_the_retry_policy_and_its_defaults() -> None:
    signature = inspect.signature(Retry)
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    assert defaults == {
        "attempts": 25, "base": 2, "cap": 216_000, "jitter": 0.15, "on": (Exception,), "never": (), "within": None,
        "delay": None,
    }  # fmt: skip
    three_weeks = sum(min(216_000, 2 * 2 ** (n - 1)) for n in range(1, 25)) / 86_400
    assert 18 < three_weeks < 25


async def test_retries_reject_and_retry_later(app: Penstock) -> None:
    runs: list[str] = []

    @app.task(retry=5)
    def number() -> int:
        return current_job().max_attempts

    @app.task(retry=False)
    def once() -> None:
        raise ValueError("no")

    @app.task(retry=Retry(attempts=3, base=0.01, delay=lambda n, error: 0.01))
    def third_time() -> int:
        if current_job().attempt < 3:
            raise ValueError("not yet")
        return current_job().attempt

    @app.task
    def rejected() -> None:
        raise Reject("why")

    @app.task
    async def put_off() -> int:
        runs.append("run")
        if len(runs) == 1:
            raise RetryLater(0.01)
        return current_job().attempt

    async with app, app.worker():
        assert await (await number.adelay()).aresult(timeout=10) == 5
        assert await (await third_time.adelay()).aresult(timeout=10) == 3
        assert await (await put_off.adelay()).aresult(timeout=10) == 1, "it spends no attempt"
        for failing, text in ((once, "no"), (rejected, "why")):
            job = await failing.adelay()
            with pytest.raises(JobFailed, match=text):
                await job.aresult(timeout=10)
            assert await job.astatus() is JobState.FAILED


def test_types_are_generic() -> None:
    app = Penstock("tasks", broker=f"memory://{new_id()}")

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    typed: Task[[int, int], int, int] = add
    make: Callable[[int, int], JobHandle[int]] = typed.delay
    assert callable(make)


# --- the handle


async def test_results_and_what_is_raised_in_their_place(app: Penstock) -> None:
    @app.task(retry=Retry(attempts=6, base=60))
    def unlucky() -> None:
        raise ValueError("no luck")

    @app.task
    def nothing() -> None: ...

    @app.task(result_ttl=0)
    def unkept() -> int:
        return 1

    @app.task(retry=False)
    def waits(other: str) -> Any:
        return app.job(other).result(timeout=5)

    async with app, app.worker():
        assert await (await nothing.adelay()).aresult(timeout=10) is None
        job = await unlucky.adelay()
        while await job.astatus() is not JobState.SCHEDULED:  # noqa: ASYNC110 - the broker tells of ends only
            await asyncio.sleep(0.005)
        with pytest.raises(ResultTimeout, match=r"attempt 2 of 6 in .*, last error ValueError") as raised:
            await job.aresult(timeout=0.01)
        assert isinstance(raised.value, TimeoutError)
        assert await job.acancel()
        with pytest.raises(JobCancelled):
            await job.aresult(timeout=10)
        with pytest.raises(ConfigError, match="result_ttl"):
            await (await unkept.adelay()).aresult(timeout=10)
        with pytest.raises(PenstockError, match="aresult"):
            job.result(timeout=1)
        with pytest.raises(JobFailed, match="allow_wait"):
            await (await waits.adelay(job.id)).aresult(timeout=10)


async def test_a_wait_inside_a_task_is_possible_where_it_is_asked_for(app: Penstock) -> None:
    @app.task
    def one() -> int:
        return 1

    @app.task(retry=False)
    def waits() -> int:
        return 1 + one.delay().result(timeout=5, allow_wait=True)

    async with app, app.worker():
        assert await (await waits.adelay()).aresult(timeout=10) == 2


async def test_the_remote_error_is_data(app: Penstock) -> None:
    @app.task(retry=False)
    def fails() -> None:
        raise ValueError("no luck")

    @app.task(retry=False)
    def odd() -> object:
        return object()

    async with app, app.worker():
        with pytest.raises(JobFailed) as raised:
            await (await fails.adelay()).aresult(timeout=10)
        assert (raised.value.error_type, raised.value.error_message) == ("ValueError", "no luck")
        assert "in fails" in raised.value.remote_traceback
        with pytest.raises(JobFailed) as raised:
            await (await odd.adelay()).aresult(timeout=10)
        assert raised.value.cause == "result"


async def test_an_expired_job_says_so(app: Penstock) -> None:
    @app.task
    def late() -> None: ...

    job = await late.options(expires=0.01).adelay()
    await asyncio.sleep(0.02)
    async with app, app.worker():
        with pytest.raises(JobExpired):
            await job.aresult(timeout=10)


# --- inside a job


async def test_the_current_job(app: Penstock) -> None:
    @app.task(timeout=60, retry=3)
    def look() -> dict[str, Any]:
        job = current_job()
        job.progress(1, 2, "half")
        return {
            "id": job.id, "task": job.task, "queue": job.queue, "attempt": job.attempt, "most": job.max_attempts,
            "enqueued": job.enqueued_at <= datetime.now(UTC), "ends": job.deadline_at is not None,
            "headers": dict(job.headers), "cancelled": job.cancelled(), "stopping": job.stopping(),
        }  # fmt: skip

    async with app, app.worker():
        job = await look.options(headers={"a": "b"}).adelay()
        assert await job.aresult(timeout=10) == {
            "id": job.id, "task": look.name, "queue": "default", "attempt": 1, "most": 3, "enqueued": True,
            "ends": True, "headers": {"a": "b"}, "cancelled": False, "stopping": False,
        }  # fmt: skip
    with pytest.raises(PenstockError, match="outside a job"):
        current_job()


# --- names


def test_names() -> None:
    app = Penstock("tasks", broker=f"memory://{new_id()}")

    @app.task
    def f() -> None: ...

    @app.task(name="g")
    def other() -> None: ...

    assert f.name == f"{__name__}.test_names.<locals>.f"
    assert other.name == "g"
    with pytest.raises(ConfigError, match="two tasks are named 'g'"):
        app.task(name="g")(lambda: None)
    assert (app.name, app.default_queue) == ("tasks", "default")


def test_the_applications_arguments_and_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "memory://from-the-environment")
    app = Penstock("tasks")
    assert app.address.shown() == "memory://from-the-environment"
    settings = {
        name: app.settings[name]
        for name in ("namespace", "default_queue", "lease", "max_crashes", "max_body")
    }
    assert settings == {
        "namespace": "penstock", "default_queue": "default", "lease": 15, "max_crashes": 3, "max_body": 1_048_576
    }  # fmt: skip


# --- arguments


class Colour(Enum):
    RED = "red"


class Film(TypedDict):
    title: str


@dataclass
class Point:
    x: int


@attrs.define
class Box:
    side: float


async def test_arguments_of_every_kind_arrive_as_they_were(app: Penstock) -> None:
    from pydantic import BaseModel

    class User(BaseModel):
        name: str

    globals()["User"] = User  # annotations are looked up in the module
    given: dict[str, Any] = {
        "number": 1, "ratio": 0.5, "word": "a", "yes": True, "none": None, "raw": b"\0", "at": datetime.now(UTC),
        "on": date(2026, 1, 2), "span": timedelta(seconds=3), "id": uuid4(), "money": Decimal("1.10"),
        "colour": Colour.RED, "rows": [1], "names": {"a": 1}, "pair": (1, "b"), "kinds": {1, 2}, "point": Point(1),
        "size": Size(1, 2), "box": Box(1.5), "film": Film(title="x"), "either": "text", "user": User(name="x"),
    }  # fmt: skip

    @app.task(retry=False)
    def check(
        number: int, ratio: float, word: str, yes: bool, none: None, raw: bytes, at: datetime, on: date,
        span: timedelta,
        id: UUID, money: Decimal, colour: Colour, rows: list[int], names: dict[str, int], pair: tuple[int, str],
        kinds: set[int], point: Point, size: Size, box: Box, film: Film, either: int | str, user: User,  # type: ignore[valid-type]
    ) -> bool:  # fmt: skip
        return list(locals().values())[:22] == list(given.values())

    async with app, app.worker():
        assert await (await check.adelay(**given)).aresult(timeout=10) is True


def test_wrong_arguments_fail_in_the_caller() -> None:
    app = Penstock("tasks", broker=f"memory://{new_id()}")

    @app.task
    def typed(user_id: int) -> None: ...

    @app.task
    def free(value) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(InvalidArguments, match=r"'user_id'.*int.*str") as raised:
        typed.delay("one")  # type: ignore[arg-type]
    assert isinstance(raised.value, TypeError)
    for value in (1, 0.5, "a", True, None, [1], {"a": 1}):
        free.delay(value)
    for value in ((1,), datetime.now(UTC), b"", {1: 2}):
        with pytest.raises(InvalidArguments, match="annotate it"):
            free.delay(value)
    for value in (float("nan"), float("inf")):
        with pytest.raises(InvalidArguments):
            free.delay(value)
    with pytest.raises(ConfigError):

        @app.task
        def unclear(value: Point | Size) -> None: ...


# --- hooks


async def test_middleware_and_hooks(app: Penstock) -> None:
    said: list[str] = []

    @app.middleware
    async def m(job: Any, call: Callable[[], Awaitable[Any]]) -> Any:
        said.append(f"before {job.task}")
        try:
            return await call()
        finally:
            said.append("after")

    @app.on("worker_start")
    def started() -> None:
        said.append("start")

    @app.on("worker_stop")
    async def stopped() -> None:
        said.append("stop")

    @app.on("attempt_failed")
    def attempt_failed(job: Any, error: BaseException) -> None:
        said.append(f"attempt failed: {error}")

    @app.on("job_failed")
    async def job_failed(job: Any, error: BaseException) -> None:
        said.append(f"job failed: {error}")

    @app.task(name="sync", retry=False)
    def sync() -> None:
        said.append("runs")
        raise ValueError("no")

    async with app, app.worker():
        with pytest.raises(JobFailed):
            await (await sync.adelay()).aresult(timeout=10)
    assert said[:4] == ["start", "before sync", "runs", "after"]
    assert sorted(said[4:]) == ["attempt failed: no", "job failed: no", "stop"]
    assert said[-1] == "stop"


# --- application


async def test_what_is_stored(app: Penstock) -> None:
    @app.task(tags=("x",))
    def add(a: int) -> None: ...

    job = await add.adelay(1)
    assert [queue.queue for queue in await app.aqueues()] == ["default"]
    assert [each.id async for each in app.ajobs(queue="default", task=add.name, state="ready", tag="x")] == [
        job.id
    ]
    async with app, app.worker(concurrency=3) as worker:
        [seen] = await app.aworkers()
        assert (seen.id, seen.concurrency) == (worker.id, 3)


def test_what_is_stored_for_blocking_callers(app: Penstock) -> None:
    @app.task(tags=("x",))
    def add(a: int) -> None: ...

    job = add.delay(1)
    assert [queue.queue for queue in app.queues()] == ["default"]
    assert [each.id for each in app.jobs(queue="default", task=add.name, state="ready", tag="x")] == [job.id]
    assert list(app.workers()) == []
    app.close()
    assert add.delay(2).status() == "ready", "closed clients come back"


# --- resources


async def test_resources(app: Penstock) -> None:
    opened: list[str] = []

    @app.resource
    async def db() -> AsyncIterator[str]:
        opened.append("db")
        yield "pool"
        opened.append("db closed")

    @app.resource(scope="job")
    def session() -> Iterator[str]:
        opened.append("session")
        yield "session"

    @app.task
    async def charge(order_id: int, pool: Annotated[str, db] = INJECTED) -> str:
        return f"{order_id} {pool} {db.get()}"

    @app.task
    def save(order_id: int, s: Annotated[str, session] = INJECTED) -> str:
        return f"{order_id} {s}"

    async with app, app.worker():
        assert [await (await charge.adelay(n)).aresult(timeout=10) for n in (1, 2)] == [
            "1 pool pool",
            "2 pool pool",
        ]
        assert [await (await save.adelay(n)).aresult(timeout=10) for n in (1, 2)] == [
            "1 session",
            "2 session",
        ]
    assert sorted(opened) == ["db", "db closed", "session", "session"]
    with pytest.raises(InvalidArguments, match="injected"):
        await charge.adelay(1, pool="mine")
    with pytest.raises(ConfigError, match="async"):

        @app.task
        def wrong(pool: Annotated[str, db] = INJECTED) -> None: ...


@asynccontextmanager
async def _working(app: Penstock) -> AsyncIterator[None]:
    async with app, app.worker(queues=["mail", "bulk", "default"]):
        yield


# --- class tasks


async def test_class_tasks_in_sidekiqs_spelling(app: Penstock) -> None:
    from penstock.compat.sidekiq import Job, Worker

    assert Worker is Job

    class EmailWorker(Job, app=app, queue="mail", retry=5):
        def perform(self, user_id: int, email: str) -> str:
            return f"{current_job().queue} {user_id} {email} {current_job().max_attempts}"

    def enqueue() -> list[JobHandle[str]]:
        when = datetime.now(UTC) + timedelta(hours=1)
        later = [EmailWorker.perform_in(60, 1, "a@b.c"), EmailWorker.perform_at(when, 1, "a@b.c")]
        assert [job.status() for job in later] == ["scheduled", "scheduled"]
        return [
            EmailWorker.perform_async(1, "a@b.c"),
            *EmailWorker.perform_bulk([(1, "a"), (2, "b")]),
            EmailWorker.set(queue="bulk").perform_async(1, "a"),
        ]

    jobs = await asyncio.to_thread(enqueue)
    async with _working(app):
        assert [await job.aresult(timeout=10) for job in jobs] == [
            "mail 1 a@b.c 6", "mail 1 a 6", "mail 2 b 6", "bulk 1 a 6"
        ]  # fmt: skip


# --- states and brokers


def test_the_states() -> None:
    assert {str(state) for state in JobState} == {
        "scheduled", "ready", "running", "succeeded", "failed", "cancelled", "expired", "quarantined"
    }  # fmt: skip


def test_the_embedded_default_is_a_file_beside_the_project(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_BROKER_URL", raising=False)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "sub").mkdir()
    source = tmp_path / "sub" / "shop.py"
    source.write_text("from penstock import Penstock\napp = Penstock('shop')\n")
    made: dict[str, Any] = {"__name__": "shop", "__file__": str(source)}
    exec(compile(source.read_text(), str(source), "exec"), made)
    assert made["app"].address.shown().endswith(f"{tmp_path}/penstock.db")
