"""Every thread's and every task's stack, as text: what the engineer on call asks a worker for."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any, Final

_OURS: Final = str(Path(__file__).parents[1])
_PYTHON: Final = (str(Path(threading.__file__).parent), sys.prefix)
# Functions, and parts of lines, in which a thread or a task that has nothing to do stands.
_WAITS: Final = frozenset({"wait", "select", "get", "_worker", "poll"})
_WAITING: Final = (
    ".get()",
    ".wait(",
    ".acquire(",
    "run_until_complete(",
    ".flock(",
    ".waitid(",
    "await ",
)

# An idle worker asks for jobs now and then, which takes its threads a fraction of a millisecond. The loop that answers
# stands meanwhile.
_LOOKS_AGAIN: Final = 3
_LOOK_AGAIN_S: Final = 0.002


def every_stack(loops: Sequence[asyncio.AbstractEventLoop]) -> str:
    """The stacks of all threads, and of the tasks of these loops: users' code first, who idles in one line at the end.

    Names and lines only: no arguments, no values.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    users: list[str] = []
    ours: list[str] = []
    idle: list[str] = []
    for ident, frames in _threads().items():
        name = names.get(ident, "?")
        if ident == threading.get_ident():  # it has nothing else to do, or it would not be here
            idle.append(name)
        elif frames:
            _sort(f"--- thread {name} ({ident})", name, frames, (users, ours, idle))
    for loop in loops:
        for task in _tasks(loop):
            frames = _frames_of(task)
            _sort(f"--- task {task.get_name()}", f"task {task.get_name()}", frames, (users, ours, idle))
    waiting = [f"--- idle: {', '.join(sorted(idle))}\n"] if idle else []
    return "\n".join([*users, *ours, *waiting])


def _threads() -> dict[int, list[traceback.FrameSummary]]:
    """Where each thread stands; ours that are at work are looked at again, since mostly they idle a moment later.

    Nothing of one that has ended meanwhile.
    """
    now = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    stacks: dict[int, list[traceback.FrameSummary]] = {
        ident: traceback.extract_stack(frame) for ident, frame in now.items()
    }
    for _ in range(_LOOKS_AGAIN):
        at_work = [
            ident
            for ident, frames in stacks.items()
            if ident != threading.get_ident()
            and frames
            and not _is_waiting(frames[-1])
            and all(_is_known(each.filename) for each in frames)
        ]
        if not at_work:
            break
        sleep(_LOOK_AGAIN_S)
        now = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        for ident in at_work:
            stacks[ident] = traceback.extract_stack(now[ident]) if ident in now else []
    return stacks


def _sort(
    title: str, name: str, frames: list[traceback.FrameSummary], into: tuple[list[str], list[str], list[str]]
) -> None:
    users, ours, idle = into
    # How the interpreter came to where the work begins says nothing.
    first = next((n for n, frame in enumerate(frames) if not _is_known(frame.filename)), None)
    text = f"{title}\n{''.join(traceback.format_list(frames[first or 0 :]))}"
    if first is not None:
        users.append(text)
    elif not frames or _is_waiting(frames[-1]):
        idle.append(name)
    else:
        ours.append(text)


def _is_known(filename: str) -> bool:
    """Whether a file is ours or Python's; what is installed may be what a user's job waits in."""
    return filename.startswith(("<", _OURS)) or (filename.startswith(_PYTHON) and "-packages" not in filename)


def _frames_of(task: asyncio.Task[object]) -> list[traceback.FrameSummary]:
    """Down to where it waits; ``get_stack`` of a task that waits knows its outermost coroutine alone."""
    frames: list[traceback.FrameSummary] = []
    step: Any = task.get_coro()
    while (frame := getattr(step, "cr_frame", None)) is not None:
        frames += traceback.extract_stack(frame, 1)
        step = step.cr_await
    return frames


def _is_waiting(frame: traceback.FrameSummary) -> bool:
    """Whether a thread without users' code stands where one waits for work."""
    return frame.name in _WAITS or any(word in (frame.line or "") for word in _WAITING)


def _tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[object]]:
    for _ in range(3):  # the set of tasks may change while another thread reads it
        try:
            return list(asyncio.all_tasks(loop))
        except RuntimeError:
            continue
    return []
