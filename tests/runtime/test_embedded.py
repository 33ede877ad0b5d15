"""A worker inside somebody else's process: ``async with app.worker()``."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import pytest
from fastapi import FastAPI

from penstock import (
    INJECTED,
    BrokerUnavailable,
    ConfigError,
    EmbeddedWorker,
    JobFailed,
    Penstock,
    PenstockError,
)
from penstock.brokers.memory.broker import MemoryBroker
from penstock.ids import new_id
from tests.runtime import children_app
from tests.runtime.conftest import WITHIN_S, Doorbell
from tests.servers import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_signals")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def no_signals() -> Iterator[None]:
    """No handler and no wakeup descriptor is another one afterwards."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTSTP, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture
def url(broker_url: str) -> str:
    return broker_url


def make_app(url: str) -> Penstock:
    app = Penstock("embedded", broker=url)
    log: list[str] = []

    @app.resource
    async def pool() -> AsyncIterator[asyncio.AbstractEventLoop]:
        yield asyncio.get_running_loop()
        log.append(f"closed on {threading.current_thread().name}")

    @app.task(name="here")
    async def here(loop: Annotated[asyncio.AbstractEventLoop, pool] = INJECTED) -> list[bool]:
        await asyncio.sleep(0)
        return [loop is asyncio.get_running_loop(), threading.current_thread() is threading.main_thread()]

    @app.task(name="there")
    def there(x: int) -> tuple[int, bool, int]:
        return x, threading.current_thread().name.startswith("penstock-thread"), os.getpid()

    @app.task(name="fails", retry=False)
    def fails() -> None:
        raise ValueError("no")

    app.log = log  # type: ignore[attr-defined]
    return app


async def test_each_lane_runs_where_it_belongs(url: str) -> None:
    app = make_app(url)
    async with app, app.worker(concurrency=2) as worker:
        assert [card.id for card in await app.aworkers()] == [worker.id]
        coroutine, thread, failing = [
            await app.asend("here"),
            await app.asend("there", 7),
            await app.asend("fails"),
        ]
        assert await coroutine.aresult(timeout=WITHIN_S) == [True, True]
        assert await thread.aresult(timeout=WITHIN_S) == (7, True, os.getpid())
        with pytest.raises(JobFailed, match="no"):
            await failing.aresult(timeout=WITHIN_S)
    assert app.log == ["closed on MainThread"]  # type: ignore[attr-defined]
    app.close()


