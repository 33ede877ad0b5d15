"""Threads and the user's loop, without a worker around them."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock import current_job
from penstock.core.settlement import Cancelled, Done, Release, Settlement
from penstock.runtime import lanes as module
from penstock.runtime.lanes import LoopLane, ThreadLane
from penstock.runtime.loops import new_event_loop
from penstock.runtime.resources import ResourcePool
from penstock.runtime.run import Ask, Run
from tests.runtime.bench import run_of, spec_of
from tests.runtime.conftest import WITHIN_S, wait_for


class Finished:
    """What a lane hands back, in its order."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Settlement] = queue.SimpleQueue()

    def __call__(self, settlement: Settlement) -> None:
        self._queue.put(settlement)

    def take(self) -> Any:
        return self._queue.get(timeout=WITHIN_S)

    def empty(self) -> bool:
        return self._queue.empty()


@pytest.fixture
def finished() -> Finished:
    return Finished()


def run(function: Callable[..., Any], *args: Any, **options: Any) -> Run:
    return run_of(spec_of(function, **options), *args)


# --- threads


def test_a_job_never_waits_behind_one_that_has_a_thread(finished: Finished) -> None:
    """Two jobs that come one after the other, while the only thread is asleep, need two threads."""
    lane = ThreadLane(3, ResourcePool(), finished)
    second_ran = threading.Event()

    def first() -> bool:
        return second_ran.wait(WITHIN_S)

    def second() -> None:
        second_ran.set()

    def nothing() -> None: ...

    lane.submit([run(nothing)])
    finished.take()
    wait_for(lambda: lane._sleepers == 1)
    lane.submit([run(first)])
    lane.submit([run(second)])
    assert [finished.take().result, finished.take().result] in ([None, b"true"], [b"true", None])
    lane.close()


class Bell(queue.SimpleQueue[bool]):
    """A lane's bell that remembers who rang."""

    def __init__(self) -> None:
        self.rang: list[threading.Thread] = []

    def put(self, item: bool, block: bool = True, timeout: float | None = None) -> None:
        self.rang.append(threading.current_thread())
        super().put(item, block, timeout)


def test_who_submits_wakes_one_thread_and_each_that_wakes_the_next(finished: Finished) -> None:
    lane = ThreadLane(4, ResourcePool(), finished)
    bell = lane._bell = Bell()
    together = threading.Barrier(4)

    def meet() -> None:
        together.wait(WITHIN_S)

    for _ in range(2):  # the first time the threads are started, the second time they sleep
        bell.rang.clear()
        lane.submit([run(meet) for _ in range(4)])
        for _ in range(4):
            assert type(finished.take()) is Done
        wait_for(lambda: lane._sleepers == 4)
    assert len(bell.rang) == len(set(bell.rang)) == 4
    assert bell.rang[0] is threading.current_thread()
    lane.close()


def test_a_thread_looks_once_more_before_it_sleeps(finished: Finished) -> None:
    lane = ThreadLane(1, ResourcePool(), finished)
    lane._backlog.append(run(lambda: None))
    lane._sleep()
    assert lane._sleepers == 0


def test_threads_are_started_as_they_are_needed(finished: Finished) -> None:
    lane = ThreadLane(2, ResourcePool(), finished)
    go = threading.Event()

    def work() -> str:
        go.wait(WITHIN_S)
        return threading.current_thread().name

    lane.submit([run(work)])
    assert len(lane._threads) == 1
    lane.submit([run(work) for _ in range(5)])
    assert len(lane._threads) == 2
    go.set()
    names = {finished.take().result for _ in range(6)}
    assert names <= {b'"penstock-thread-1"', b'"penstock-thread-2"'}
    threads = list(lane._threads)
    lane.close()
    for thread in threads:
        thread.join(WITHIN_S)
        assert not thread.is_alive()


def test_a_thread_does_not_begin_what_was_asked_to_end(finished: Finished) -> None:
    lane = ThreadLane(1, ResourcePool(), finished)
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(WITHIN_S)

    first, second, third = run(work), run(work), run(work)
    lane.submit([first, second, third])
    assert begun.wait(WITHIN_S)
    second.ask = Ask.CANCEL
    third.ask = Ask.LOST
    lane.ask(first)
    lane.stopping()
    go.set()
    assert [type(finished.take()) for _ in range(3)] == [Done, Cancelled, Release]
    lane.close()


def test_recalled_runs_are_not_begun(finished: Finished) -> None:
    lane = ThreadLane(1, ResourcePool(), finished)
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(WITHIN_S)

    old, new = run(work), run(work)
    lane.submit([run(work)])
    assert begun.wait(WITHIN_S)
    new.mono_taken = time.monotonic() + 600
    lane.submit([old, new])
    assert lane.recall(time.monotonic()) == [old]
    assert lane.recall(time.monotonic() + 700) == [new]
    assert lane.recall(time.monotonic() + 700) == []
    go.set()
    finished.take()
    lane.close()
    assert finished.empty()


# --- the user's loop


