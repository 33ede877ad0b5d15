"""The loop behind blocking calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from penstock import PenstockError
from penstock.portal import Portal


async def answer() -> int:
    return 5


async def nothing() -> None: ...


async def dies() -> None:
    raise SystemExit  # asyncio lets this one through its loop


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returned or raised; an assertion where it hangs."""
    said: list[Any] = []

    def run() -> None:
        try:
            said.append(call())
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert said, "the call hangs"
    return said[0]


def test_a_loop_that_dies_takes_nobody_with_it(caplog: pytest.LogCaptureFixture) -> None:
    portal = Portal()
    begun = threading.Event()
    ends: list[Any] = []

    async def waits() -> None:
        begun.set()
        await asyncio.Event().wait()

    other = threading.Thread(target=lambda: ends.append(outcome(lambda: portal.call(waits()))))
    other.start()
    assert begun.wait(10)
    assert isinstance(outcome(lambda: portal.call(dies())), PenstockError | SystemExit)
    other.join(15)
    assert isinstance(ends[0], PenstockError)
    assert "died: SystemExit" in str(ends[0])
    assert "please report it" in caplog.text
    assert outcome(lambda: portal.call(answer())) == 5
    closed = outcome(lambda: portal.close(nothing()))
    assert closed is None
    assert not portal.started
