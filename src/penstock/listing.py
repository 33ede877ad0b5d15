"""What is stored, as a list: queues with their counts, jobs by what they have in common, workers.

A job's arguments are not among what is listed: they may be anybody's address or key.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec

from penstock.core.codec import Undecodable, decode_envelope
from penstock.core.job import JobRecord, check_queue_name
from penstock.core.lifecycle import JobState
from penstock.core.options import utc
from penstock.errors import ConfigError
from penstock.ports.inspector import Inspector, QueueCounts

if TYPE_CHECKING:
    from penstock.ports.broker import WorkerCard

# Bodies may have a megabyte each.
SLICE: Final = 100
# A scan lists these; of others nobody keeps a list. Waiting before running: what begins meanwhile is met there.
LISTED: Final = (JobState.SCHEDULED, JobState.READY, JobState.RUNNING, JobState.FAILED, JobState.QUARANTINED)
ListedState: TypeAlias = Literal["scheduled", "ready", "running", "failed", "quarantined"]
"""The states of which a list is kept, as ``state=`` of ``app.jobs`` takes them."""
# Jobs became due, or began, since they were counted.
_MOVED_INTO: Final = frozenset({JobState.READY, JobState.RUNNING})
_UUID7: Final = re.compile(r"[0-9a-f]{12}7[0-9a-f]{19}\Z")


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stored job, as it stood when it was looked at. None is unknown, or not yet.

    Attributes:
        id: With its queue: ``mail:0193...``; ``app.job(id)`` gives its handle.
        queue: Where it waits or runs, or ran.
        task: The task's name; None where the body cannot be decoded.
        state: Where it stands.
        priority: 0 to 9; higher runs first.
        attempt: Runs that ended in an error.
        crashes: Losses with their worker after it had started.
        enqueued_at: When it was made, by its producer's clock.
        due_at: When a scheduled job is due, by the broker's clock, as the moments below.
        expires_at: After which it is not started any more.
        ended_at: When it ended.
        worker: The id of who holds it.
        cancel_requested: Somebody asked to cancel it while it ran.
        cause: Why it is dead.
        error_type: The name of its last error's type.
        error_message: That error's text.
        tags: Its tags.
    """

    id: str
    queue: str
    task: str | None
    state: JobState
    priority: int
    attempt: int
    crashes: int
    enqueued_at: datetime | None
    due_at: datetime | None
    expires_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    cancel_requested: bool
    cause: str | None
    error_type: str | None
    error_message: str | None
    tags: tuple[str, ...]


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker whose lease holds, or whose jobs have not been taken back yet, as its last beat told.

    Attributes:
        id: Its random id; ``penstock workers ID stop`` takes its beginning.
        app: The application's name.
        host: The machine's name.
        pid: Its process there.
        queues: Those that it serves, in their order.
        concurrency: Jobs that it runs at once.
        state: ``running``, ``quiet`` or ``stopping``.
        started_at: When it started, by its own clock.
        seen_at: Its last beat, by the broker's clock.
        running: Jobs that it runs now.
        done: Runs that succeeded since it started.
        failed: Runs that ended in any other way.
        lost: Runs let go because the lease was over.
        version: Its Penstock's.
    """

    id: str
    app: str
    host: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    state: str
    started_at: datetime | None
    seen_at: datetime | None
    running: int
    done: int
    failed: int
    lost: int
    version: str


class Call(NamedTuple):
    """What a body says of its call, as far as it can be decoded."""

    task: str | None
    tags: list[str]
    enqueued_at: float
    headers: dict[str, str]


def call_of(record: JobRecord) -> Call:
    """What the job's body says; for one that cannot be decoded, what its id says."""
    try:
        envelope = decode_envelope(record.body)
    except Undecodable:
        return Call(None, [], _made_at(record.id), {})
    return Call(envelope.task, envelope.tags, envelope.at or _made_at(record.id), envelope.headers)


def job_info(record: JobRecord, call: Call | None = None) -> JobInfo:
    """A stored job as users hold it."""
    call = call or call_of(record)
    error = record.error
    return JobInfo(
        id=record.id,
        queue=record.queue,
        task=call.task,
        state=record.state,
        priority=record.priority,
        attempt=record.attempt,
        crashes=record.crashes,
        enqueued_at=utc(call.enqueued_at),
        due_at=utc(record.due_at) if record.state is JobState.SCHEDULED else None,
        expires_at=utc(record.expires_at),
        ended_at=utc(record.ended_at),
        worker=record.consumer or None,
        cancel_requested=record.cancel_requested,
        cause=record.cause or None,
        error_type=None if error is None else error.type,
        error_message=None if error is None else error.message,
        tags=tuple(call.tags),
    )


def worker_infos(cards: Iterable[WorkerCard]) -> list[WorkerInfo]:
    """Workers as users hold them, the oldest first."""
    return [worker_info(card) for card in sorted(cards, key=lambda card: (card.started_at, card.id))]


