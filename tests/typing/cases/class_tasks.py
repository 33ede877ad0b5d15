"""Class tasks: what ``perform`` takes and gives is what its siblings take and give."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, assert_type

from penstock import INJECTED, CurrentJob, JobHandle, Penstock, Retry
from penstock.compat.sidekiq import Job, Setter, Worker

app = Penstock("typed", broker="memory://typed")
when = datetime.now(UTC)


class EmailWorker(Job, app=app, queue="mail", retry=5):
    def perform(self, user_id: int, email: str = "") -> str:
        assert_type(self.jid, str)
        assert_type(self.job, CurrentJob)
        return f"{user_id} {email}"


class Fetch(
    Worker, app=app, retry=Retry(attempts=3), timeout=timedelta(seconds=3), tags=["a"], lane="process"
):
    async def perform(self, url: str, *headers: str, wait: int = 0, **query: int) -> list[str]:
        return [url, *headers, *query]


class Forget(Job, app=app):
    def perform(self) -> None: ...


class Base(Job, app=app, queue="mail"):
    pass


class Abstract(Base, ABC):
    @abstractmethod
    def perform(self, x: int) -> int | None: ...


class Concrete(Abstract, priority=3):
    def perform(self, x: int) -> int:
        return x


@app.resource
def number() -> Iterator[int]:
    yield 1


class Injected(Job, app=app):
    def perform(self, x: str, n: Annotated[int, number] = INJECTED) -> int:
        return len(x) + n


def perform_async() -> None:
    assert_type(EmailWorker.perform_async(1, "a"), JobHandle[str])
    assert_type(EmailWorker.perform_async(1), JobHandle[str])
    assert_type(EmailWorker.perform_async(user_id=1, email="a"), JobHandle[str])
    assert_type(EmailWorker.perform_async(1, "a").result(), str)
    assert_type(Fetch.perform_async("a", "b", n=1), JobHandle[list[str]])
    assert_type(Forget.perform_async(), JobHandle[None])
    assert_type(Abstract.perform_async(1), JobHandle[int | None])
    assert_type(Concrete.perform_async(1), JobHandle[int])
    assert_type(Injected.perform_async("a"), JobHandle[int])
    EmailWorker.perform_async("1", "a")  # E: arg-type reportArgumentType
    EmailWorker.perform_async(1, 2)  # E: arg-type reportArgumentType
    EmailWorker.perform_async()  # E: call-arg reportCallIssue
    EmailWorker.perform_async(1, "a", 3)  # E: call-arg reportCallIssue
    EmailWorker.perform_async(1, mail="a")  # E: call-arg reportCallIssue
    Fetch.perform_async(1)  # E: call-overload reportCallIssue,reportArgumentType
    Fetch.perform_async()  # E: call-overload reportCallIssue
    Fetch.perform_async("a", n="b")  # E: call-overload reportCallIssue,reportArgumentType
    Concrete.perform_async("1")  # E: arg-type reportArgumentType
    Injected.perform_async("a", n="b")  # E: arg-type reportArgumentType
    Base.perform_async()  # E: misc reportAttributeAccessIssue,reportUnknownMemberType


def perform_in() -> None:
    assert_type(EmailWorker.perform_in(60, 1, "a"), JobHandle[str])
    assert_type(EmailWorker.perform_in(timedelta(minutes=1), 1, email="a"), JobHandle[str])
    assert_type(Fetch.perform_in(0.5, "a", "b", n=1), JobHandle[list[str]])
    assert_type(Fetch.perform_in(0.5, "a", wait=3), JobHandle[list[str]])
    EmailWorker.perform_in(60)  # E: call-arg reportCallIssue
    EmailWorker.perform_in("60", 1)  # E: arg-type reportArgumentType
    EmailWorker.perform_in(when, 1)  # E: arg-type reportArgumentType
    EmailWorker.perform_in(60, "1")  # E: arg-type reportArgumentType
    Fetch.perform_in(60, 1)  # E: call-overload reportCallIssue,reportArgumentType


def perform_at() -> None:
    assert_type(EmailWorker.perform_at(when, 1, "a"), JobHandle[str])
    assert_type(EmailWorker.perform_at(when.timestamp(), 1, "a"), JobHandle[str])
    assert_type(Fetch.perform_at(when, "a"), JobHandle[list[str]])
    EmailWorker.perform_at("now", 1)  # E: arg-type reportArgumentType
    EmailWorker.perform_at(when, "1")  # E: arg-type reportArgumentType
    EmailWorker.perform_at(timedelta(1), 1)  # E: arg-type reportArgumentType


def perform_bulk() -> None:
    """Rows are checked when it runs; the handles have the task's result."""
    assert_type(EmailWorker.perform_bulk([(1, "a"), {"user_id": 2}]), list[JobHandle[str]])
    assert_type(Fetch.perform_bulk((str(n),) for n in range(3)), list[JobHandle[list[str]]])
    EmailWorker.perform_bulk([1, 2])  # E: list-item reportArgumentType
    EmailWorker.perform_bulk(3)  # E: arg-type reportArgumentType


