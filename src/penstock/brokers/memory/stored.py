"""What the model keeps: a job, a line of them, a consumer's lease, orders to workers."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from penstock.core.job import MAX_PRIORITY, JobError, JobRecord
from penstock.core.lifecycle import JobState
from penstock.ports.broker import Command, WorkerCard

_S = JobState

# How long an answer can be read after it was given.
_KEEP_ANSWER_S: Final = 3600.0


@dataclass(slots=True)
class Stored:
    """A job as it is stored; the names are those of ``JobRecord`` and ``Delivery``."""

    id: str
    queue: str
    body: bytes
    priority: int
    due_at: float
    expires_at: float | None
    state: JobState = _S.READY
    token: int = 0
    attempt: int = 0
    crashes: int = 0
    streak: int = 0
    suspect: bool = False
    started: bool = False
    retried_at: float = 0.0
    consumer: str = ""
    # Asked to be cancelled while it ran; the state is then kept so long.
    cancel_ttl_s: float | None = None
    ended_at: float = 0.0
    forget_at: float | None = None
    cause: str = ""
    error: JobError | None = None
    result: bytes | None = None
    progress: bytes | None = None

    def has_expired(self, now: float) -> bool:
        """Whether it is too late to start it."""
        return self.expires_at is not None and self.expires_at <= now

    def let_go(self) -> None:
        """Nobody holds it any more."""
        self.consumer = ""
        self.started = False

    def record(self) -> JobRecord:
        """As it is seen from outside."""
        return JobRecord(
            id=self.id,
            queue=self.queue,
            state=self.state,
            body=self.body,
            priority=self.priority,
            attempt=self.attempt,
            crashes=self.crashes,
            token=self.token,
            due_at=self.due_at,
            expires_at=self.expires_at or 0.0,
            ended_at=self.ended_at,
            consumer=self.consumer,
            cancel_requested=self.cancel_ttl_s is not None,
            cause=self.cause,
            error=self.error,
            result=self.result,
            progress=self.progress,
        )


def _levels() -> list[OrderedDict[str, Stored]]:
    return [OrderedDict() for _ in range(MAX_PRIORITY + 1)]


@dataclass(slots=True)
class Line:
    """A queue: every job stands in exactly one of its places."""

    queue: str
    ready: list[OrderedDict[str, Stored]] = field(default_factory=_levels)
    suspects: OrderedDict[str, Stored] = field(default_factory=OrderedDict[str, "Stored"])
    scheduled: dict[str, Stored] = field(default_factory=dict[str, "Stored"])
    running: dict[str, Stored] = field(default_factory=dict[str, "Stored"])
    dead: dict[str, Stored] = field(default_factory=dict[str, "Stored"])
    outcomes: dict[str, Stored] = field(default_factory=dict[str, "Stored"])
    # Heap of (due_at, order, id) over ``scheduled``; entries of jobs that left stay until they come up.
    moments: list[tuple[float, int, str]] = field(default_factory=list[tuple[float, int, str]])
    order: count[int] = field(default_factory=count)
    enqueued_total: int = 0
    succeeded_total: int = 0
    failed_total: int = 0
    lost_total: int = 0
    paused: bool = False
    # The witness: when maintenance last looked, and until when it reclaims nothing.
    seen_at: float | None = None
    patient_until: float = 0.0

    def level(self, stored: Stored) -> OrderedDict[str, Stored]:
        """Where a ready job stands."""
        return self.suspects if stored.suspect else self.ready[stored.priority]

    def place(self, stored: Stored) -> MutableMapping[str, Stored]:
        """Where a job of this state stands."""
        match stored.state:
            case _S.READY:
                return self.level(stored)
            case _S.SCHEDULED:
                return self.scheduled
            case _S.RUNNING:
                return self.running
            case _S.FAILED | _S.QUARANTINED:
                return self.dead
            case _:
                return self.outcomes

    def next_moment(self) -> float | None:
        """When the next scheduled job is due."""
        while self.moments:
            due_at, _, id = self.moments[0]
            stored = self.scheduled.get(id)
            if stored is not None and stored.due_at == due_at:
                return due_at
            heapq.heappop(self.moments)
        return None

    def stepped_back_s(self, now: float) -> float:
        """How far the clock is behind where maintenance saw it last; 0 where it went on."""
        return max(0.0, self.seen_at - now) if self.seen_at is not None else 0.0

    def witness(self, now: float, lease_s: float) -> float:
        """Notes that maintenance looks now; seconds for which it shall still reclaim nothing.

        After a gap (a pause, a restart) or a step backwards nobody can tell who is dead: every lease may be over
        because nobody could beat.
        """
        if self.seen_at is None or not 0 <= now - self.seen_at <= lease_s / 2:
            self.patient_until = now + lease_s
        self.seen_at = now
        return max(0.0, self.patient_until - now)


@dataclass(slots=True)
class Member:
    """A consumer as it introduced itself."""

    id: str
    queues: Sequence[str]
    lease_s: float
    card: WorkerCard


@dataclass(slots=True)
class Lease:
    """Until when a consumer is taken for alive."""

    until: float
    member: Member


@dataclass(slots=True)
class _Order:
    worker: str
    verb: str
    expires_at: float
    text: str | None = None


class Orders:
    """Commands to workers and their answers, by id."""

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}

    def give(self, id: str, worker: str, verb: str, expires_at: float) -> None:
        """Stores an order."""
        self._orders[id] = _Order(worker, verb, expires_at)

    def open(self, now: float, worker: str) -> list[Command]:
        """The orders to a worker that are neither answered nor over, oldest first."""
        return [
            Command(id, order.verb)
            for id, order in self._orders.items()
            if order.worker == worker and order.text is None and order.expires_at > now
        ]

    def answer(self, now: float, id: str, text: str) -> None:
        """Notes the answer to an order that is known."""
        order = self._orders.get(id)
        if order is not None:
            order.text = text
            order.expires_at = now + _KEEP_ANSWER_S

    def answered(self, id: str) -> str | None:
        """The answer, if there is one."""
        order = self._orders.get(id)
        return order.text if order is not None else None

    def prune(self, now: float) -> None:
        """Forgets what is over."""
        for id in [id for id, order in self._orders.items() if order.expires_at <= now]:
            del self._orders[id]