class UserLoop:
    """A loop on a thread of its own, as the main thread's would be."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.Thread(target=loop.run_forever)
        self.thread.start()

    def attach(self, lane: LoopLane) -> None:
        self.loop.call_soon_threadsafe(lane.attach, self.loop)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WITHIN_S)
        self.loop.close()


@pytest.fixture(params=[asyncio.new_event_loop, new_event_loop], ids=["asyncio", "uvloop"])
def user_loop(request: pytest.FixtureRequest) -> Any:
    made = UserLoop(request.param())
    yield made
    made.end()


def test_the_loop_is_asked_for_once(finished: Finished, user_loop: UserLoop) -> None:
    asked: list[int] = []
    lane = LoopLane(2, ResourcePool(), finished, lambda: asked.append(1))

    async def at_once() -> int:
        return 1

    async def later() -> int:
        await asyncio.sleep(0.01)
        return 2

    lane.submit([run(at_once), run(later)])
    lane.submit([run(later), run(at_once)])
    lane.ask(run(later))
    assert asked == [1]
    user_loop.attach(lane)
    assert sorted(finished.take().result for _ in range(4)) == [b"1", b"1", b"2", b"2"]
    lane.submit([run(later)])
    assert finished.take().result == b"2"
    lane.stopping()
    lane.close()


def test_coroutines_are_cancelled_and_timed(finished: Finished, user_loop: UserLoop) -> None:
    lane = LoopLane(10, ResourcePool(), finished, lambda: None)
    user_loop.attach(lane)
    begun = threading.Semaphore(0)

    async def endless() -> None:
        begun.release()
        await asyncio.sleep(600)

    async def noticing() -> None:
        begun.release()
        while not current_job().cancelled():  # noqa: ASYNC110 - what a job may do
            await asyncio.sleep(0.001)

    async def deaf() -> int:
        begun.release()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(600)
        return 3

    cancelled, lost = run(endless), run(endless)
    timed, ignoring = run(endless, timeout=0.01), run(deaf, timeout=0.01)
    in_time = run(endless, timeout=600)
    lane.submit([cancelled, lost, timed, ignoring, in_time])
    for _ in range(5):
        assert begun.acquire(timeout=WITHIN_S)
    names = {type(settlement).__name__ for settlement in (finished.take(), finished.take())}
    assert names == {"Again", "Done"}  # the second took its cancellation for somebody else's
    for each, why in ((cancelled, Ask.CANCEL), (lost, Ask.LOST), (in_time, Ask.STOP)):
        each.ask = why
        lane.ask(each)
        lane.ask(each)
    assert {type(finished.take()) for _ in range(3)} == {Cancelled, Release}
    waiting = run(noticing)
    lane.submit([waiting])
    assert begun.acquire(timeout=WITHIN_S)
    waiting.ask = Ask.CANCEL
    assert isinstance(finished.take(), Cancelled)
    lane.ask(waiting)


def test_a_timeout_after_another_ask_changes_nothing(finished: Finished) -> None:
    lane = LoopLane(1, ResourcePool(), finished, lambda: None)
    asked = run_of(spec_of(_nothing, timeout=1))
    asked.ask = Ask.CANCEL
    lane._time_out(asked)
    assert asked.ask is Ask.CANCEL


async def _nothing() -> None: ...


def test_no_more_coroutines_than_slots(finished: Finished, user_loop: UserLoop) -> None:
    lane = LoopLane(2, ResourcePool(), finished, lambda: None)
    user_loop.attach(lane)
    begun, running, most = threading.Semaphore(0), 0, 0
    gate: list[asyncio.Event] = []

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if not gate:
            gate.append(asyncio.Event())
        begun.release()
        await gate[0].wait()
        running -= 1

    runs = [run(work) for _ in range(5)]
    lane.submit(runs)
    for _ in range(2):
        assert begun.acquire(timeout=WITHIN_S)
    runs[3].ask = Ask.CANCEL
    assert lane.recall(time.monotonic() - 600) == []
    assert lane.recall(runs[2].mono_taken) == [runs[2]]
    user_loop.loop.call_soon_threadsafe(gate[0].set)
    kinds = sorted(type(finished.take()).__name__ for _ in range(4))
    assert kinds == ["Cancelled", "Done", "Done", "Done"]
    assert most == 2


def test_starting_many_does_not_keep_the_loop(
    finished: Finished, user_loop: UserLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_START_SLICE_S", -1.0)
    lane = LoopLane(100, ResourcePool(), finished, lambda: None)
    user_loop.attach(lane)

    async def work() -> None: ...

    lane.submit([run(work) for _ in range(50)])
    assert all(isinstance(finished.take(), Done) for _ in range(50))


def test_a_lane_whose_loop_has_ended(finished: Finished) -> None:
    lane = LoopLane(1, ResourcePool(), finished, lambda: None)
    loop = UserLoop(asyncio.new_event_loop())
    loop.attach(lane)
    loop.end()
    lane.ask(run(_nothing))


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    loop = new_event_loop()
    assert type(loop).__module__.startswith("asyncio")
    loop.close()
