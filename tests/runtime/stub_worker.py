"""What a supervisor starts in its tests: a process that behaves in one of several ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

from penstock.runtime.guard import Pulse, fork_guard
from tests.runtime.conftest import ring

BELL = os.environ["TEST_BELL"]
SECONDS = 600.0


def connect(url: str, scheme: str, namespace: str) -> object:
    raise AssertionError("a supervised worker forks no guard")


def end_on(number: int, code: int) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        ring(BELL, f"{signal.Signals(number).name} {os.getpid()}")
        os._exit(code)

    signal.signal(number, end)


def main(mode: str) -> None:  # noqa: C901 - one way of behaving after the other
    pulse = fork_guard(connect)  # type: ignore[arg-type]
    assert isinstance(pulse, Pulse)
    assert pulse.supervised
    assert "PENSTOCK_SUPERVISED" not in os.environ
    ring(BELL, f"started {os.getpid()}")
    match mode:
        case "config":
            sys.exit(2)
        case "crash":
            sys.exit(7)
        case "once":
            sys.exit(0)
    # One that beats must not seem silent because the machine is busy.
    lease_s = 1.5 if mode == "drains" else 0.6
    pulse.introduce(("stub://", "stub", "penstock"), "abc", ["default"], lease_s)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "one-drains":
        try:
            os.close(os.open(f"{BELL}.first", os.O_CREAT | os.O_EXCL))
            mode = "drains"
        except FileExistsError:
            mode = "wedged"
    match mode:
        case "leaves-orphans":
            orphan = subprocess.run(
                ["/bin/sh", "-c", "sleep 0.1 >&- & echo $!"], capture_output=True, text=True
            )
            ring(BELL, f"orphan {orphan.stdout}")
            end_on(signal.SIGTERM, 0)
        case "drains":
            end_on(signal.SIGTERM, 0)
        case "leaves-behind":
            end_on(signal.SIGTERM, 4)
        case "worn":
            signal.signal(signal.SIGUSR2, lambda _n, _f: ring(BELL, f"SIGUSR2 {os.getpid()}"))
        case "hurries":
            end_on(signal.SIGUSR2, 4)
    signal.signal(signal.SIGTSTP, lambda _n, _f: ring(BELL, f"SIGTSTP {os.getpid()}"))
    signal.signal(signal.SIGUSR1, lambda _n, _f: ring(BELL, f"SIGUSR1 {os.getpid()}"))
    if mode == "worn":
        signal.signal(signal.SIGUSR1, lambda _n, _f: pulse.ask_for_successor("is worn"))
    pulse.beat(None)
    if mode == "silent":
        ring(BELL, f"ready {os.getpid()}")
        time.sleep(SECONDS)
    if mode == "without":
        pulse.close()
    ring(BELL, f"ready {os.getpid()}")
    done = threading.Event()
    while not done.wait(0.1):
        pulse.beat(None)


if __name__ == "__main__":
    main(sys.argv[1])
