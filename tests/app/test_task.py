"""What users type: declaring, calling, enqueueing."""

from __future__ import annotations

import asyncio
import enum
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID, uuid4

import attrs
import msgspec
import pydantic
import pytest

from penstock import (
    ConfigError,
    InvalidArguments,
    JobHandle,
    JobState,
    PayloadTooLarge,
    Penstock,
    Retry,
)
from tests.app.conftest import Working


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


class Shape(msgspec.Struct):
    name: str
    points: list[Point]


@attrs.define
class Size:
    width: int


class Model(pydantic.BaseModel):
    when: datetime
    size: int = 3


class Person(TypedDict):
    name: str


def name_of(part: Any) -> str:
    """The same in every process that collects the tests: no address, no random id."""
    return part if isinstance(part, str) else str(getattr(part, "__name__", type(part).__name__))


TYPED: list[tuple[Any, Any]] = [
    (int, 5),
    (float, 1.5),
    (float, 2),
    (str, "grüß"),
    (bool, True),
    (None, None),
    (bytes, b"\x00\xff"),
    (datetime, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
    (date, date(2026, 1, 2)),
    (timedelta, timedelta(seconds=90)),
    (UUID, uuid4()),
    (Decimal, Decimal("1.10")),
    (Colour, Colour.RED),
    (list[int], [1, 2]),
    (dict[str, int], {"a": 1}),
    (dict[int, str], {1: "a"}),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (Point, Point(1, 2.5)),
    (Shape, Shape("s", [Point(1, 2.0)])),
    (Size, Size(3)),
    (Model, Model(when=datetime(2026, 1, 2, tzinfo=UTC))),
    (Person, {"name": "a"}),
    (int | None, None),
    (int | str, "a"),
]


@pytest.mark.parametrize(("kind", "value"), TYPED, ids=name_of)
def test_every_annotated_type_arrives_and_returns_as_it_was_given(
    app: Penstock, working: Working, kind: Any, value: Any
) -> None:
    seen: list[Any] = []

    def take(value: Any) -> Any:
        seen.append(value)
        return value

    take.__annotations__ = {"value": kind, "return": kind}
    task = app.task(take)
    with working():
        result = task.delay(value).result(10)
    assert seen == [value]
    assert type(seen[0]) is type(value) or kind is float
    assert result == value


@pytest.mark.parametrize("value", ["a", 5, 1.5, True, None, [1, {"a": [None]}], {"k": "v"}], ids=name_of)
def test_an_unannotated_parameter_takes_what_json_gives_back(
    app: Penstock, working: Working, value: Any
) -> None:
    @app.task
    def take(value):  # type: ignore[no-untyped-def]
        return [value]

    with working():
        assert take.delay(value).result(10) == [value]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ((1,), "tuple"),
        ({1}, "set"),
        ({1: "a"}, "dict"),
        (b"x", "bytes"),
        (datetime.now(UTC), "datetime"),
        (uuid4(), "UUID"),
        (object(), "object"),
        (float("nan"), "not finite"),
        ([float("inf")], "not finite"),
        (Point(1, 2), "Point"),
    ],
    ids=name_of,
)
def test_an_unannotated_parameter_refuses_what_json_would_change(
    app: Penstock, value: Any, named: str
) -> None:
    @app.task
    def take(value):  # type: ignore[no-untyped-def]
        ...

    with pytest.raises(InvalidArguments, match=named) as caught:
        take.delay(value)
    assert "'value'" in str(caught.value)


def test_a_wrong_argument_fails_in_the_caller_with_name_and_types(app: Penstock) -> None:
    @app.task
    def send(user_id: int, address: str, *, copies: int = 1) -> None: ...

    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        (("5", "a@b.c"), {}, "'user_id': expected int, got str"),
        ((5, b"a"), {}, "'address': expected str, got bytes"),
        ((True, "a"), {}, "'user_id': expected int, got bool"),
        ((5, datetime.now(UTC)), {}, "'address': expected str, got datetime"),
        ((5, "a"), {"copies": "2"}, "'copies': expected int, got str"),
        ((5,), {}, "missing argument.*address"),
        ((5, "a", 1), {}, "takes 2 positional"),
        ((5, "a"), {"address": "b"}, "'address' was given twice"),
        ((5, "a"), {"colour": 1}, "no parameter 'colour'"),
    ]
    for args, kwargs, text in cases:
        with pytest.raises(InvalidArguments, match=text):
            send.delay(*args, **kwargs)
    for call in [("5", "a"), {"user_id": 5, "colour": 1}]:
        with pytest.raises(TypeError):
            send.delay_many([call])


