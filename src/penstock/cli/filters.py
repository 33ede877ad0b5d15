"""Which jobs a command is about, in its options; ``listing.py`` finds them."""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import click

from penstock.cli.completing import complete
from penstock.core.job import check_queue_name
from penstock.errors import ConfigError
from penstock.listing import LISTED, Filter, listed

F = TypeVar("F", bound=Callable[..., Any])

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)\Z")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def filters(function: F) -> F:
    """The options of a filter; the command is given ``chosen``, a ``Filter``."""

    @functools.wraps(function)  # the options that are already there hang on it
    def with_filter(*args: Any, **kwargs: Any) -> Any:
        names = ("queue", "task", "state", "tag", "error", "since", "until")
        return function(*args, chosen=_filter(**{name: kwargs.pop(name) for name in names}), **kwargs)

    decorated: Any = with_filter
    moments = "an age (90s, 15m, 2h, 3d) or a moment (2026-11-22T10:00, local time, or with a zone)"
    for decorate in (
        click.option("--until", metavar="WHEN", help="The same, at that moment or before."),
        click.option("--since", metavar="WHEN", help=f"Ended, or if not ended enqueued, since: {moments}."),
        click.option("--error", metavar="TEXT", help="Part of its last error."),
        click.option("--tag", help="One of its tags."),
        click.option(
            "--state", multiple=True, shell_complete=_states, help=f"{', '.join(LISTED)}; again for more."
        ),
        click.option(
            "--task",
            metavar="NAME",
            shell_complete=complete("tasks"),
            help="The task's name; * and ? stand for anything.",
        ),
        click.option(
            "--queue", multiple=True, shell_complete=complete("queues"), help="Its queue; again for more."
        ),
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]  # the same callable, decorated


def _states(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [str(state) for state in LISTED if state.startswith(begun)]


def _filter(
    *,
    queue: tuple[str, ...],
    task: str | None,
    state: tuple[str, ...],
    tag: str | None,
    error: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    return Filter(
        queues=tuple(check_queue_name(name) for name in queue),
        states=tuple(listed("--state", name) for name in state),
        task=task,
        tag=tag,
        error=error,
        since_at=-math.inf if since is None else moment("--since", since),
        until_at=math.inf if until is None else moment("--until", until),
    )


def moment(option: str, text: str) -> float:
    """``90s``, ``2h`` or an ISO 8601 moment, in seconds since the epoch. Without a zone it is local time.

    Raises:
        ConfigError: It is neither.
    """
    if found := _AGE.match(text):
        return time.time() - float(found[1]) * _UNITS_S[found[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} {text!r}: an age such as 90s, 15m, 2h or 3d, or a moment such as 2026-11-22T10:00"
        ) from None
