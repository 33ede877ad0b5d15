"""From deliveries to settlements, with lanes that the test steers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from penstock.core.arguments import Arguments
from penstock.core.codec import VERSION
from penstock.core.job import Delivery
from penstock.core.retry import Retry
from penstock.core.settlement import (
    Again,
    Cancelled,
    Cause,
    Dead,
    Defer,
    Done,
    Quarantine,
    Release,
    Settlement,
)
from penstock.core.spec import Lane
from penstock.runtime import executor as module
from penstock.runtime import overtime
from penstock.runtime.executor import Executor
from penstock.runtime.run import Ask, Home, Run
from tests.runtime.bench import FakeLane, delivery, spec_of


def work(x: int = 0) -> int:
    return x


async def awork() -> None: ...


def unbounded() -> None: ...


def child() -> None: ...


class Bench:
    """An executor of two slots and what it said."""

    def __init__(self, *lanes: Lane) -> None:
        self.settled: list[Settlement] = []
        self.gated: list[Run] = []
        self.unknown: list[str] = []
        self.changes = 0
        self.lanes = {lane: FakeLane() for lane in lanes or (Lane.THREAD,)}
        self.registry = {
            "work": spec_of(work, timeout=0.01),
            "awork": spec_of(awork, timeout=0.01),
            "once": spec_of(work, delivery="at_most_once"),
        }
        self.executor = Executor(
            self.registry,
            slots=2,
            max_crashes=3,
            settle=self.settled.extend,
            gate=self.gated.append,
            on_change=self._changed,
            on_unknown=self.unknown.append,
            home=Home(1_000, "penstock", lambda delivery, data: None),
        )
        self.reserved = 0
        self.executor.open(self.lanes, gate_recall=self._recall, gate_reserved=lambda slots: self.reserved)

    def _changed(self) -> None:
        self.changes += 1

    def _recall(self, mono_before: float) -> list[Run]:
        gated, self.gated[:] = list(self.gated), []
        return gated

    @property
    def lane(self) -> FakeLane:
        return self.lanes[Lane.THREAD]

    def admit(self, *deliveries: Delivery) -> None:
        self.executor.admit(deliveries)


def on_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """The executor lives on a loop."""

    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__  # type: ignore[attr-defined]
    run.__doc__ = test.__doc__
    return run


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - over time is what it is about
            await asyncio.sleep(0.005)


def only(settled: list[Settlement]) -> Any:
    [one] = settled
    return one


@on_loop
async def test_what_no_worker_can_run() -> None:
    bench = Bench()
    newer = b'{"v":%d,"task":"work"}' % (VERSION + 1)
    for body in (b"{", b"\xff\xfe", b"[]", b"[" * 100_000, newer, b'{"v":1}'):
        bench.settled.clear()
        bench.admit(delivery(body=body))
        assert isinstance(only(bench.settled), Quarantine)
    assert bench.executor.failed == 6
    assert bench.executor.load == 0


@on_loop
async def test_unknown_tasks() -> None:
    bench = Bench()
    bench.admit(delivery("nobody"))
    assert isinstance(only(bench.settled), Defer)
    assert bench.unknown == ["nobody"]


@on_loop
async def test_arguments_that_do_not_fit() -> None:
    bench = Bench()
    bodies = [
        b'"args":["x"]',
        b'"args":[1,2]',
        b'"kwargs":{"y":1}',
        b'"retry":{"attempts":0}',
        b'"retry":{"new":1}',
    ]
    for body in bodies:
        bench.settled.clear()
        bench.admit(delivery(body=b'{"v":1,"task":"work",%s}' % body))
        dead = only(bench.settled)
        assert isinstance(dead, Dead)
        assert (dead.cause, dead.spent) == (Cause.ARGUMENTS, False)


def test_whatever_else_a_body_does_to_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise MemoryError

    async def main() -> None:
        bench = Bench()
        monkeypatch.setattr(Arguments, "decode", decode)
        bench.admit(delivery())
        assert isinstance(only(bench.settled), Quarantine)

    asyncio.run(main())


@on_loop
async def test_poison_and_at_most_once() -> None:
    bench = Bench()
    bench.admit(delivery(crashes=3, suspect=True))
    assert only(bench.settled).cause is Cause.POISON
    bench.settled.clear()
    bench.admit(delivery("once", crashes=1, suspect=True))
    assert only(bench.settled).cause is Cause.LOST
    bench.admit(delivery("once"), delivery(crashes=2, suspect=True), delivery())
    assert len(bench.gated) == 2
    assert len(bench.lane.waiting) == 1


@on_loop
async def test_one_lane_takes_whatever_comes_and_ends_are_collected_at_once() -> None:
    bench = Bench()
    bench.admit(*(delivery() for _ in range(5)))
    assert bench.executor.load == 5
    assert bench.executor.room == -3
    runs = bench.lane.waiting
    assert bench.executor.held() == runs
    assert bench.executor.running() == []
    runs[0].mono_started = 1.0
    assert bench.executor.running() == runs[:1]
    bench.executor.finish(Done(runs[0].delivery))
    bench.executor.finish(Release(runs[1].delivery))
    assert not bench.settled
    await asyncio.sleep(0)
    assert len(bench.settled) == 2
    assert (bench.executor.done, bench.executor.failed) == (1, 1)
    assert bench.changes == 1
    assert not bench.executor.has(runs[0])
    assert bench.executor.has(runs[2])


@on_loop
async def test_several_lanes_share_the_slots() -> None:
    bench = Bench(Lane.THREAD, Lane.LOOP)
    first, second, third, fourth = (delivery(name) for name in ("work", "awork", "work", "awork"))
    bench.admit(first, second, third, fourth)
    assert [run.delivery for run in bench.lane.waiting] == [first]
    assert [run.delivery for run in bench.lanes[Lane.LOOP].waiting] == [second]
    bench.executor.finish(Done(second))
    bench.lanes[Lane.LOOP].waiting.clear()
    await asyncio.sleep(0)
    assert [run.delivery for run in bench.lane.waiting] == [first, third]
    assert bench.executor.recall(monotonic()) == 3  # what waits in the lanes has not begun either
    assert {s.delivery.id for s in bench.settled if isinstance(s, Release)} == {first.id, third.id, fourth.id}
    assert bench.executor.room == 2


@on_loop
async def test_a_lane_that_is_alone_at_work_takes_all_that_comes_next() -> None:
    bench = Bench(Lane.THREAD, Lane.LOOP)
    threads, coroutine = [delivery() for _ in range(5)], delivery("awork")
    bench.admit(*threads, coroutine, delivery())
    assert [run.delivery for run in bench.lane.waiting] == threads
    for each in threads[:3]:
        bench.executor.finish(Done(each))
    await asyncio.sleep(0)
    assert not bench.lanes[Lane.LOOP].busy  # two are left of those before it: there is no slot yet
    bench.executor.finish(Done(threads[3]))
    await asyncio.sleep(0)
    assert [run.delivery for run in bench.lanes[Lane.LOOP].waiting] == [coroutine]
    assert len(bench.lane.waiting) == 5  # and none for the one behind it


@on_loop
async def test_what_waits_at_the_gate_is_left_its_slots() -> None:
    bench = Bench()
    bench.reserved = 1
    careful, *plain = delivery("once"), *(delivery() for _ in range(4))
    bench.admit(*plain, careful)
    assert [run.delivery for run in bench.lane.waiting] == plain[:1]
    assert bench.executor.room == 1
    bench.reserved = 0
    bench.executor.let_through(bench.gated)
    assert [run.delivery for run in bench.lane.waiting] == [plain[0], careful]
    bench.executor.finish(Done(careful))
    await asyncio.sleep(0)
    assert [run.delivery for run in bench.lane.waiting] == [plain[0], careful, *plain[1:]]


@on_loop
async def test_what_waited_at_the_gate_and_went_elsewhere_keeps_no_slot() -> None:
    bench = Bench()
    bench.reserved = 2
    bench.admit(delivery())
    assert not bench.lane.waiting
    bench.reserved = 0
    await until(lambda: bench.lane.waiting)


@on_loop
async def test_cancelling() -> None:
    bench = Bench(Lane.THREAD, Lane.LOOP)
    running, handed, waiting = delivery(), delivery(), delivery("awork")
    bench.admit(running, handed, waiting)
    bench.lane.waiting[0].mono_started = 1.0
    bench.executor.cancel([running.token, handed.token, waiting.token, 10**6])
    assert [run.delivery for run in bench.lane.asked] == [running]
    assert bench.lane.waiting[1].ask is Ask.CANCEL  # its lane gives it back when its turn comes
    assert isinstance(only(bench.settled), Cancelled)
    assert only(bench.settled).delivery is waiting
    bench.executor.cancel([running.token])
    assert len(bench.lane.asked) == 1


@on_loop
async def test_losing() -> None:
    bench = Bench(Lane.THREAD, Lane.LOOP)
    running, handed, waiting = delivery(), delivery(), delivery("awork")
    bench.admit(running, handed, waiting)
    bench.lane.waiting[0].mono_started = 1.0
    assert bench.executor.lose([running.token, waiting.token, 10**6]) == 2
    assert [run.delivery for run in bench.lane.asked] == [running]
    bench.executor.finish(Done(running))
    await asyncio.sleep(0)
    assert not bench.settled
    assert bench.executor.done == 0
    # What was lost while it waited is passed on; its lane does not begin what was asked to end.
    assert [run.ask for run in bench.lane.waiting] == [Ask.LOST, None]
    assert [run.ask for run in bench.lanes[Lane.LOOP].waiting] == [Ask.LOST]


@on_loop
async def test_the_end() -> None:
    bench = Bench()
    first, second = delivery(), delivery()
    bench.admit(first, second)
    bench.executor.stopping()
    assert bench.lane.stopped
    assert all(run.stopping for run in bench.lane.waiting)
    bench.lane.waiting[0].mono_started = 1.0
    assert await bench.executor.abandon() == (2, 0, 0)
    assert [type(settlement) for settlement in bench.settled] == [Release, Release]
    assert [run.ask for run in bench.lane.waiting] == [Ask.STOP, Ask.STOP]
    assert bench.lane.asked == bench.lane.waiting[:1]
    bench.executor.release(bench.lane.waiting)
    assert len(bench.settled) == 2


@on_loop
async def test_what_ignores_its_timeout_has_timed_out_at_the_end() -> None:
    bench = Bench()
    bench.registry |= {
        "work": spec_of(work, timeout=0.01),
        "final": spec_of(work, timeout=0.01, retry=False),
        "once": spec_of(work, timeout=0.01, delivery="at_most_once"),
    }
    bench.admit(delivery(), delivery("final"), delivery("once"))
    bench.executor.let_through(bench.gated)
    assert len(bench.lane.waiting) == 3
    for run in bench.lane.waiting:
        run.mono_started, run.ask = 1.0, Ask.TIMEOUT
    assert await bench.executor.abandon() == (0, 3, 0)
    again, *dead = bench.settled
    assert isinstance(again, Again)
    assert [each.cause for each in dead if isinstance(each, Dead)] == [Cause.TIMEOUT, Cause.TIMEOUT]
    assert (bench.executor.failed, bench.executor.given_back) == (3, 0)


def test_a_retry_policy_that_does_not_end_keeps_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLICY_WITHIN_S", 0.05)
    go = threading.Event()

    def never(runs: int, error: BaseException) -> float:
        assert go.wait(10)
        return 1.0

    async def main() -> Bench:
        bench = Bench()
        bench.registry["work"] = spec_of(work, timeout=0.01, retry=Retry(delay=never))
        bench.admit(delivery())
        bench.lane.waiting[0].mono_started, bench.lane.waiting[0].ask = 1.0, Ask.TIMEOUT
        assert await bench.executor.abandon() == (1, 0, 0)
        return bench

    settled = asyncio.run(main()).settled
    go.set()
    for thread in [each for each in threading.enumerate() if each.name == "penstock-timeout"]:
        thread.join(10)
    assert isinstance(only(settled), Release)


def test_an_end_after_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> Bench:
        bench = Bench()
        bench.admit(delivery())
        return bench

    caplog.set_level(logging.DEBUG)
    bench = asyncio.run(main())
    bench.executor.finish(Done(bench.lane.waiting[0].delivery))
    assert "ended after the worker" in caplog.text


def test_every_end_is_told_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        bench = Bench()
        bench.admit(delivery())
        bench.executor.finish(Done(bench.lane.waiting[0].delivery))
        await asyncio.sleep(0)

    caplog.set_level(logging.DEBUG)
    asyncio.run(main())
    assert ": done" in caplog.text


def test_what_is_hoarded_and_what_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SWEEP_EVERY_S", 0.005)
    monkeypatch.setattr(module, "HOARD_S", 0.05)
    monkeypatch.setattr(overtime, "HEED_S", 0.1)

    async def main() -> None:
        bench = Bench(Lane.THREAD, Lane.LOOP)
        loop_lane = bench.lanes[Lane.LOOP]
        slow, hoarded, coroutine = delivery(), delivery(), delivery("awork")
        bench.admit(slow, coroutine, hoarded)
        thread, loop = bench.lane.waiting[0], loop_lane.waiting[0]
        thread.mono_started = loop.mono_started = monotonic()
        await until(lambda: bench.settled and bench.lane.asked)
        assert only(bench.settled).delivery is hoarded
        assert isinstance(only(bench.settled), Release)
        assert bench.lane.asked == [thread]
        assert thread.ask is Ask.TIMEOUT
        assert loop.ask is None  # its own loop cancels it, as long as that one turns
        await until(lambda: "A coroutine was asked to end" in caplog.text)
        assert loop_lane.asked == [loop]
        assert bench.executor.stuck() == 0  # both may be about to heed
        monkeypatch.setattr(overtime, "STUCK_S", 0.2)
        await until(lambda: bench.executor.stuck() == 2)
        for ended in (slow, coroutine):
            bench.executor.finish(Done(ended))
        await until(lambda: bench.executor._sweeper is None)

    asyncio.run(main())
    assert caplog.text.count("A thread cannot be stopped") == 1
    assert caplog.text.count("A coroutine was asked to end") == 1


def test_what_ignores_that_it_was_cancelled_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds its slot for ever only where its timeout is over as well: without one it may just take long."""
    monkeypatch.setattr(module, "SWEEP_EVERY_S", 0.005)
    monkeypatch.setattr(overtime, "STUCK_S", 0.05)

    async def main() -> None:
        bench = Bench(Lane.THREAD, Lane.LOOP, Lane.PROCESS)
        bench.registry["unbounded"] = spec_of(unbounded)
        bench.registry["child"] = spec_of(child, lane="process")
        timed, long, quick, fork = (delivery(name) for name in ("awork", "unbounded", "unbounded", "child"))
        bench.admit(timed, quick)
        runs = {run.delivery.token: run for run in bench.executor.held()}
        for run in runs.values():
            run.mono_started = monotonic()
        bench.executor.cancel([timed.token, quick.token])
        bench.executor.finish(Done(quick))  # it heeds
        await until(lambda: bench.executor.stuck() == 1)
        assert bench.executor.held() == [runs[timed.token]]
        bench.executor.finish(Done(timed))
        await until(lambda: not bench.executor.load)
        bench.admit(long, fork)
        for run in bench.executor.held():
            run.mono_started = monotonic()
        bench.executor.cancel([long.token, fork.token])
        await until(lambda: not bench.executor._overtime._mono_cancelled)
        assert bench.executor.stuck() == 0
        for ended in (long, fork):
            bench.executor.finish(Done(ended))
        await until(lambda: bench.executor._sweeper is None)
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2
        assert f"job {timed.id} of awork was cancelled 0 s ago and goes on. A coroutine was asked" in said[0]
        assert f"job {long.id} of unbounded was cancelled 0 s ago and goes on. A thread cannot" in said[1]

    asyncio.run(main())


def test_at_most_once_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        bench = Bench()
        bench.admit(delivery("once"), delivery("once"))
        begun, waiting = bench.gated
        begun.mono_started = 1.0
        assert await bench.executor.abandon() == (1, 0, 1)
        assert (bench.executor.failed, bench.executor.given_back) == (1, 1)
        lost, given_back = bench.settled
        assert isinstance(lost, Dead)
        assert lost.cause is Cause.LOST
        assert isinstance(given_back, Release)
        assert given_back.delivery is waiting.delivery
        assert f"job {begun.delivery.id} of work had started when" in caplog.text
        assert waiting.delivery.id not in caplog.text

    asyncio.run(main())


def test_a_child_that_takes_too_long_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_EVERY_S", 0.005)

    async def main() -> None:
        lane = FakeLane()
        bench = Bench(Lane.THREAD)
        bench.executor.open(
            {Lane.PROCESS: lane}, gate_recall=lambda mono_before: [], gate_reserved=lambda slots: 0
        )
        bench.registry["work"] = spec_of(work, timeout=0.01, lane="process")
        bench.admit(delivery())
        lane.waiting[0].mono_started = monotonic()
        await until(lambda: lane.asked)
        assert bench.executor.stuck() == 0

    asyncio.run(main())
