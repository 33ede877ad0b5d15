"""Kills a process at every write to an SQLite file: ``python -m tests.faults.crasher FOLDER``.

SQLite has no wire to cut; what stands for a lost reply is a caller that dies in the middle. For each verb a child does
it on a file of its own and is killed just before (or, by turns, in the middle of) the N-th write, forcing or cutting
of a file, for N from 1 until it gets through. Another child then looks: what was acknowledged is there, everything is
whole, nothing is there twice, and whatever was claimed is given out again once the lease is over.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from penstock import brokers
from penstock.core.job import Job, Origin
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Done
from penstock.ports.broker import Broker, Consumer, WorkerCard

QUEUE = "crashes"
IDS = [f"{QUEUE}:{number}" for number in range(3)]
LEASE_S = 5.0
_left = 0


def _step(tear: Callable[[], object] | None = None) -> None:
    global _left
    _left -= 1
    if _left == 0:
        if tear is not None:
            tear()
        os.kill(os.getpid(), signal.SIGKILL)


class _File(apsw.VFSFile):
    def xWrite(self, data: bytes, offset: int) -> None:
        _step((lambda: super(_File, self).xWrite(data[: len(data) // 2], offset)) if _left % 2 else None)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        _step()
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:
        _step()
        super().xTruncate(newsize)


class _Files(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("crashing", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File("unix", name, flags)  # type: ignore[arg-type]


# --- what is done while the process may die; each tells the parent what was acknowledged


async def _enqueue(broker: Broker, acked: Callable[[], None]) -> None:
    await broker.enqueue(_jobs(), Origin("crasher", 1))
    acked()


async def _enqueue_blocking(_: Broker, acked: Callable[[], None], url: str = "") -> None:
    producer = brokers.connect_blocking(brokers.address(url))
    producer.enqueue(_jobs(), Origin("crasher", 1))
    acked()
    producer.close()


async def _fetch(broker: Broker, acked: Callable[[], None]) -> None:
    consumer = await _consumer(broker)
    assert len((await consumer.fetch(10, 1_000_000, 0.0)).deliveries) == len(IDS)
    acked()


async def _settle(broker: Broker, acked: Callable[[], None]) -> None:
    consumer = await _consumer(broker)
    deliveries = (await consumer.fetch(10, 1_000_000, 0.0)).deliveries
    assert not await consumer.settle([Done(each, b'"r"', 600.0) for each in deliveries], 1)
    acked()


def _jobs() -> list[Job]:
    return [Job(id, QUEUE, b"{}") for id in IDS]


async def _consumer(broker: Broker) -> Consumer:
    return await broker.consumer([QUEUE], window=100, lease_s=LEASE_S, card=WorkerCard(id="c", app="crasher"))


# --- what must hold afterwards


async def _look(broker: Broker, verb: str, acked: bool) -> None:
    inspector = brokers.inspector(broker)
    records = [await inspector.get(id) for id in IDS]
    states = {record.state if record else None for record in records}
    assert len(states) == 1, f"torn apart: {states}"
    (state,) = states
    if verb.startswith("enqueue"):
        assert state is JobState.READY or (state is None and not acked), state
        # An unanswered call is made again, with its number.
        answers = await broker.enqueue(_jobs(), Origin("crasher", 1))
        assert [answer.added for answer in answers] == [True] * len(IDS), answers
    elif verb == "settle" and acked:
        assert state is JobState.SUCCEEDED, state
    if state is JobState.SUCCEEDED:
        return
    await _runs_once(broker)


async def _runs_once(broker: Broker) -> None:
    """Every job is given out exactly once more, be it after the lease of who has died."""
    for shift_s in (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0):
        broker.clock_shift_s = shift_s
        await broker.maintain([QUEUE], 100, LEASE_S)
    consumer = await _consumer(broker)
    deliveries = (await consumer.fetch(10, 1_000_000, 0.0)).deliveries
    assert sorted(each.id for each in deliveries) == IDS, deliveries
    assert not await consumer.settle([Done(each) for each in deliveries], 1)
    (counts,) = [each for each in await brokers.inspector(broker).queues() if each.queue == QUEUE]
    assert (counts.ready, counts.running, counts.succeeded_total) == (0, 0, len(IDS)), counts


# --- the parent


def _in_child(work: Callable[[], None]) -> int:
    """Runs ``work`` in a child; returns its exit code, or the negative signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def _with(url: str, work: Callable[[Broker], Awaitable[None]]) -> None:
    broker = brokers.connect(brokers.address(url))
    await broker.open()
    await work(broker)
    await broker.close()


def _crash(url: str, verb: Callable[..., Awaitable[None]], steps: int, ready: Path) -> None:
    global _left
    _left = steps
    files = _Files()  # unregistered when nobody holds it
    named: dict[str, Any] = {"url": url} if verb is _enqueue_blocking else {}
    asyncio.run(_with(url, lambda broker: verb(broker, ready.touch, **named)))
    del files


def _look_after(path: Path, verb: str, acked: bool) -> None:
    asyncio.run(_with(f"sqlite:///{path}", lambda broker: _look(broker, verb, acked)))
    connection = apsw.Connection(str(path))
    (answer,) = connection.execute("PRAGMA integrity_check").fetchall()
    assert answer == ("ok",), answer
    connection.close()


def main(folder: Path, verbs: Sequence[Callable[..., Awaitable[None]]]) -> None:
    total = 0
    for verb in verbs:
        name, steps = verb.__name__.strip("_"), 0
        while True:
            steps += 1
            path, ready = folder / f"{name}-{steps}.db", folder / f"{name}-{steps}.acked"
            url = f"sqlite:///{path}"
            if not name.startswith("enqueue"):
                before = _in_child(lambda u=url: asyncio.run(_with(u, _put)))  # type: ignore[misc]
                assert before == 0
            code = _in_child(lambda u=url, s=steps, r=ready: _crash(u, verb, s, r))  # type: ignore[misc]  # noqa: B023
            assert code in {0, -signal.SIGKILL}, f"{name} at step {steps}: {code}"
            acked = ready.exists()
            looked = _in_child(lambda p=path, n=name, a=acked: _look_after(p, n, a))  # type: ignore[misc]
            assert looked == 0, f"{name}, killed at step {steps}, acknowledged {acked}"
            if code == 0:
                break
        total += steps - 1
        print(f"{name}: killed at each of {steps - 1} steps", flush=True)
    print(f"total {total}")


async def _put(broker: Broker) -> None:
    await broker.enqueue(_jobs(), Origin("before", 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [_enqueue, _enqueue_blocking, _fetch, _settle])
