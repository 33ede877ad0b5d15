"""Tasks that run in child processes."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from penstock import INJECTED, Penstock, Reject, Retry, current_job
from penstock.runtime.limits import MB, resident_bytes
from tests.runtime.conftest import ring

app = Penstock("children", broker="memory://children")
mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")
ballast: list[bytearray] = []
bell = os.environ.get("TEST_BELL", "")


@app.resource
def shared() -> Iterator[list[int]]:
    ring(bell, f"open {os.getpid()}")
    yield [0]
    ring(bell, f"close {os.getpid()}")


@app.resource
async def ticking() -> AsyncIterator[str]:
    async def tick() -> None:
        while True:
            await asyncio.sleep(0.05)
            ring(bell, "tick")

    task = asyncio.get_running_loop().create_task(tick())
    yield "async"
    task.cancel()
    ring(bell, "aclose")


@app.task(lane="process")
def add(x: int, y: int) -> int:
    return x + y


@app.task(lane="process")
def count(box: Annotated[list[int], shared] = INJECTED) -> tuple[int, int]:
    box[0] += 1
    return os.getpid(), box[0]


@app.task(lane="process")
def held() -> int:
    return resident_bytes()


@app.task(lane="process")
def grow(megabytes: int) -> int:
    ballast.append(bytearray(os.urandom(1)) * (megabytes * MB))
    return os.getpid()


@app.task(lane="process")
async def greet(name: str, how: Annotated[str, ticking] = INJECTED) -> str:
    before = mark.get()
    mark.set(name)
    await asyncio.sleep(0)
    return f"{before} {how} {name}"


@app.task(lane="process")
def look(name: str) -> str:
    before = mark.get()
    mark.set(name)
    return before


@app.task(lane="process")
def log_and_fail() -> None:
    logging.getLogger("shop.orders").warning("order %d is odd", 7)
    try:
        raise ValueError("inner")
    except ValueError:
        logging.getLogger("shop.orders").exception("it went wrong")
    raise Reject("no")


@app.task(lane="process")
def about() -> str:
    job = current_job()
    return f"{job.task} {job.attempt} of {job.max_attempts} in {job.queue}"


@app.task(lane="process")
def obedient() -> str:
    """Until it is asked to end."""
    job = current_job()
    ring(bell, "begun")
    step = 0
    while not job.cancelled():
        step += 1
        job.progress(step, None, "at it")
        time.sleep(0.01)
    ring(bell, "asked")
    return "too late"


@app.task(lane="process")
def stops_early() -> str:
    ring(bell, "begun")
    while not current_job().stopping():
        time.sleep(0.01)
    return "stopped early"


@app.task(lane="process", timeout=0.2, retry=Retry(attempts=2, base=0.01))
def deaf() -> None:
    ring(bell, f"begun {os.getpid()}")
    while True:
        time.sleep(60)


@app.task(lane="process", retry=False)
def deaf_for_ever() -> None:
    ring(bell, f"begun {os.getpid()}")
    while True:
        time.sleep(60)


@app.task(lane="process", timeout=0.2, retry=False)
async def patient() -> None:
    try:
        await asyncio.sleep(600)
    finally:
        ring(bell, "cleaned up")


@app.task(lane="process", retry=False)
def with_family() -> None:
    """Starts a program, and waits for it for ever."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    ring(bell, f"family {child.pid}")
    child.wait()


@app.task(lane="process")
def crash(how: str) -> None:
    match how:
        case "exit":
            os._exit(3)
        case "segv":
            ctypes.string_at(0)
        case _:
            os.kill(os.getpid(), int(how))


@app.task(lane="process", delivery="at_most_once")
def crash_once() -> None:
    ring(bell, "ran")
    os._exit(1)


@app.task(lane="process")
def signalled() -> str:
    """What a terminal or a service manager may send to all processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        os.kill(os.getpid(), number)
    seen = subprocess.run(
        [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return seen.stdout.strip()


@app.task(lane="process")
def echo(text: str) -> str:
    return text


@app.task(lane="process")
def holds_the_gil(seconds: float) -> None:
    ring(bell, f"begun {os.getpid()}")
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@app.task
def on_thread() -> int:
    return os.getpid()


@app.task
async def on_loop() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@app.task(retry=False)
def waits(name: str) -> str:
    """On a thread, until the worker drains or for ever."""
    ring(bell, f"begun {name} {os.getpid()}")
    while not current_job().stopping():
        time.sleep(0.01)
    return name


@app.task(retry=False)
def ignores_all(name: str) -> None:
    ring(bell, f"begun {name} {os.getpid()}")
    time.sleep(600)


@app.task(retry=False)
def thread_holds_the_gil(seconds: float) -> None:
    ring(bell, f"begun {os.getpid()}")
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    ring(bell, "ended")


@app.task(retry=False)
async def blocks_the_loop(seconds: float) -> None:
    ring(bell, "begun")
    time.sleep(seconds)  # noqa: ASYNC251 - what one should not do
    ring(bell, "ended")


@app.task(lane="process")
def enqueues() -> str:
    try:
        return add.delay(2, 3).id
    finally:
        app.close()