def test_a_secret_argument_is_never_quoted(app: Penstock) -> None:
    @app.task
    def login(password: int) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        login.delay("hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_a_nan_hides_in_no_annotated_parameter(app: Penstock) -> None:
    @app.task
    def take(values: list[float | None], point: Point | None = None) -> None: ...

    with pytest.raises(InvalidArguments, match="not finite"):
        take.delay([1.0, float("nan")])
    with pytest.raises(InvalidArguments, match="point"):
        take.delay([], Point(1, float("inf")))


def test_a_body_above_the_limit_is_refused_with_its_size(app: Penstock) -> None:
    @app.task
    def take(text: str) -> None: ...

    with pytest.raises(PayloadTooLarge, match=r"1,0\d\d,\d\d\d bytes.*max_body=1,048,576"):
        take.delay("x" * 1_048_576)


def test_a_task_stays_a_plain_function(app: Penstock) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        """Adds."""
        return x + y

    @app.task
    async def aadd(x: int, y: int) -> int:
        return x + y

    assert add(1, 2) == 3
    assert asyncio.run(aadd(1, 2)) == 3
    assert add.__doc__ == "Adds."
    assert add.__name__ == "add"


def test_names(app: Penstock) -> None:
    @app.task
    def one() -> None: ...

    @app.task(name="mail.two")
    def two() -> None: ...

    assert one.name == f"{__name__}.test_names.<locals>.one"
    assert two.name == "mail.two"
    with pytest.raises(ConfigError, match=r"two tasks are named 'mail.two': .* and .*name="):
        app.task(name="mail.two")(lambda: None)


def test_a_script_run_as_main_gives_its_tasks_its_module_name(tmp_path: Any) -> None:
    script = tmp_path / "shop.py"
    script.write_text(
        "from penstock import Penstock\n"
        "app = Penstock('x', broker='memory://')\n"
        "@app.task\n"
        "def f() -> None: ...\n"
        "print(f.name, app.module)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["shop.f", "shop"]
    done = subprocess.run(
        [sys.executable, "-m", "shop"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["shop.f", "shop"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bind": True}, "no option 'bind'.*current_job"),
        ({"max_retries": 3}, r"Retry\(attempts"),
        ({"acks_late": True}, "late is the default"),
        ({"ignore_result": True}, "result_ttl=0"),
        ({"colour": 1}, "no option 'colour'"),
        ({"lane": "fibre"}, "loop, thread, process"),
        ({"lane": "loop"}, "async def"),
        ({"delivery": "twice"}, "at_least_once, at_most_once"),
        ({"delivery": "at_most_once", "retry": 3}, "runs a job once"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": -1}, "not a duration"),
        ({"timeout": "5"}, "not str"),
        ({"expires": float("inf")}, "not a duration"),
        ({"priority": 10}, "0 to 9"),
        ({"queue": "a b"}, "queue name"),
        ({"queue": "a:b"}, "queue name"),
        ({"retry": 0}, "at least 1"),
        ({"retry": "often"}, "Retry"),
        ({"tags": "mail"}, "sequence of strings"),
    ],
    ids=name_of,
)
def test_an_option_that_cannot_work_is_refused_when_the_task_is_declared(
    app: Penstock, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        app.task(**options)(lambda: None)


def test_what_cannot_be_a_task_is_refused(app: Penstock) -> None:
    def generator() -> Any:
        yield 1

    def ambiguous(when: datetime | str) -> None: ...

    with pytest.raises(ConfigError, match="generator"):
        app.task(generator)
    with pytest.raises(ConfigError, match="function is needed"):
        app.task(Point)  # type: ignore[arg-type, type-var]
    with pytest.raises(ConfigError, match="'when'"):
        app.task(ambiguous)
    with pytest.raises(ConfigError, match="async def runs in"):

        @app.task(lane="thread")
        async def wrong() -> None: ...


def test_a_store_is_refused_until_there_are_stores() -> None:
    with pytest.raises(ConfigError, match="stores come with workflows"):
        Penstock("app", broker="memory://store", store="redis://localhost")


def test_enqueue_many(app: Penstock, working: Working) -> None:
    @app.task
    def send(user_id: int, address: str) -> str:
        return f"{user_id}{address}"

    with working():
        jobs = send.delay_many([(1, "a"), {"user_id": 2, "address": "b"}])
        assert [job.result(10) for job in jobs] == ["1a", "2b"]
        many = send.delay_many((number, "x") for number in range(1_234))
        assert len({job.id for job in many}) == 1_234
        assert [job.result(20) for job in many[::100]] == [f"{number}x" for number in range(0, 1_234, 100)]
        assert asyncio.run(_many(app, send)) == ["7a"]
    with pytest.raises(InvalidArguments, match="tuple or a dict"):
        send.delay_many(["ab"])
    with pytest.raises(ConfigError, match="names one job"):
        send.options(job_id="x").delay_many([(1, "a")])


async def _many(app: Penstock, send: Any) -> list[str]:
    async with app:
        return [await job.aresult(10) for job in await send.adelay_many([(7, "a")])]


def test_options_make_a_copy(app: Penstock) -> None:
    @app.task(priority=2, tags=("a",))
    def f() -> None: ...

    later = f.options(
        countdown=60, priority=9, headers={"k": "v"}, tags=("b",), job_id="order-17", queue="bulk"
    )
    job = later.delay()
    assert job.id == "bulk:order-17"
    assert job.added
    assert job.status() is JobState.SCHEDULED
    assert not later.delay().added
    assert f.delay().status() is JobState.READY
    assert app.job("order-17", queue="bulk").status() is JobState.SCHEDULED
    assert app.job("bulk:order-17") == job


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"countdown": 1, "eta": datetime.now(UTC)}, "exclude each other"),
        ({"countdown": -1}, "not a duration"),
        ({"expires": -1}, "expires: -1 is not a duration"),
        ({"expires": 0}, "expires: above 0 s, or no worker could start it in time; leave it away for never"),
        ({"expires": timedelta(0)}, "expires: above 0 s"),
        ({"eta": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001 - naive on purpose
        ({"eta": 5}, "aware datetime"),
        ({"job_id": "a b"}, "visible ASCII"),
        ({"job_id": ""}, "visible ASCII"),
        ({"priority": True}, "0 to 9"),
        ({"retry": Retry(on=(ValueError,))}, "do not travel"),
        ({"headers": {"a": 1}}, "strings to strings"),
        ({"tags": [""]}, "tags"),
        ({"task_id": "x"}, "job_id"),
        ({"colour": 1}, "no option 'colour'"),
    ],
    ids=name_of,
)
def test_a_call_option_that_cannot_work_is_refused(app: Penstock, options: dict[str, Any], text: str) -> None:
    @app.task
    def f() -> None: ...

    with pytest.raises(ConfigError, match=text):
        f.options(**options)


def test_celerys_spelling(app: Penstock, working: Working) -> None:
    @app.task
    def add(x: int, y: int = 1) -> int:
        return x + y

    with working():
        assert add.apply_async((1,), {"y": 5}, task_id="own", queue="mail", priority=3).result(10) == 6
        assert add.apply_async(args=(1,), countdown=0.01).result(10) == 2
        assert (
            add.apply_async(args=(1,), eta=datetime.now(UTC) + timedelta(seconds=0.05), expires=60).result(10)
            == 2
        )
    with pytest.raises(ConfigError, match="link"):
        add.apply_async((1,), link=5)


def test_by_name(app: Penstock, working: Working) -> None:
    @app.task(name="tasks.add")
    def add(x: int, y: int) -> int:
        return x + y

    stranger = Penstock("stranger", broker=app.settings["broker_url"])
    with working():
        job: JobHandle[Any] = stranger.send("tasks.add", 1, y=2, options={"queue": "mail"})
        assert job.result(10) == 3
        assert app.send("tasks.add", 1, 2).result(10) == 3
        assert asyncio.run(_send(stranger)) == 9
    with pytest.raises(InvalidArguments, match="annotate"):
        stranger.send("tasks.add", (1,))
    with pytest.raises(InvalidArguments, match="expected int"):
        app.send("tasks.add", "1", 2)
    with pytest.raises(ConfigError, match="colour"):
        stranger.send("tasks.add", options={"colour": 1})
    stranger.close()


async def _send(app: Penstock) -> Any:
    async with app:
        return await (await app.asend("tasks.add", 4, 5)).aresult(10)


@pytest.mark.parametrize("args", [1, "ab", None, {"x": 1}])
def test_apply_async_says_what_its_arguments_must_be(app: Penstock, args: Any) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    with pytest.raises(
        InvalidArguments, match=r"^add: apply_async takes its arguments as a tuple, \(value,\) for one"
    ):
        add.apply_async(args)
    with pytest.raises(InvalidArguments, match=r"named arguments as a dict, not int$"):
        add.apply_async((1, 2), 3)  # type: ignore[arg-type]


def test_every_name_is_listed_before_it_is_loaded() -> None:
    code = "import penstock as p, sys; print(set(p.__all__) <= set(dir(p)), 'penstock.app' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False\n", "")
