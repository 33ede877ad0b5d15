"""Colours and progress bars, where a person looks at them: on a terminal, with rich installed (``penstock[terminal]``).

Everywhere else nothing of it appears: not in a pipe, not with ``TERM=dumb``, and no colour with ``NO_COLOR``. rich
takes a tenth of a second to import, so it is imported where it is used and nowhere else. What users wrote (names,
errors) is given to it as plain text, in which it sees no markup.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STATES: Final = {
    "ready": "cyan",
    "scheduled": "blue",
    "running": "green",
    "succeeded": "green",
    "failed": "red",
    "quarantined": "magenta",
    "cancelled": "bright_black",
    "expired": "bright_black",
    "quiet": "yellow",
    "stopping": "yellow",
}
_TROUBLE: Final = {
    "dead": "red",
    "quarantined": "magenta",
    "lost": "yellow",
    "error": "red",
    "paused": "yellow",
}
# Quick work needs no bar, and does not wait for rich.
SHOWN_AFTER_S = 0.3
# Below this, folding the last column makes a tower of it.
_LAST_COLUMN: Final = 30
_GAP: Final = 2
_UNBOUNDED: Final = 100_000

Advance = Callable[[int, int | None], None]
"""Says how much is done, and of how much where that is known."""


def is_rich(stream: TextIO) -> bool:
    """Whether more than plain text is wanted there, and can be had."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}
        and find_spec("rich") is not None
    )


def is_coloured(stream: TextIO) -> bool:
    """Whether colours are wanted there, and can be had."""
    return not os.environ.get("NO_COLOR") and is_rich(stream)


def print_coloured_table(
    heads: Sequence[str], lines: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> None:
    """A table whose states are coloured; its last column folds where the terminal is too narrow."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    widths = [max(cell_len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    if sum(widths[:-1]) + _GAP * len(widths) + min(widths[-1], _LAST_COLUMN) > console.width:
        # An id that was cut or folded could not be copied: rather the terminal breaks the whole line.
        console = Console(file=sys.stdout, highlight=False, width=_UNBOUNDED)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for i, head in enumerate(heads):
        last = i == len(heads) - 1
        table.add_column(
            Text(head), justify="right" if numeric[i] else "left", no_wrap=not last, overflow="fold"
        )
    for line in lines:
        table.add_row(*(Text(text, _style(head, text)) for head, text in zip(heads, line, strict=True)))
    console.print(table)


def print_coloured(text: str, style: str) -> None:
    """A line in one colour."""
    from rich.console import Console
    from rich.text import Text

    Console(file=sys.stdout, highlight=False).print(Text(text, style), soft_wrap=True)


def _style(head: str, text: str) -> str:
    if head == "state":
        return STATES.get(text, "")
    return "" if text in {"0", "", "no"} else _TROUBLE.get(head, "")


@contextmanager
def bar(what: str) -> Generator[Advance]:
    """A progress bar on standard error while the block lasts, if it lasts; gives what moves it on."""
    if not is_rich(sys.stderr):
        yield _nobody_looks
        return
    shown = _Bar(what)
    try:
        yield shown.advance
    finally:
        shown.end()


def _nobody_looks(_done: int, _total: int | None) -> None:
    """Where there is no terminal."""


class _Bar:
    """Shown once its work has lasted a while."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._mono_shown_at = time.monotonic() + SHOWN_AFTER_S
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def advance(self, done: int, total: int | None) -> None:
        if self._progress is None:
            if time.monotonic() < self._mono_shown_at:
                return
            self._progress = self._begun()
            self._task = self._progress.add_task(self._what, total=total)
        assert self._task is not None
        self._progress.update(self._task, completed=done, total=total)

    def _begun(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr, highlight=False),
            transient=True,
        )
        progress.start()
        return progress

    def end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
