"""What a shell offers behind the tabulator key where only the broker knows it: names of queues, ids of workers, tasks.

It takes half a second at the most, and says nothing where nobody answers: a shell waits for it, and what it printed would
be taken for an offer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from penstock.cli.target import Target

_WITHIN_S: Final = 0.5

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete(what: str) -> Offer:
    """For ``shell_complete=``: offers what the function of this name in ``offers.py`` finds."""

    def offer(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        with _bounded():
            found: list[tuple[str, str]] = getattr(import_module("penstock.cli.offers"), what)(
                _target(context), context.params
            )
        before, comma, last = begun.rpartition(",") if what == "queue_list" else ("", "", begun)
        return [
            CompletionItem(f"{before}{comma}{word}", help=meaning)
            for word, meaning in found
            if word.startswith(last)
        ]

    return offer


def _target(context: click.Context) -> Target:
    from penstock.cli.target import Target

    return context.ensure_object(Target)


@contextmanager
def _bounded() -> Iterator[None]:
    """Ends the process, silently, where the block takes too long: an import or a driver may not let go by itself."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, _WITHIN_S)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
