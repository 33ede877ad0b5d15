"""Function tasks: parameters and results are the function's own, in every way to call it."""

from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from penstock import DeliveryName, JobHandle, LaneName, Penstock, Retry, Task

app = Penstock("typed", broker="memory://typed")


@dataclass
class Size:
    width: int
    height: int


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(
    queue="media", retry=Retry(attempts=5, on=(ConnectionError,)), timeout=30, expires=timedelta(hours=1)
)
def resize(picture: str, *, width: int) -> Size | None:
    return Size(width, width) if picture else None


@app.task
async def fetch(url: str, *headers: str, **query: int) -> list[str]:
    return [url, *headers, *query]


@app.task(lane="process", priority=3, tags=("slow",), delivery="at_most_once")
async def forget(url: str) -> None: ...


@app.task
async def waiting(url: str) -> int:
    return len(url)


def plain_calls() -> None:
    same: Task[[int, int], int, int] = add  # a task is accepted where one of its parameters is wanted
    print(same)
    assert_type(add(1, y=2), int)
    assert_type(resize("a", width=1), Size | None)
    add("1")  # E: arg-type reportArgumentType
    add()  # E: call-arg reportCallIssue
    add(1, z=2)  # E: call-arg reportCallIssue
    resize("a", 1)  # E: call-arg reportCallIssue
    fetch("a", n="b")  # E: unused-coroutine,arg-type reportUnusedCoroutine,reportArgumentType


async def plain_calls_of_coroutines() -> None:
    coroutine: Coroutine[Any, Any, list[str]] = fetch("a", "b", n=1)
    assert_type(await coroutine, list[str])
    assert_type(await fetch("a"), list[str])
    await add(1)  # E: misc reportGeneralTypeIssues
    await fetch(1)  # E: arg-type reportArgumentType


def delay() -> None:
    assert_type(add.delay(1), JobHandle[int])
    assert_type(add.delay(1, 2), JobHandle[int])
    assert_type(add.delay(x=1, y=2), JobHandle[int])
    assert_type(resize.delay("a", width=1), JobHandle[Size | None])
    assert_type(fetch.delay("a", "b", n=1), JobHandle[list[str]])
    assert_type(forget.delay("a"), JobHandle[None])
    add.delay("1")  # E: arg-type reportArgumentType
    add.delay(1, "b")  # E: arg-type reportArgumentType
    add.delay()  # E: call-arg reportCallIssue
    add.delay(1, 2, 3)  # E: call-arg reportCallIssue
    add.delay(1, z=3)  # E: call-arg reportCallIssue
    resize.delay("a")  # E: call-arg reportCallIssue
    resize.delay("a", 1)  # E: call-arg reportCallIssue
    fetch.delay("a", 1)  # E: arg-type reportArgumentType
    fetch.delay("a", n="b")  # E: arg-type reportArgumentType


async def adelay() -> None:
    assert_type(await add.adelay(1), JobHandle[int])
    assert_type(await fetch.adelay("a"), JobHandle[list[str]])
    await add.adelay("1")  # E: arg-type reportArgumentType
    await fetch.adelay()  # E: call-arg reportCallIssue
    add.adelay(1)  # E: unused-coroutine reportUnusedCoroutine
    assert_type(await add.options(countdown=3).adelay(1), JobHandle[int])


def options() -> None:
    assert_type(add.options(countdown=3, queue="mail").delay(1, y=2), JobHandle[int])
    assert_type(fetch.options(eta=datetime.now(UTC), retry=False).delay("a"), JobHandle[list[str]])
    assert_type(add.options(priority=3).options(expires=timedelta(1), tags=["a"]).delay(1), JobHandle[int])
    assert_type(resize.options(headers={"a": "b"}, job_id="mine")("a", width=1), Size | None)
    known: dict[str, Any] = {}
    assert_type(add.options(**known).delay(1), JobHandle[int])
    add.options(countdown=3).delay("1")  # E: arg-type reportArgumentType
    add.options(countdwn=3)  # E: arg-type reportArgumentType
    add.options(countdown="3")  # E: arg-type reportArgumentType
    add.options(eta=3)  # E: arg-type reportArgumentType
    add.options(headers={"a": 1})  # E: dict-item reportArgumentType
    add.options("mail")  # E: call-arg,arg-type reportCallIssue


