"""Resources: when they open and close, in which order, for whom, and what happens when they fail.

Without annotations from the future: those name resources that are local to a test.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest

from penstock import INJECTED, ConfigError, InvalidArguments, JobFailed, Penstock, Retry
from penstock.errors import PenstockError
from penstock.runtime.resources import Resource
from tests.runtime.conftest import WITHIN_S, Working

Said = list[str]


@pytest.fixture
def said() -> Said:
    return []


def sync_resource(said: Said, name: str, scope: str = "process") -> Resource[str]:
    def generate() -> Iterator[str]:
        said.append(f"open {name}")
        try:
            yield name
        except ValueError as error:
            said.append(f"{name} saw {error}")
            raise
        finally:
            said.append(f"close {name}")

    return Resource(generate, scope)


def async_resource(said: Said, name: str, scope: str = "process") -> Resource[str]:
    async def generate() -> AsyncIterator[str]:
        said.append(f"open {name}")
        await asyncio.sleep(0)
        try:
            yield name
        except ValueError as error:
            said.append(f"{name} saw {error}")
            raise
        finally:
            await asyncio.sleep(0)
            said.append(f"close {name}")

    return Resource(generate, scope)


def test_one_for_the_process_opened_on_first_use(app: Penstock, working: Working, said: Said) -> None:
    first, second = sync_resource(said, "first"), sync_resource(said, "second")

    @app.task
    def one(a: Annotated[str, first] = INJECTED) -> str:
        return a

    @app.task
    def both(x: int, b: Annotated[str, second] = INJECTED, a: Annotated[str, first] = INJECTED) -> list[Any]:
        return [x, a, b]

    with working():
        assert not said
        assert one.delay().result(WITHIN_S) == "first"
        assert both.delay(1).result(WITHIN_S) == [1, "first", "second"]
        assert both.delay(2).result(WITHIN_S) == [2, "first", "second"]
        assert said == ["open first", "open second"]
    assert said[2:] == ["close second", "close first"]


def test_coroutines_get_both_kinds(app: Penstock, working: Working, said: Said) -> None:
    sync, late = sync_resource(said, "sync"), async_resource(said, "async")

    @app.task
    async def both(a: Annotated[str, sync] = INJECTED, b: Annotated[str, late] = INJECTED) -> str:
        return f"{a} {b} {sync.get()} {late.get()}"

    with working(concurrency=10):
        jobs = [both.delay() for _ in range(10)]
        assert {job.result(WITHIN_S) for job in jobs} == {"sync async sync async"}
        assert said == ["open sync", "open async"]  # though ten asked at once
    assert sorted(said[2:]) == ["close async", "close sync"]


@pytest.mark.parametrize("is_async", [False, True])
def test_one_for_each_job(app: Penstock, working: Working, said: Said, is_async: bool) -> None:
    inner = (async_resource if is_async else sync_resource)(said, "inner", "job")
    outer = sync_resource(said, "outer", "job")

    if is_async:

        @app.task(retry=False)
        async def work(
            fail: bool, o: Annotated[str, outer] = INJECTED, i: Annotated[str, inner] = INJECTED
        ) -> None:
            said.append(f"{outer.get()} {inner.get()} {o} {i}")
            if fail:
                raise ValueError("odd")
    else:

        @app.task(retry=False)
        def work(
            fail: bool, o: Annotated[str, outer] = INJECTED, i: Annotated[str, inner] = INJECTED
        ) -> None:
            said.append(f"{outer.get()} {inner.get()} {o} {i}")
            if fail:
                raise ValueError("odd")

    opened = ["open outer", "open inner", "outer inner outer inner"]
    with working():
        work.delay(False).result(WITHIN_S)
        assert said == [*opened, "close inner", "close outer"]
        said.clear()
        with pytest.raises(JobFailed, match="odd"):
            work.delay(True).result(WITHIN_S)
        assert said == [*opened, "inner saw odd", "close inner", "outer saw odd", "close outer"]


@pytest.mark.parametrize("is_async", [False, True])
def test_one_that_swallows_the_error_does_not_make_it_a_success(
    app: Penstock, working: Working, is_async: bool
) -> None:
    def quiet() -> Iterator[None]:
        with contextlib.suppress(ValueError):
            yield

    async def aquiet() -> AsyncIterator[None]:
        with contextlib.suppress(ValueError):
            yield

    if is_async:
        aresource = Resource(aquiet, "job")

        @app.task(retry=False)
        async def work(q: Annotated[None, aresource] = INJECTED) -> None:
            raise ValueError("odd")
    else:
        resource = Resource(quiet, "job")

        @app.task(retry=False)
        def work(q: Annotated[None, resource] = INJECTED) -> None:
            raise ValueError("odd")

    with working(), pytest.raises(JobFailed, match="odd"):
        work.delay().result(WITHIN_S)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_one_that_fails_while_it_closes_fails_its_job(
    app: Penstock, working: Working, is_async: bool, fails: bool
) -> None:
    def bad() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cannot commit")

    async def abad() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cannot commit")

    if is_async:
        aresource = Resource(abad, "job")

        @app.task(retry=False)
        async def work(b: Annotated[int, aresource] = INJECTED) -> None:
            if fails:
                raise ValueError("odd")
    else:
        resource = Resource(bad, "job")

        @app.task(retry=False)
        def work(b: Annotated[int, resource] = INJECTED) -> None:
            if fails:
                raise ValueError("odd")

    with working(), pytest.raises(JobFailed, match="cannot commit") as caught:
        work.delay().result(WITHIN_S)
    assert ("odd" in caught.value.remote_traceback) is fails


def test_one_that_cannot_be_opened_is_tried_again(app: Penstock, working: Working) -> None:
    tries: list[int] = []

    def flaky() -> Iterator[int]:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("no database yet")
        yield len(tries)

    resource = Resource(flaky)

    @app.task(retry=Retry(attempts=3, base=0.01))
    def work(f: Annotated[int, resource] = INJECTED) -> int:
        return f

    with working():
        assert work.delay().result(WITHIN_S) == 3
        assert work.delay().result(WITHIN_S) == 3


def test_a_failure_at_the_end_does_not_keep_others_open(
    app: Penstock, working: Working, said: Said, caplog: pytest.LogCaptureFixture
) -> None:
    def bad() -> Iterator[int]:
        yield 1
        raise OSError("it would not close")

    async def abad() -> AsyncIterator[int]:
        yield 1
        raise OSError("nor would this")

    good, agood = sync_resource(said, "good"), async_resource(said, "agood")
    resource, aresource = Resource(bad), Resource(abad)

    @app.task
    async def work(
        g: Annotated[str, good] = INJECTED,
        ag: Annotated[str, agood] = INJECTED,
        b: Annotated[int, resource] = INJECTED,
        ab: Annotated[int, aresource] = INJECTED,
    ) -> None:
        pass

    with working() as beside:
        work.delay().result(WITHIN_S)
    assert beside.end() == 0
    assert sorted(said[2:]) == ["close agood", "close good"]
    assert "a resource failed while it was closed" in caplog.text
    assert "an async resource failed while it was closed" in caplog.text


def test_get(app: Penstock, working: Working, said: Said) -> None:
    db, adb, session = (
        sync_resource(said, "db"),
        async_resource(said, "adb"),
        async_resource(said, "session", "job"),
    )
    local = sync_resource(said, "local", "job")

    @app.task
    def undeclared() -> str:
        return f"{db.get()} {local.get()} {local.get()}"

    @app.task(retry=False)
    def wrong(number: int) -> str:
        return (adb, session)[number].get()

    with working():
        assert undeclared.delay().result(WITHIN_S) == "db local local"
        assert said == ["open db", "open local", "close local"]
        for number in range(2):
            with pytest.raises(JobFailed, match="an async resource is opened by being declared"):
                wrong.delay(number).result(WITHIN_S)
    with pytest.raises(PenstockError, match="outside a job"):
        db.get()


def test_one_asked_for_twice_is_one(app: Penstock, working: Working, said: Said) -> None:
    sync, late = sync_resource(said, "sync", "job"), async_resource(said, "async", "job")

    @app.task
    async def work(
        a: Annotated[str, sync] = INJECTED,
        b: Annotated[str, sync] = INJECTED,
        c: Annotated[str, late] = INJECTED,
        d: Annotated[str, late] = INJECTED,
    ) -> str:
        return f"{a} {b} {c} {d}"

    with working():
        assert work.delay().result(WITHIN_S) == "sync sync async async"
    assert said == ["open sync", "open async", "close async", "close sync"]


def test_a_resource_may_use_another(app: Penstock, working: Working, said: Said) -> None:
    db = sync_resource(said, "db")

    def open_session() -> Iterator[str]:
        yield f"session of {db.get()}"
        said.append("close session")

    session = Resource(open_session, "job")

    @app.task
    def work(s: Annotated[str, session] = INJECTED) -> str:
        return s

    with working():
        assert work.delay().result(WITHIN_S) == "session of db"
    assert said == ["open db", "close session", "close db"]


def test_each_is_opened_once_though_many_threads_ask(app: Penstock, working: Working) -> None:
    opened: list[int] = []
    together = threading.Barrier(4)

    def slow() -> Iterator[int]:
        opened.append(1)
        yield len(opened)

    resource = Resource(slow)

    @app.task
    def work() -> int:
        together.wait(WITHIN_S)
        return resource.get()

    with working(concurrency=4):
        assert [job.result(WITHIN_S) for job in work.delay_many([()] * 4)] == [1] * 4


def test_what_is_refused_when_it_is_declared(app: Penstock, said: Said) -> None:
    late = async_resource(said, "late")

    def plain() -> int:
        return 1

    def takes(x: int) -> Iterator[int]:
        yield x

    def fine() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigError, match="a generator function that yields its value once"):
        Resource(plain)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="takes no parameters"):
        Resource(takes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="scope='for ever'"):
        Resource(fine, "for ever")
    assert "fine" in repr(Resource(fine))

    with pytest.raises(ConfigError, match="make the task async def"):

        @app.task
        def sync(a: Annotated[str, late] = INJECTED) -> None: ...

    with pytest.raises(ConfigError, match="annotate it with a resource"):

        @app.task
        def no_resource(a: Annotated[str, "late"] = INJECTED) -> None: ...

    with pytest.raises(ConfigError, match=r"annotate it Annotated\[Type, resource\]"):

        @app.task
        def bare(a: str = INJECTED) -> None: ...

    with pytest.raises(ConfigError, match="injected ones come last"):

        @app.task
        async def not_last(a: Annotated[str, late] = INJECTED, b: int = 1) -> None: ...


def test_an_injected_argument_is_not_given(app: Penstock, said: Said) -> None:
    db = sync_resource(said, "db")

    @app.task
    def work(x: int, d: Annotated[str, db] = INJECTED) -> str:
        return f"{x} {d}"

    with pytest.raises(InvalidArguments, match="injected"):
        work.delay(1, d="mine")
    with pytest.raises(InvalidArguments):
        work.delay(1, "mine")
    assert work(1, "mine") == "1 mine"  # a plain call may
