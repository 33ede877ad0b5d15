"""Resources: ``get`` is typed by what is yielded, and an injected parameter may be left out."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, assert_type

from penstock import INJECTED, JobHandle, Penstock, Resource

app = Penstock("typed", broker="memory://typed")


class Pool:
    def execute(self, text: str) -> int:
        return len(text)


@app.resource
async def db() -> AsyncIterator[Pool]:
    yield Pool()


@app.resource
def settings() -> Iterator[dict[str, str]]:
    yield {}


@app.resource(scope="job")
def session() -> Iterator[Pool]:
    yield Pool()


@app.task
async def charge(order_id: int, pool: Annotated[Pool, db] = INJECTED) -> bool:
    assert_type(pool, Pool)
    assert_type(db.get(), Pool)
    assert_type(db.get().execute("select"), int)
    pool.query("select")  # E: attr-defined reportAttributeAccessIssue,reportUnknownMemberType
    db.get().query("select")  # E: attr-defined reportAttributeAccessIssue,reportUnknownMemberType
    return True


@app.task
def read(name: str, *, given: Annotated[dict[str, str], settings] = INJECTED) -> str:
    return given[name]


def kinds() -> None:
    assert_type(db, Resource[Pool])
    assert_type(settings, Resource[dict[str, str]])
    assert_type(session, Resource[Pool])
    assert_type(settings.get(), dict[str, str])
    wrong: Pool = settings.get()  # E: assignment reportAssignmentType
    print(wrong)


def calls() -> None:
    assert_type(charge.delay(1), JobHandle[bool])
    assert_type(read.delay("a"), JobHandle[str])
    assert_type(read("a", given={"a": "b"}), str)
    charge.delay("1")  # E: arg-type reportArgumentType
    read("a", given=Pool())  # E: arg-type reportArgumentType
    charge.delay(1, pool=3)  # E: arg-type reportArgumentType


async def plain_call() -> None:
    assert_type(await charge(1, pool=Pool()), bool)
    assert_type(await charge(1, Pool()), bool)


def refused() -> None:
    @app.resource  # E: arg-type reportCallIssue,reportArgumentType,reportUntypedFunctionDecorator
    def number() -> int:
        return 3

    app.resource(scope="request")  # E: call-overload reportArgumentType
    app.resource(scop="job")  # E: call-overload reportCallIssue
    print(number)