async def test_the_process_lane_runs_in_children(bell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_BELL", bell.path)
    app = children_app.app
    app.configure({"broker_url": f"memory://{new_id()}"})
    async with app, app.worker(concurrency=2):
        assert await (await children_app.add.adelay(1, 2)).aresult(timeout=WITHIN_S) == 3


async def test_an_application_that_children_cannot_find() -> None:
    app = Penstock("hidden", broker=f"memory://{new_id()}")

    @app.task(lane="process", name="f")
    def f() -> None: ...

    with pytest.raises(ConfigError, match="make the application at the top of a module"):
        app.worker()


async def test_a_burst_ends_by_itself() -> None:
    app = make_app(f"memory://{new_id()}")
    jobs = [await app.asend("there", n) for n in range(20)]
    async with app.worker(burst=True) as worker:
        await worker.wait()
        assert [await job.astatus() for job in jobs] == ["succeeded"] * 20
    await app.aclose()


async def test_what_runs_ends_when_the_block_is_left() -> None:
    app = Penstock("embedded", broker=f"memory://{new_id()}")
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.task(name="waits")
    async def waits() -> str:
        begun.set()
        await go_on.wait()
        return "ended"

    job = await waits.adelay()

    async def block() -> None:
        async with app.worker():
            await begun.wait()
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # it drains after an error too
        await block()
    assert not [thread for thread in threading.enumerate() if thread.name == "penstock-io"]
    assert await job.aresult(timeout=1) == "ended"
    await app.aclose()


async def test_the_end_of_the_grace_period() -> None:
    app = Penstock("embedded", broker=f"memory://{new_id()}")
    begun = asyncio.Event()

    @app.task(name="waits")
    async def waits() -> None:
        begun.set()
        await asyncio.sleep(600)

    async with app.worker(grace=0.05) as worker:
        job = await waits.adelay()
        await begun.wait()
        await worker.stop()
        assert await job.astatus() == "ready"  # given back
    await app.aclose()


async def test_a_cancelled_block_gives_back_at_once_when_it_is_cancelled_again() -> None:
    app = Penstock("embedded", broker=f"memory://{new_id()}")
    begun, draining = asyncio.Event(), asyncio.Event()

    @app.task(name="waits")
    async def waits() -> None:
        begun.set()
        await asyncio.sleep(600)

    async def block() -> None:
        async with app.worker(grace=600):
            try:
                await asyncio.sleep(600)
            finally:
                draining.set()

    job = await waits.adelay()
    task = asyncio.create_task(block())
    await begun.wait()
    task.cancel()
    await draining.wait()
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.timeout(WITHIN_S):
            await task
    assert task.cancelled()
    assert await job.astatus() == "ready"
    await app.aclose()


async def test_a_broker_that_is_away() -> None:
    app = Penstock("embedded", broker=f"redis://u:secret@127.0.0.1:{free_port()}/0", enqueue_timeout=0.3)
    mono_before = time.monotonic()
    with pytest.raises(BrokerUnavailable) as raised:
        async with app.worker():
            raise AssertionError("it was entered")
    assert time.monotonic() - mono_before < 5
    assert "secret" not in str(raised.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "penstock-io"]


async def test_a_broker_that_cannot_work() -> None:
    app = Penstock("embedded", broker="sqlite:////proc/nowhere/penstock.db")
    with pytest.raises(PenstockError, match="there is no folder /proc/nowhere"):
        async with app.worker():
            raise AssertionError("it was entered")


async def test_a_start_that_is_cancelled() -> None:
    app = Penstock("embedded", broker=f"redis://127.0.0.1:{free_port()}/0", enqueue_timeout=60)

    async def block() -> None:
        async with app.worker():
            raise AssertionError("it was entered")

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.timeout(WITHIN_S):
            await task
    assert task.cancelled()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"concurrency": 0}, "a whole number, at least 1"),
        ({"concurrency": 10_001}, "at most 10,000"),
        ({"queues": []}, "names no queue"),
        (
            {"queues": "mail=0"},
            "queues: mail=0: the weight of 'mail' is a whole number from 1 to 1000",
        ),
        ({"queues": "a b"}, "queue name 'a b'"),
        ({"grace": -1}, "grace: -1"),
    ],
)
async def test_what_makes_no_sense(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_app("memory://").worker(**given)  # type: ignore[arg-type]


async def test_a_block_is_entered_once() -> None:
    app = make_app(f"memory://{new_id()}")
    block = app.worker(queues="a,default")
    async with block as worker:
        assert isinstance(worker, EmbeddedWorker)
        assert worker.id in repr(worker)
        [card] = await app.aworkers()
        assert list(card.queues) == ["a", "default"]
    with pytest.raises(PenstockError, match="entered before"):
        await block.__aenter__()
    await app.aclose()


async def test_in_the_lifespan_of_fastapi() -> None:
    app = make_app(f"memory://{new_id()}")

    @contextlib.asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        async with app, app.worker():
            yield

    api = FastAPI(lifespan=lifespan)
    async with api.router.lifespan_context(api):
        job = await app.asend("there", 1)
        assert (await job.aresult(timeout=WITHIN_S))[0] == 1


async def test_an_order_ends_it() -> None:
    app = make_app(f"memory://{new_id()}")
    async with app.worker() as worker:
        inspector = await app.inspector()
        await inspector.command(worker.id, "stop", 30)
        async with asyncio.timeout(WITHIN_S):
            await worker.wait()
    await app.aclose()


@pytest.mark.parametrize("leave", ["the block", "by stop"])
async def test_an_order_gives_the_grace_that_leaving_gives(leave: str) -> None:
    app = Penstock("embedded", broker=f"memory://{new_id()}")
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.task(name="waits")
    async def waits() -> str:
        begun.set()
        await go_on.wait()
        return "ended"

    job = await waits.adelay()
    async with app.worker() as worker:
        await begun.wait()
        inspector = await app.inspector()
        await inspector.command(worker.id, "stop", 30)
        async with asyncio.timeout(WITHIN_S):
            while (await app.aworkers())[0].state != "stopping":  # noqa: ASYNC110 - nobody signals it
                await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        if leave == "by stop":
            await worker.stop()
    assert await job.aresult(timeout=1) == "ended"
    await app.aclose()


async def test_leaving_needs_no_thread_of_the_host() -> None:
    app = make_app(f"memory://{new_id()}")
    loop, over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    theirs = asyncio.ensure_future(asyncio.to_thread(over.wait))
    try:
        async with asyncio.timeout(WITHIN_S):
            async with app.worker():
                job = await app.asend("there", 1)
                await job.aresult(timeout=WITHIN_S)
    finally:
        over.set()
        await theirs
    assert not [thread for thread in threading.enumerate() if thread.name == "penstock-io"]
    await app.aclose()


def test_a_host_whose_loop_ends_within_the_block() -> None:
    """A task that exits ends ``asyncio.run``, which cancels all that is left; the worker still drains."""
    app = make_app(f"memory://{new_id()}")
    stray: list[asyncio.Task[None]] = []

    async def exits() -> None:
        raise SystemExit(3)

    async def serve() -> None:
        async with app.worker():
            await (await app.asend("there", 1)).aresult(timeout=WITHIN_S)
            stray.append(asyncio.ensure_future(exits()))
            await asyncio.sleep(600)

    with pytest.raises(SystemExit):
        asyncio.run(serve())
    assert not [thread for thread in threading.enumerate() if thread.name == "penstock-io"]
    app.close()


async def test_a_task_that_nobody_knows_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(f"memory://{new_id()}")
    async with app.worker():
        job = await app.asend("nobody")
        async with asyncio.timeout(WITHIN_S):
            while await job.astatus() != "scheduled":  # noqa: ASYNC110 - nobody signals it
                await asyncio.sleep(0.01)
    assert "no task 'nobody' here" in caplog.text
    await app.aclose()


def test_a_with_that_is_not_async_says_so() -> None:
    app = make_app(f"memory://{new_id()}")
    with pytest.raises(ConfigError, match=r"say: async with app\.worker\(\), in an async def"), app.worker():  # type: ignore[attr-defined]  # what is tested
        pass
    with pytest.raises(ConfigError, match=r"async with app, in an async def.*app\.close\(\)"), app:  # type: ignore[attr-defined]  # what is tested
        pass
    app.close()


async def test_what_the_broker_warns_about_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def warns(_broker: MemoryBroker) -> list[str]:  # as a server does that keeps nothing on disk
        return ["it forgets"]

    monkeypatch.setattr(MemoryBroker, "open", warns)
    app = Penstock("warned", broker=f"memory://{new_id()}")
    for _ in range(2):
        async with app.worker():
            pass
    await app.aclose()
    assert [record.getMessage() for record in caplog.records].count("it forgets") == 1
