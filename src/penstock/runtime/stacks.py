"""Every thread's and every task's stack, as text: what the engineer on call asks a worker for."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Sequence


def every_stack(loops: Sequence[asyncio.AbstractEventLoop]) -> str:
    """The stacks of all threads, and of the tasks of these loops. Names and lines only: no arguments, no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts: list[str] = []
    for ident, frame in sys._current_frames().items():  # pyright: ignore[reportPrivateUsage]
        parts.append(
            f"--- thread {names.get(ident, '?')} ({ident})\n{''.join(traceback.format_stack(frame))}"
        )
    for loop in loops:
        for task in _tasks(loop):
            where = "".join("".join(traceback.format_stack(frame)) for frame in task.get_stack(limit=8))
            parts.append(f"--- task {task.get_name()}\n{where}")
    return "\n".join(parts)


def _tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[object]]:
    for _ in range(3):  # the set of tasks may change while another thread reads it
        try:
            return list(asyncio.all_tasks(loop))
        except RuntimeError:
            continue
    return []
