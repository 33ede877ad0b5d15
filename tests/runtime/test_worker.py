"""A worker from start to end, in this process, on the memory broker."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable

import pytest

from penstock import (
    BrokerMisconfigured,
    BrokerRejected,
    BrokerUnavailable,
    JobState,
    Penstock,
    Retry,
    current_job,
)
from penstock.ports.broker import Broker
from penstock.runtime.stacks import every_stack
from tests.runtime.conftest import WITHIN_S, Beside, Working, wait_for


def test_running_jobs_finish_and_waiting_ones_are_given_back(app: Penstock) -> None:
    begun, go = threading.Barrier(3), threading.Event()

    @app.task
    def work(number: int) -> int:
        begun.wait(WITHIN_S)
        assert go.wait(WITHIN_S)
        return number

    jobs = work.delay_many([(number,) for number in range(10)])
    beside = Beside(app, concurrency=2)
    begun.wait(WITHIN_S)
    beside.stop()
    go.set()
    assert beside.end() == 0
    states = [job.status() for job in jobs]
    assert states.count(JobState.SUCCEEDED) == 2
    assert states.count(JobState.READY) == 8


def test_what_outlasts_the_grace_period_is_given_back(
    app: Penstock, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task
    def work() -> None:
        begun.set()
        assert go.wait(WITHIN_S)

    job = work.delay()
    beside = Beside(app, grace_s=0.1)
    assert begun.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 4
    assert job.status() is JobState.READY
    assert "1 job(s) were still running at the end of the grace period" in caplog.text
    go.set()


def test_the_last_words_tell_of_what_runs_at_most_once(
    app: Penstock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    begun, go = threading.Semaphore(0), threading.Event()

    @app.task
    def work() -> None:
        begun.release()
        assert go.wait(WITHIN_S)

    @app.task(delivery="at_most_once")
    def careful() -> None:
        begun.release()
        assert go.wait(WITHIN_S)

    work.delay_many([(), (), ()])
    careful.delay()
    beside = Beside(app, grace_s=0.1)
    for _ in range(4):
        assert begun.acquire(timeout=WITHIN_S)
    beside.stop()
    assert beside.end() == 4
    assert "of the grace period: 3 were given back, 1 run at most once and are in the dead set" in caplog.text
    assert "stopped: 0 run(s) done, 1 failed (not done: errors, also those that are retried," in caplog.text
    assert "3 given back while running, 0 given back before they had begun, 0 lost" in caplog.text
    go.set()


def test_a_second_stop_is_at_once(app: Penstock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    begun, go = threading.Event(), threading.Event()

    @app.task
    def work() -> None:
        begun.set()
        assert go.wait(WITHIN_S)

    jobs = work.delay_many([(), ()])
    beside = Beside(app, grace_s=600, concurrency=1)
    assert begun.wait(WITHIN_S)
    for _ in range(3):
        beside.stop()
    assert beside.end() == 4
    assert [job.status() for job in jobs] == [JobState.READY, JobState.READY]
    assert caplog.text.count("hurried: what still runs is not waited for") == 1
    assert "1 job(s) were still running when the stop was hurried: 1 were given back" in caplog.text
    assert "grace period" not in caplog.text
    assert "1 given back while running" in caplog.text
    go.set()


def test_a_coroutine_that_outlasts_the_grace_period_is_cancelled(app: Penstock) -> None:
    begun, seen = threading.Event(), []

    @app.task
    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            seen.append(current_job().cancelled())
            raise

    job = work.delay()
    beside = Beside(app, grace_s=0.05)
    assert begun.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 4
    assert seen == [True]
    assert job.status() is JobState.READY


async def _exits(error: type[BaseException]) -> None:
    raise error(3)


def _raises(error: type[BaseException]) -> None:
    raise error(3)


_left: set[asyncio.Future[None]] = set()

ENDS_THE_LOOP: dict[str, Callable[[], object]] = {
    "a task exits": lambda: _left.add(asyncio.ensure_future(_exits(SystemExit))),
    "a task is interrupted": lambda: _left.add(asyncio.ensure_future(_exits(KeyboardInterrupt))),
    "a callback exits": lambda: asyncio.get_running_loop().call_soon(_raises, SystemExit),
    "it is stopped": lambda: asyncio.get_running_loop().stop(),
}


@pytest.mark.parametrize("way", ENDS_THE_LOOP)
@pytest.mark.parametrize("ends_in_time", [True, False], ids=["in time", "too late"])
def test_what_ends_the_users_loop_stops_the_worker_in_order(
    app: Penstock, caplog: pytest.LogCaptureFixture, way: str, ends_in_time: bool
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    @app.task
    async def good() -> str:
        begun.release()
        while not go_on.is_set():  # noqa: ASYNC110 - what sets it is another thread
            await asyncio.sleep(0.01)
        return "ended"

    @app.task
    def plain() -> str:
        begun.release()
        go_on.wait(WITHIN_S)
        return "ended"

    @app.task
    async def bad() -> str:
        ENDS_THE_LOOP[way]()
        await asyncio.sleep(0.05)
        return "bad"

    beside = Beside(app, concurrency=3, grace_s=WITHIN_S if ends_in_time else 0.1).ready()
    others = [good.delay(), plain.delay()]
    for _ in others:
        assert begun.acquire(timeout=WITHIN_S)
    job = bad.delay()
    if ends_in_time:
        assert job.result(WITHIN_S) == "bad"
        assert beside.worker._stopping.begun.is_set()
        go_on.set()
        assert [other.result(WITHIN_S) for other in others] == ["ended", "ended"]
    assert beside.end() == 4
    go_on.set()
    if not ends_in_time:
        assert [other.status() for other in others] == [JobState.READY, JobState.READY]
    assert caplog.text.count("the event loop of the jobs was ended by") == 1
    assert "a bug in Penstock" not in caplog.text
    _left.clear()


def test_who_cancels_all_tasks_stops_the_worker_in_order(
    app: Penstock, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    async def bad() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    beside = Beside(app).ready()
    bad.delay().result(WITHIN_S)
    assert beside.end() == 4
    assert caplog.text.count("was ended by CancelledError") == 1


def test_a_task_that_exits_as_the_loop_ends_changes_nothing(app: Penstock) -> None:
    async def clings() -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            raise SystemExit(3) from None

    @app.task
    async def leaves() -> None:
        _left.add(asyncio.ensure_future(clings()))
        await asyncio.sleep(0)

    beside = Beside(app).ready()
    leaves.delay().result(WITHIN_S)
    beside.stop()
    assert beside.end() == 0
    _left.clear()


def test_jobs_are_told_that_the_worker_drains(app: Penstock) -> None:
    begun = threading.Event()

    @app.task
    def work() -> str:
        begun.set()
        while not current_job().stopping():
            time.sleep(0.005)
        return "cut short"

    job = work.delay()
    beside = Beside(app)
    assert begun.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 0
    assert job.result(1) == "cut short"


def test_stopped_before_it_began(app: Penstock) -> None:
    opened = threading.Event()

    class Never(Exception):
        pass

    async def open_() -> list[str]:
        opened.set()
        raise BrokerUnavailable("nobody is there")

    connect = app.connect

    def broken() -> Broker:
        broker = connect()
        broker.open = open_  # type: ignore[method-assign]
        return broker

    app.connect = broken  # type: ignore[method-assign]
    beside = Beside(app)
    assert opened.wait(WITHIN_S)
    beside.stop()
    assert beside.end() == 0


@pytest.mark.parametrize("refusal", [BrokerUnavailable, BrokerRejected])
def test_it_waits_for_a_broker_that_is_not_there_yet_or_full(
    app: Penstock, caplog: pytest.LogCaptureFixture, refusal: type[BrokerUnavailable | BrokerRejected]
) -> None:
    caplog.set_level(logging.INFO)
    fails = [2, 2]

    def flaky() -> Broker:
        broker = connect()
        open_, consumer = broker.open, broker.consumer

        async def later_open() -> object:
            if fails[0]:
                fails[0] -= 1
                raise refusal("nobody is there")
            return await open_()

        async def later_consumer(*args: object, **kwargs: object) -> object:
            if fails[1]:
                fails[1] -= 1
                raise refusal("gone again")
            return await consumer(*args, **kwargs)  # type: ignore[arg-type]

        broker.open, broker.consumer = later_open, later_consumer  # type: ignore[assignment,method-assign]
        return broker

    connect = app.connect
    app.connect = flaky  # type: ignore[method-assign]

    @app.task
    def work() -> int:
        return 1

    job = work.delay()
    beside = Beside(app).ready()
    assert job.result(WITHIN_S) == 1
    beside.stop()
    assert beside.end() == 0
    assert fails == [0, 0]
    assert "connect: nobody is there; trying again" in caplog.text


def test_a_broker_that_would_lose_jobs_is_refused(app: Penstock) -> None:
    connect = app.connect

    def warning() -> Broker:
        broker = connect()

        async def open_() -> list[str]:
            return ["nothing is kept on disk"]

        broker.open = open_  # type: ignore[method-assign]
        return broker

    app.connect = warning  # type: ignore[method-assign]
    with pytest.raises(BrokerMisconfigured, match="nothing is kept on disk"):
        Beside(app, strict=True).end()
    beside = Beside(app).ready()
    beside.stop()
    assert beside.end() == 0


def test_burst_ends_when_nothing_is_left(app: Penstock) -> None:
    @app.task(retry=Retry(attempts=2, base=0.01))
    def work(number: int) -> int:
        return number

    jobs = work.delay_many([(number,) for number in range(500)])
    assert Beside(app, burst=True).end() == 0
    assert [job.result(1) for job in jobs] == list(range(500))


def test_burst_on_nothing(app: Penstock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert Beside(app, burst=True).end() == 0
    assert "stopped: 0 run(s) done, 0 failed, 0 given back" in caplog.text


def test_commands(app: Penstock, working: Working) -> None:
    began = threading.Event()

    @app.task
    def work() -> int:
        began.set()
        return 1

    async def command(verb: str) -> str:
        inspector = await app.inspector()
        id_ = await inspector.command(beside.worker.id, verb, 30)
        while (answer := await inspector.answer(id_)) is None:  # noqa: ASYNC110 - nobody signals an answer
            await asyncio.sleep(0.01)
        return answer

    async def state() -> str:
        return (await (await app.inspector()).workers())[0].state

    with working(lease_s=0.3) as beside:
        assert app.call(command("quiet")) == "quiet: takes nothing new"
        assert app.call(state()) in {"running", "quiet"}  # as it said with its beat before
        job = work.delay()
        assert not began.wait(1.2)  # a fetch under way when it went quiet ends within a second
        assert job.status() is JobState.READY
        assert app.call(command("resume")) == "running"
        assert job.result(WITHIN_S) == 1
        assert "penstock-io" in app.call(command("dump"))
        assert app.call(command("dance")) == "unknown command 'dance'"
        assert app.call(command("stop")) == "draining"
        assert beside.end() == 0


def test_an_unknown_task_is_told_once_and_waits(app: Penstock, working: Working) -> None:
    names: list[str] = []
    told = threading.Event()

    def on_unknown(name: str) -> None:
        names.append(name)
        told.set()

    with working(on_unknown=on_unknown):
        jobs = [app.send("elsewhere.task", 1), app.send("elsewhere.task", 2)]
        assert told.wait(WITHIN_S)
        wait_for(lambda: all(job.status() is JobState.SCHEDULED for job in jobs))
    assert names == ["elsewhere.task"]


def test_hoarded_jobs_go_to_others(app: Penstock) -> None:
    started: dict[int, float] = {}
    go = threading.Event()

    @app.task(result_ttl=0)
    def quick() -> None:
        pass

    @app.task(result_ttl=0)
    def long(number: int) -> None:
        started[number] = time.monotonic()
        assert go.wait(WITHIN_S)

    quick.delay_many([()] * 5_000)
    long.delay_many([(number,) for number in range(50)])
    workers = [Beside(app, concurrency=10) for _ in range(5)]
    try:
        wait_for(lambda: len(started) == 50)
        first = min(started.values())
        assert max(started.values()) - first < 2.0, sorted(round(at - first, 2) for at in started.values())
    finally:
        go.set()
        for beside in workers:
            beside.stop()
        assert [beside.end() for beside in workers] == [0] * 5


def test_lanes_share_the_slots(app: Penstock, working: Working) -> None:
    lock = threading.Lock()
    running, most = 0, 0

    def count(step: int) -> None:
        nonlocal running, most
        with lock:
            running += step
            most = max(most, running)

    @app.task
    def on_thread() -> None:
        count(1)
        time.sleep(0.005)
        count(-1)

    @app.task
    async def on_loop() -> None:
        count(1)
        await asyncio.sleep(0.005)
        count(-1)

    with working(concurrency=3):
        jobs = [task.delay() for _ in range(30) for task in (on_thread, on_loop)]
        for job in jobs:
            job.result(WITHIN_S)
    assert most == 3


def test_the_guard_hears_the_longest_timeout(app: Penstock, working: Working) -> None:
    heard: list[float | None] = []
    told = threading.Event()

    def on_beat(longest_s: float | None) -> None:
        heard.append(longest_s)
        told.set()

    @app.task(timeout=5)
    def short() -> None:
        pass

    with working(on_beat=on_beat, lease_s=0.3):
        assert told.wait(WITHIN_S)
    assert heard[-1] == 5.0

    @app.task
    def endless() -> None:
        pass

    told.clear()
    with working(on_beat=on_beat, lease_s=0.3):
        assert told.wait(WITHIN_S)
    assert heard[-1] is None


def test_nothing_blocks_the_io_loop(app: Penstock, working: Working, no_blocking: object) -> None:
    @app.task(retry=Retry(attempts=2, base=0.01))
    def on_thread(number: int) -> int:
        if current_job().attempt == 1:
            raise ValueError(number)
        return number

    @app.task
    async def on_loop(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    with working():
        jobs = [task.delay(number) for number in range(50) for task in (on_thread, on_loop)]
        assert [job.result(WITHIN_S) for job in jobs] == [number for number in range(50) for _ in range(2)]


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_on_either_loop(
    app: Penstock, working: Working, monkeypatch: pytest.MonkeyPatch, has_uvloop: bool
) -> None:
    if not has_uvloop:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    @app.task
    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__

    with working() as beside:
        assert which.delay().result(WITHIN_S).startswith("uvloop" if has_uvloop else "asyncio")
        assert type(beside.worker._io_loop).__module__.startswith("uvloop" if has_uvloop else "asyncio")


def test_a_worker_with_threads_alone_makes_no_loop_for_the_user(app: Penstock, working: Working) -> None:
    @app.task
    def work() -> None: ...

    with working() as beside:
        work.delay().result(WITHIN_S)
        assert beside.worker._user_loop is None


def test_stacks_while_tasks_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def changing(loop: object) -> None:
        raise RuntimeError("Set changed size during iteration")

    async def main() -> str:
        loop = asyncio.get_running_loop()
        shown = every_stack([loop])
        monkeypatch.setattr(asyncio, "all_tasks", changing)
        return shown + "---\n" + every_stack([loop])

    before, _, after = asyncio.run(main()).rpartition("---\n--- thread")
    assert "--- task" in before
    assert "--- task" not in after