def many() -> None:
    """``delay_many`` takes rows, which are checked when it runs; its handles have the task's result."""
    assert_type(add.delay_many([(1, 2), {"x": 1}]), list[JobHandle[int]])
    assert_type(fetch.delay_many((str(n),) for n in range(3)), list[JobHandle[list[str]]])
    add.delay_many([("told when it runs",)])
    add.delay_many([1, 2])  # E: list-item reportArgumentType
    add.delay_many(3)  # E: arg-type reportArgumentType


async def many_from_coroutines() -> None:
    assert_type(await add.adelay_many([(1, 2)]), list[JobHandle[int]])
    await add.adelay_many([1])  # E: list-item reportArgumentType


def apply_async() -> None:
    assert_type(add.apply_async((1, 2), countdown=3), JobHandle[int])
    assert_type(fetch.apply_async(kwargs={"url": "a"}, task_id="mine"), JobHandle[list[str]])
    known: dict[str, Any] = {}
    add.apply_async((1, 2), **known)
    add.apply_async((1, 2), countdwn=3)  # E: arg-type reportArgumentType
    add.apply_async(3)  # E: arg-type reportArgumentType
    add.apply_async((1,), countdown="3")  # E: arg-type reportArgumentType


def declarations() -> None:
    app.task(quee="mail")  # E: call-overload reportCallIssue
    app.task(timeout="3")  # E: call-overload reportArgumentType
    Penstock("typed", broker=3)  # E: arg-type reportArgumentType
    Penstock("typed", brokr="memory://typed")  # E: call-arg reportCallIssue
    Retry(attempts="3")  # E: arg-type reportArgumentType
    Retry(on=(ValueError, int))  # E: arg-type reportArgumentType
    Retry(5)  # E: call-arg reportCallIssue


def words(lane: LaneName, delivery: DeliveryName, text: str) -> None:
    app.task(lane=lane, delivery=delivery)
    app.task(lane="proces")  # E: call-overload reportArgumentType
    app.task(delivery="at_mots_once")  # E: call-overload reportArgumentType
    app.task(lane=text)  # E: call-overload reportArgumentType


def error_types() -> None:
    app.task(retry=Retry(on=ValueError, never=UnicodeError))
    app.task(retry=Retry(on=(ValueError, OSError), never=(FileNotFoundError,)))
    Retry(on="ValueError")  # E: arg-type reportArgumentType
    Retry(never=[ValueError])  # E: arg-type reportArgumentType
    Retry(on=ValueError())  # E: arg-type reportArgumentType


def track(job: JobHandle[object]) -> JobHandle[object]:
    return job


def repeat(task: Task[[int, int], object, int | None]) -> None:
    assert_type(task.delay(1, 2), JobHandle[object])
    assert_type(task.options(queue="bulk")(1, 2), int | None)
    number: JobHandle[int] = task.delay(1, 2)  # E: assignment reportAssignmentType
    print(number)


def what_gives_more_is_accepted_where_less_is_wanted() -> None:
    track(add.delay(1))
    track(forget.delay("a"))
    repeat(add)
    either: JobHandle[int | str] = add.delay(1)
    handles: Sequence[JobHandle[object]] = [add.delay(1), resize.delay("a", width=1)]
    later: Task[[str], object, Awaitable[object]] = waiting
    print(either, handles, later)


def and_the_other_way_round_it_is_refused() -> None:
    number: JobHandle[int] = track(add.delay(1))  # E: assignment reportAssignmentType
    text: JobHandle[str] = add.delay(1)  # E: assignment reportAssignmentType
    texts: Task[[int, int], str, int] = add  # E: assignment reportAssignmentType
    called: Task[[int, int], int, str] = add  # E: assignment reportAssignmentType
    other: Task[[str, int], int, int] = add  # E: assignment reportAssignmentType
    repeat(waiting)  # E: arg-type reportArgumentType
    print(number, text, texts, called, other)
