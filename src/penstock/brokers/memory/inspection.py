"""The rules of ``Inspector`` over the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from penstock.brokers.memory.model import Model
from penstock.brokers.memory.stored import Line, Stored
from penstock.core.job import JobRecord, check_queue_name
from penstock.core.lifecycle import JobState
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import Cancelling, Change, Deleting, Page, QueueCounts, Retried

_S = JobState


class Inspection:
    """Looks at a model and acts on it, at the moments that it is given."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def queues(self) -> list[QueueCounts]:
        """See ``Inspector.queues``."""
        return [
            QueueCounts(
                queue=name,
                ready=len(line.suspects) + sum(map(len, line.ready)),
                scheduled=len(line.scheduled),
                running=len(line.running),
                failed=sum(stored.state is _S.FAILED for stored in line.dead.values()),
                quarantined=sum(stored.state is _S.QUARANTINED for stored in line.dead.values()),
                enqueued_total=line.enqueued_total,
                succeeded_total=line.succeeded_total,
                failed_total=line.failed_total,
                lost_total=line.lost_total,
                paused=line.paused,
            )
            for name, line in sorted(self._model.lines.items())
            if line.enqueued_total or line.paused
        ]

    def pause(self, queues: Sequence[str], paused: bool) -> list[str]:
        """See ``Inspector.pause`` and ``Inspector.resume``; the queues of which that is news."""
        changed: list[str] = []
        for name in [check_queue_name(name) for name in dict.fromkeys(queues)]:
            line = self._model.lines.setdefault(name, Line(name))
            if line.paused is not paused:
                line.paused = paused
                changed.append(name)
        return changed

    def get(self, now: float, id: str) -> JobRecord | None:
        """See ``Inspector.get``."""
        stored = self._model.find(now, id)
        return stored.record() if stored is not None else None

    def scan(self, queue: str, state: JobState, cursor: str | None, limit: int) -> Page:
        """See ``Inspector.scan``; the cursor is how many were seen."""
        seen = int(cursor or 0)
        page = [stored.record() for stored in islice(self._in_state(queue, state), seen, seen + limit)]
        return Page(page, str(seen + limit) if len(page) == limit else None)

    def _in_state(self, queue: str, state: JobState) -> Iterable[Stored]:
        line = self._model.lines.get(queue)
        if line is None:
            return ()
        match state:
            case _S.READY:
                levels = (line.suspects, *reversed(line.ready))
                return (stored for level in levels for stored in level.values())
            case _S.SCHEDULED:
                return sorted(line.scheduled.values(), key=lambda stored: stored.due_at)
            case _S.RUNNING:
                return line.running.values()
            case _S.FAILED | _S.QUARANTINED:
                return (stored for stored in line.dead.values() if stored.state is state)
            case _:
                return ()

    def change(self, now: float, ids: Sequence[str], change: Change) -> list[str]:
        """See ``Inspector.change``."""
        return [id for id in ids if self._change_one(now, id, change)]

    def _change_one(self, now: float, id: str, change: Change) -> bool:
        stored = self._model.find(now, id)
        if stored is None:
            return False
        match change:
            case Retried():
                return self._retry(now, stored)
            case Cancelling(ttl_s=ttl_s):
                return self._cancel(now, stored, ttl_s)
            case Deleting():
                if stored.state is _S.RUNNING:
                    return False
                self._model.forget(stored)
                return True

    def _retry(self, now: float, stored: Stored) -> bool:
        if stored.state is _S.SCHEDULED:
            stored.due_at = now
            self._model.move(stored, _S.READY)
            return True
        if stored.state not in {_S.FAILED, _S.QUARANTINED}:
            return False
        stored.attempt = stored.crashes = stored.streak = 0
        stored.suspect = False
        stored.retried_at = now
        stored.expires_at = None
        stored.ended_at = 0.0
        stored.cause, stored.error = "", None
        self._model.move(stored, _S.READY)
        return True

    def _cancel(self, now: float, stored: Stored, ttl_s: float) -> bool:
        if stored.state is _S.RUNNING:
            stored.cancel_ttl_s = ttl_s
            return True
        if stored.state not in {_S.READY, _S.SCHEDULED}:
            return False
        self._model.end(now, stored, _S.CANCELLED, ttl_s)
        return True

    def workers(self, now: float) -> list[WorkerCard]:
        """See ``Inspector.workers``."""
        leases = self._model.leases.values()
        return [lease.member.card for lease in leases if lease.until > now or self._model.holds(lease.member)]