async def perform_inline() -> None:
    assert_type(EmailWorker.perform_inline(1, "a"), str)
    assert_type(await Fetch.perform_inline("a"), list[str])
    assert_type(Injected.perform_inline("a", n=3), int)
    EmailWorker.perform_inline("1")  # E: arg-type reportArgumentType
    await EmailWorker.perform_inline(1)  # E: misc reportGeneralTypeIssues


async def from_coroutines() -> None:
    assert_type(await EmailWorker.aperform_async(1, "a"), JobHandle[str])
    assert_type(await Fetch.aperform_async("a"), JobHandle[list[str]])
    assert_type(await Fetch.aperform_in(60, "a"), JobHandle[list[str]])
    assert_type(await EmailWorker.aperform_at(when, 1), JobHandle[str])
    assert_type(await Fetch.aperform_bulk([("a",)]), list[JobHandle[list[str]]])
    assert_type(await (await Fetch.aperform_async("a")).aresult(), list[str])
    await EmailWorker.aperform_async("1")  # E: arg-type reportArgumentType
    await EmailWorker.aperform_in(60)  # E: call-arg reportCallIssue
    EmailWorker.aperform_async(1)  # E: unused-coroutine reportUnusedCoroutine


async def setters() -> None:
    assert_type(EmailWorker.set(queue="bulk").perform_async(1, "a"), JobHandle[str])
    assert_type(EmailWorker.set(priority=3).set(wait=60, retry=False).perform_async(1), JobHandle[str])
    assert_type(Fetch.set(wait_until=when).perform_in(60, "a", n=1), JobHandle[list[str]])
    assert_type(Fetch.set(tags=["a"]).perform_at(when, "a"), JobHandle[list[str]])
    assert_type(Fetch.set(expires=3).perform_bulk([("a",)]), list[JobHandle[list[str]]])
    assert_type(await Fetch.set(job_id="mine").aperform_async("a"), JobHandle[list[str]])
    assert_type(Forget.set(queue="bulk"), Setter[[], None])
    EmailWorker.set(queue="bulk").perform_async("1")  # E: arg-type reportArgumentType
    EmailWorker.set(queue="bulk").perform_in(60)  # E: call-arg reportCallIssue
    Fetch.set(queue="bulk").perform_async(1)  # E: arg-type reportArgumentType
    EmailWorker.set(quee="bulk")  # E: call-arg reportCallIssue
    EmailWorker.set(queue=3)  # E: arg-type reportArgumentType
    Base.set(queue="bulk")  # E: misc reportAttributeAccessIssue,reportUnknownMemberType


class Misspelt(Job, app=app, quee="mail"):  # E: call-arg reportCallIssue,reportGeneralTypeIssues
    pass


class NoApplication(Job, app="tasks"):  # E: arg-type reportArgumentType,reportGeneralTypeIssues
    pass


def any_of_them(kind: type[EmailWorker] | type[Forget], anything: Any) -> None:
    assert_type(EmailWorker().perform_async(1), JobHandle[str])
    print(kind, anything)


class Misspelled(Job, app=app, delivery="once"):  # E: arg-type reportArgumentType,reportGeneralTypeIssues
    def perform(self) -> None: ...


def what_gives_more_is_accepted_where_less_is_wanted(setter: Setter[[int, str], object]) -> None:
    assert_type(setter.perform_async(1, "a"), JobHandle[object])
    text: JobHandle[str] = setter.perform_async(1, "a")  # E: assignment reportAssignmentType
    print(text)


def a_setter_of_a_text_is_one_of_an_object() -> None:
    what_gives_more_is_accepted_where_less_is_wanted(EmailWorker.set(queue="bulk"))
    what_gives_more_is_accepted_where_less_is_wanted(Concrete.set())  # E: arg-type reportArgumentType
