"""Which jobs a command is about: ids, or what they have in common."""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

import click

from penstock.cli.described import Call, call_of
from penstock.core.job import JobRecord, check_queue_name
from penstock.core.lifecycle import JobState
from penstock.errors import ConfigError
from penstock.ports.inspector import Inspector, QueueCounts

F = TypeVar("F", bound=Callable[..., Any])

# Bodies may have a megabyte each.
SLICE: Final = 100
# A scan lists these; of others nobody keeps a list. Waiting before running: what begins meanwhile is met there.
LISTED: Final = (JobState.SCHEDULED, JobState.READY, JobState.RUNNING, JobState.FAILED, JobState.QUARANTINED)
# Jobs became due, or began, since they were counted.
_MOVED_INTO: Final = frozenset({JobState.READY, JobState.RUNNING})
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)\Z")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What jobs have in common; what is empty or None matches all.

    Attributes:
        queues: Any of these queues.
        states: Any of these states.
        task: The task's name, with ``*`` and ``?``.
        tag: One of its tags.
        error: Part of its last error's type or text, in any case.
        since_at: Reached its state at this moment or later: its end, or for what has not ended, when it was enqueued.
        until_at: The same, at this moment or before.
    """

    queues: tuple[str, ...] = ()
    states: tuple[JobState, ...] = ()
    task: str | None = None
    tag: str | None = None
    error: str | None = None
    since_at: float = -math.inf
    until_at: float = math.inf

    @property
    def names_any(self) -> bool:
        """Whether it says anything."""
        return self != Filter()

    def matches(self, record: JobRecord, call: Call) -> bool:
        """Whether a job of the right queue and state is meant."""
        if self.task is not None and not fnmatchcase(call.task or "", self.task):
            return False
        if self.tag is not None and self.tag not in call.tags:
            return False
        if self.error is not None:
            error = record.error
            text = "" if error is None else f"{error.type}: {error.message}"
            if self.error.casefold() not in text.casefold():
                return False
        return self.since_at <= (record.ended_at or call.enqueued_at) <= self.until_at

    async def scan(self, inspector: Inspector, states: Sequence[JobState]) -> AsyncIterator[list[JobRecord]]:
        """The jobs that match, in slices; of each queue and state at most as many as there were at the start.

        So a scan ends, though jobs that are acted on come back, and producers go on.

        Args:
            inspector: Where they are stored.
            states: Where to look, when the filter names no states.
        """
        for counts in await inspector.queues():
            if self.queues and counts.queue not in self.queues:
                continue
            for state in self.states or states:
                async for jobs in self._scan_one(inspector, counts, state):
                    yield jobs

    async def _scan_one(
        self, inspector: Inspector, counts: QueueCounts, state: JobState
    ) -> AsyncIterator[list[JobRecord]]:
        most: int = getattr(counts, str(state))
        if state in _MOVED_INTO:
            most += SLICE
        cursor: str | None = None
        while most > 0:
            page = await inspector.scan(counts.queue, state, cursor, min(SLICE, most))
            found = [record for record in page.jobs if self.matches(record, call_of(record))]
            if found:
                yield found
            # By jobs, not by looks: a line may hold long stretches of what was cancelled.
            cursor, most = page.cursor, most - len(page.jobs)
            if cursor is None:
                return


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
        click.option("--state", multiple=True, help=f"{', '.join(LISTED)}; again for more."),
        click.option("--task", metavar="NAME", help="The task's name; * and ? stand for anything."),
        click.option("--queue", multiple=True, help="Its queue; again for more."),
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]  # the same callable, decorated


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
        states=tuple(_state(name) for name in state),
        task=task,
        tag=tag,
        error=error,
        since_at=-math.inf if since is None else moment("--since", since),
        until_at=math.inf if until is None else moment("--until", until),
    )


def _state(name: str) -> JobState:
    if name not in LISTED:
        raise ConfigError(f"--state {name}: one of {', '.join(LISTED)}; of other states no list is kept")
    return JobState(name)


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
