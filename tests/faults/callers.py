"""Where people call ``delay()`` from: ``python -m tests.faults.callers fork|threads|loops|on_a_loop|exit``.

Each prints the ids of the jobs that were acknowledged, one a line, each in one write; nothing may hang or be refused.
``web`` is a WSGI application for gunicorn that has enqueued before its workers are forked.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from tests.faults.app import app, tick

EACH = 25


def acked(id: str) -> None:
    os.write(1, f"{id}\n".encode())


def some(name: str) -> None:
    for number in range(EACH):
        acked(tick.delay(f"{name}-{number}").id)


async def asome(name: str) -> None:
    for job in await asyncio.gather(*(tick.adelay(f"{name}-{number}") for number in range(EACH))):
        acked(job.id)


def fork() -> None:
    """Before a fork, in the children (blocking, then async, then asking for a state), in theirs, and in the parent."""
    some("before")
    asyncio.run(asome("before-async"))
    app.job("default:nobody")
    known = tick.delay("known")
    acked(known.id)
    known.status()  # starts the application's own loop and thread
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                some(f"child-{child}")
                asyncio.run(asome(f"child-async-{child}"))
                known.status()
                grandchild = os.fork()
                if grandchild == 0:
                    some(f"grandchild-{child}")
                    os._exit(0)
                os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
            except BaseException as error:
                os.write(2, f"child {child}: {error!r}\n".encode())
                os._exit(1)
        children.append(pid)
        some(f"parent-{child}")
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0] * 4, codes
    some("after")
    asyncio.run(asome("after-async"))
    known.status()


def threads() -> None:
    """Sixteen at once."""
    every = [threading.Thread(target=some, args=(f"thread-{number}",)) for number in range(16)]
    for each in every:
        each.start()
    for each in every:
        each.join()


def loops() -> None:
    """One event loop after another, then several at the same time."""
    for number in range(5):
        asyncio.run(asome(f"one-after-another-{number}"))
    every = [threading.Thread(target=lambda n=n: asyncio.run(asome(f"at-once-{n}"))) for n in range(5)]
    for each in every:
        each.start()
    for each in every:
        each.join()


def on_a_loop() -> None:
    """It works, and says once that it should not be done."""

    async def main() -> None:
        some("on-a-loop")
        await asome("beside-it")
        some("again")

    asyncio.run(main())


class Late:
    """Enqueues while the interpreter takes itself apart."""

    def __init__(self, call: Callable[[str], None], name: str) -> None:
        self._call, self._name = call, name

    def __del__(self) -> None:
        self._call(self._name)


def exit() -> None:
    """At the interpreter's exit: in atexit, after a use before it and without one."""
    atexit.register(lambda: asyncio.run(asome("exit-async")))
    atexit.register(lambda: some("exit-again"))
    atexit.register(lambda: some("exit"))
    if len(sys.argv) > 2:
        some("before-exit")


def web(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Every request enqueues and answers with the id."""
    job = tick.delay(f"web-{environ['QUERY_STRING']}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {job.id}".encode()]


if os.environ.get("FAULTS_PRELOAD"):
    tick.delay("preloaded").status()
    asyncio.run(asome("preloaded-async"))

if __name__ == "__main__":
    globals()[sys.argv[1]]()
