"""What a fork does: nobody's connection is used twice, and both sides go on."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from penstock.brokers import Address
from penstock.brokers.sqlite import SQLiteBroker, SQLiteProducer, blocking, enqueueing, open_blocking
from penstock.brokers.sqlite.database import Database
from penstock.core.job import Job, Origin
from penstock.errors import BrokerUnavailable

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python warns where threads are running: that such a fork works is what is shown here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def _in_child(run: Callable[[], None]) -> int:
    """Runs in a forked child; its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _job(name: str) -> list[Job]:
    return [Job(f"q:{name}", "q", b"{}", unique=True)]


def _ids(producer: SQLiteProducer) -> list[str]:
    producer.enqueue([], Origin("opens", 1))
    return [id for (id,) in producer._database.rows("SELECT id FROM jobs ORDER BY id")]


def test_a_producer_goes_on_in_parent_and_child(producer: SQLiteProducer) -> None:
    producer.enqueue(_job("before"), Origin("p", 1))

    def child() -> None:
        producer.abandon()
        producer.enqueue(_job("child"), Origin("c", 1))
        producer.close()

    assert _in_child(child) == 0
    producer.enqueue(_job("parent"), Origin("p", 2))
    assert _ids(producer) == ["q:before", "q:child", "q:parent"]


def test_parent_and_children_write_at_the_same_time(producer: SQLiteProducer) -> None:
    producer.enqueue(_job("before"), Origin("p", 1))
    children = []
    for n in range(3):
        child = os.fork()
        if child == 0:
            try:
                producer.abandon()
                for number in range(30):
                    producer.enqueue(_job(f"child-{n}-{number}"), Origin(f"c{n}", number))
            finally:
                os._exit(0)
        children.append(child)
    for number in range(30):
        producer.enqueue(_job(f"parent-{number}"), Origin("parent", number))
    for child in children:
        os.waitpid(child, 0)
    assert len(_ids(producer)) == 1 + 4 * 30
    assert producer._database.one("PRAGMA integrity_check") == ("ok",)


def test_a_child_that_only_ends_harms_nothing(producer: SQLiteProducer) -> None:
    producer.enqueue(_job("a"), Origin("p", 1))

    def child() -> None:
        sys.exit(0)  # collects what it has

    assert _in_child(child) in {0, 1}
    producer.enqueue(_job("b"), Origin("p", 2))
    assert _ids(producer) == ["q:a", "q:b"]


def test_a_broker_goes_on_after_a_fork(broker: SQLiteBroker, address: Address) -> None:
    async def used() -> None:
        await broker.open()
        await broker.hang_bell()
        await broker.enqueue(_job("before"), Origin("p", 1))

        def child() -> None:
            producer = open_blocking(address)
            producer.enqueue(_job("child"), Origin("c", 1))
            producer.close()

        assert _in_child(child) == 0
        await broker.enqueue(_job("parent"), Origin("p", 2))
        assert broker.bell.hung
        (counts,) = await broker.queues()
        assert counts.ready == 3
        await broker.close()

    asyncio.run(used())


def test_a_fork_in_the_middle_of_a_write_leaves_the_file_to_the_parent(
    producer: SQLiteProducer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.brokers.sqlite.database._FORK_WAITS_S", 0.05)
    producer.enqueue(_job("before"), Origin("p", 1))
    inside, go_on = Event(), Event()

    def stand(*_: object) -> None:
        inside.set()
        go_on.wait(30)

    thread = Thread(target=lambda: producer._database.write(stand, durable=True))
    thread.start()
    assert inside.wait(30)

    def child() -> None:
        producer.abandon()
        with pytest.raises(BrokerUnavailable, match="start it anew"):
            producer.enqueue(_job("child"), Origin("c", 1))
        with pytest.raises(BrokerUnavailable, match="start it anew"):
            Database(path, "penstock", lambda: 0.0).open()

    assert _in_child(child) == 0
    go_on.set()
    thread.join()
    producer.enqueue(_job("parent"), Origin("p", 2))
    assert _ids(producer) == ["q:before", "q:parent"]


def test_a_childs_threads_are_not_taken_for_those_that_enqueued_when_it_was_made(
    producer: SQLiteProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go = Event(), Event()
    real = enqueueing.enqueue

    def slow(*given: Any) -> Any:
        inside.set()
        go.wait(30)
        return real(*given)

    monkeypatch.setattr(enqueueing, "enqueue", slow)
    thread = Thread(target=producer.enqueue, args=[_job("parent"), Origin("p", 1)])
    thread.start()
    assert inside.wait(30)
    assert _in_child(_nothing_under_way) == 0
    go.set()
    thread.join()


def _nothing_under_way() -> None:
    assert not blocking._under_way
