"""What a dump shows of threads that are at work for a moment, or for long."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from penstock.runtime import stacks


@pytest.fixture
def busy() -> threading.Lock:
    """Holds a thread of no user's code in what is no wait for work."""
    lock = threading.Lock()
    lock.acquire()
    thread = threading.Thread(target=lock.acquire, name="a-moment", daemon=True)
    thread.start()
    assert thread.ident is not None
    while sys._current_frames()[thread.ident].f_code.co_name != "run":
        time.sleep(0.001)  # it is still being started
    return lock


def test_a_moment_of_work_is_not_shown(busy: threading.Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    (thread,) = (each for each in threading.enumerate() if each.name == "a-moment")

    def sleep(_seconds: float) -> None:
        if thread.is_alive():
            busy.release()
            thread.join()

    monkeypatch.setattr(stacks, "sleep", sleep)
    shown = stacks.every_stack([])
    assert not thread.is_alive()
    assert "--- thread a-moment" not in shown


def test_what_works_on_is_shown(busy: threading.Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    monkeypatch.setattr(stacks, "sleep", looks.append)
    try:
        shown = stacks.every_stack([])
    finally:
        busy.release()
    assert "--- thread a-moment (" in shown
    assert len(looks) == 3  # for all threads together: the loop that answers stands meanwhile


def test_who_waits_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "sleep", lambda _seconds: None)
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="waits", daemon=True)
    thread.start()
    try:
        said = stacks.every_stack([])
    finally:
        end.set()
        thread.join()
    assert "--- thread waits" not in said
    assert "waits" in said.partition("--- idle: ")[2]


def test_who_waits_for_a_child_process_is_one_word() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    waits = lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # noqa: E731 - a thread's whole work
    thread = threading.Thread(target=waits, name="waits", daemon=True)
    thread.start()
    assert thread.ident is not None
    while sys._current_frames()[thread.ident].f_code.co_name != "<lambda>":
        time.sleep(0.001)  # it is still being started
    try:
        frames = stacks._threads()[thread.ident]
    finally:
        assert child.stdin is not None
        child.stdin.close()  # it ends; to wait for it here would take its end from the thread
        thread.join()
        child.wait()
    assert stacks._is_waiting(frames[-1])
