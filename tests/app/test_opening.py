"""A first async call waits for a broker that is just coming up, as a blocking one does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from penstock import BrokerUnavailable, Penstock
from penstock.brokers.memory.broker import MemoryBroker


class Away:
    """Refuses so many times to be opened (None: always)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int | None) -> None:
        self.tries = 0
        real = MemoryBroker.open

        async def open_(broker: MemoryBroker) -> Sequence[str]:
            self.tries += 1
            if times is None or self.tries <= times:
                raise BrokerUnavailable("connection refused")
            return await real(broker)

        monkeypatch.setattr(MemoryBroker, "open", open_)


def test_it_is_waited_for(app: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task
    def f() -> None: ...

    away = Away(monkeypatch, 3)
    assert asyncio.run(f.adelay()).added
    assert away.tries == 4


def test_no_longer_than_an_enqueue_may_take(app: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    app.configure({"enqueue_timeout": 0.2})

    @app.task
    def f() -> None: ...

    away = Away(monkeypatch, None)
    mono = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="connection refused"):
        asyncio.run(f.adelay())
    assert 0.05 < time.monotonic() - mono < 2
    assert away.tries > 1


def test_all_who_wait_for_the_opening_are_told_the_same(
    app: Penstock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.configure({"enqueue_timeout": 0.2})

    @app.task
    def f() -> None: ...

    async def several() -> list[object]:
        return await asyncio.gather(*(f.adelay() for _ in range(3)), return_exceptions=True)

    Away(monkeypatch, None)
    mono = time.monotonic()
    assert [str(error) for error in asyncio.run(several())] == ["connection refused"] * 3
    assert time.monotonic() - mono < 2


def test_who_waited_opens_it_where_the_first_was_cancelled(
    app: Penstock, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    def f() -> None: ...

    opening = asyncio.Event()
    real = MemoryBroker.open

    async def open_(broker: MemoryBroker) -> Sequence[str]:
        if not opening.is_set():
            opening.set()
            await asyncio.Event().wait()
        return await real(broker)

    monkeypatch.setattr(MemoryBroker, "open", open_)

    async def both() -> bool:
        first = asyncio.create_task(f.adelay())
        await opening.wait()
        second = asyncio.create_task(f.adelay())
        await asyncio.sleep(0)
        first.cancel()
        return (await second).added

    assert asyncio.run(both())


def test_loops_of_other_threads_come_meanwhile(app: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = [asyncio.new_event_loop() for _ in range(3)]

    def use(loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(app.asend("t"))

    for loop in loops[:2]:
        use(loop)
    asked = loops[0].is_closed

    def meanwhile() -> bool:
        """As one thread asks the loops whether they are closed, another one begins to use its own."""
        monkeypatch.setattr(loops[0], "is_closed", asked)
        thread = threading.Thread(target=use, args=(loops[2],))
        thread.start()
        thread.join()
        return asked()

    monkeypatch.setattr(loops[0], "is_closed", meanwhile)
    asyncio.run(app.asend("t"))
    assert len(app._clients) == len(loops)
    for loop in loops:
        loop.close()
    asyncio.run(app.asend("t"))
    assert len(app._clients) == 0, "what was closed is forgotten"
