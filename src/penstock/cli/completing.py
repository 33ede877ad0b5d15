"""What a shell offers behind the tabulator key where only the broker knows it: names of queues, ids of workers, tasks.

It takes half a second at the most, and says nothing where nobody answers: a shell waits for it, and what it
printed would be taken for an offer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

from penstock.cli.target import Target

WITHIN_S: Final = 0.5
"""Seconds; ``_PENSTOCK_COMPLETE_WITHIN``, which is no setting, lets tests wait longer."""

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete(what: str, *, several: bool = False) -> Offer:
    """For ``shell_complete=``: offers what the function of this name in ``offers.py`` finds; ``several``: a,b,c."""

    def offer(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        try:
            with _bounded():
                found: list[tuple[str, str]] = getattr(import_module("penstock.cli.offers"), what)(
                    context.ensure_object(Target)
                )
        except Exception:  # who completes is told nothing: the command itself will say it
            return []
        before, comma, last = begun.rpartition(",") if several else ("", "", begun)
        return [
            CompletionItem(f"{before}{comma}{word}", help=meaning)
            for word, meaning in found
            if word.startswith(last)
        ]

    return offer


@contextmanager
def _bounded() -> Generator[None]:
    """Ends the process, silently, where the block takes too long: an import or a driver may not let go by itself."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(0))
        within_s = float(os.environ.get("_PENSTOCK_COMPLETE_WITHIN", WITHIN_S))
        signal.setitimer(signal.ITIMER_REAL, within_s)
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        yield