def worker_info(card: WorkerCard) -> WorkerInfo:
    """A worker's card as users hold it."""
    fields = msgspec.structs.asdict(card)
    fields |= {
        "queues": tuple(card.queues),
        "started_at": utc(card.started_at),
        "seen_at": utc(card.seen_at),
    }
    return WorkerInfo(**fields)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
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
        """The jobs that match, in slices; ``Scan`` says which.

        Args:
            inspector: Where they are stored.
            states: Where to look, when the filter names no states.
        """
        scan = Scan(self, states)
        while (found := await scan.next(inspector)) is not None:
            if found:
                yield found


class Scan:
    """Walks over the jobs that a filter means, a page at a time; holds one page and a cursor, on no connection.

    Of each queue and state it looks at no more jobs than there were at the start. So it ends, though jobs that are
    acted on come back, and producers go on.

    Attributes:
        total: How many jobs it will look at, at the most; 0 before the first page.
        seen: How many it has looked at.
    """

    def __init__(self, chosen: Filter, states: Sequence[JobState]) -> None:
        self._chosen = chosen
        self._states = chosen.states or states
        self._left: list[_Stretch] | None = None
        self.total: int = 0
        self.seen: int = 0

    async def next(self, inspector: Inspector) -> list[JobRecord] | None:
        """Those of the next page that match, perhaps none; None: that was all."""
        if self._left is None:
            self._left = self._stretches(await inspector.queues())
            self.total = sum(stretch.most for stretch in self._left)
        while self._left:
            stretch = self._left[0]
            page = await inspector.scan(
                stretch.queue, stretch.state, stretch.cursor, min(SLICE, stretch.most)
            )
            # By jobs, not by looks: a line may hold long stretches of what was cancelled.
            stretch.cursor, stretch.most = page.cursor, stretch.most - len(page.jobs)
            self.seen += len(page.jobs)
            if stretch.cursor is None or stretch.most <= 0:
                del self._left[0]
                self.total -= max(stretch.most, 0)
            return [record for record in page.jobs if self._chosen.matches(record, call_of(record))]
        return None

    def _stretches(self, queues: Sequence[QueueCounts]) -> list[_Stretch]:
        found: list[_Stretch] = []
        for counts in queues:
            if self._chosen.queues and counts.queue not in self._chosen.queues:
                continue
            for state in self._states:
                most: int = getattr(counts, str(state))
                if state in _MOVED_INTO:
                    most += SLICE
                if most > 0:
                    found.append(_Stretch(counts.queue, state, most))
        return found


class _Stretch(msgspec.Struct):
    """What of one queue and state is still to be looked at."""

    queue: str
    state: JobState
    most: int
    cursor: str | None = None


def chosen_by(
    queue: str | Iterable[str] | None,
    task: str | None,
    state: str | Iterable[str] | None,
    tag: str | None,
) -> Filter:
    """What ``app.jobs(...)`` was asked for.

    Raises:
        ConfigError: A queue's name cannot be one, or of a state no list is kept.
    """
    return Filter(
        queues=tuple(check_queue_name(name) for name in _each(queue)),
        states=tuple(listed("state", name) for name in _each(state)),
        task=task,
        tag=tag,
    )


def listed(option: str, name: str) -> JobState:
    """The state of this name, where lists of its jobs are kept.

    Raises:
        ConfigError: There are none.
    """
    if name not in LISTED:
        from difflib import get_close_matches  # only who mistypes pays for it

        found = ["failed"] if name == "dead" else get_close_matches(name, LISTED, 1, 0.6)
        guess = f"; did you mean {found[0]}?" if found else ""
        raise ConfigError(
            f"{option} {name}: one of {', '.join(LISTED)}; of other states no list is kept{guess}"
        )
    return JobState(name)


async def ajobs(open: Callable[[], Awaitable[Inspector]], chosen: Filter) -> AsyncIterator[JobInfo]:
    """The jobs that ``chosen`` means, page by page; ``open`` gives the running loop's inspector."""
    scan = Scan(chosen, LISTED)
    while (found := await scan.next(await open())) is not None:
        for record in found:
            yield job_info(record)


def jobs(ask: Callable[[Scan], list[JobRecord] | None], chosen: Filter) -> Iterator[JobInfo]:
    """The same for a blocking caller; ``ask`` gets a scan's next page."""
    scan = Scan(chosen, LISTED)
    while (found := ask(scan)) is not None:
        for record in found:
            yield job_info(record)


def _each(given: str | Iterable[str] | None) -> Iterable[str]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else given


def _made_at(id: str) -> float:
    """The moment that a UUIDv7 carries; 0 where the id is somebody's own."""
    name = id.partition(":")[2]
    return int(name[:12], 16) / 1000 if _UUID7.match(name) else 0.0
