"""The rules of a broker as plain synchronous code over dicts: the truth against which every other broker is checked.

Written for reading. Time comes in as ``now``, seconds since the epoch by the broker's clock; nothing here waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import count

from penstock.brokers.memory.stored import Lease, Line, Member, Orders, Stored
from penstock.core import lifecycle
from penstock.core.job import DEFERRED, Delivery, Enqueued, Job, JobError, Origin
from penstock.core.lifecycle import JobState
from penstock.core.settlement import Again, Cancelled, Dead, Defer, Done, Quarantine, Release, Settlement
from penstock.ports.broker import Answer, Beat, Fetched, Maintained, Note, Progress, Started, WorkerCard

_S = JobState


class Model:
    """Everything that is stored under one name and namespace."""

    def __init__(self) -> None:
        self.jobs: dict[str, Stored] = {}
        self.lines: dict[str, Line] = {}
        self.leases: dict[str, Lease] = {}
        self.orders: Orders = Orders()
        # (producer, queue) to (number, answer, when); consumer to (number, lost, when).
        self._enqueues: dict[tuple[str, str], tuple[int, list[Enqueued], float]] = {}
        self._settles: dict[str, tuple[int, list[Delivery], float]] = {}
        self._tokens = count(1)

    # Enqueue

    def enqueue(self, now: float, jobs: Sequence[Job], origin: Origin) -> list[Enqueued]:
        """See ``Broker.enqueue``."""
        by_queue: dict[str, list[Job]] = {}
        for job in jobs:
            by_queue.setdefault(job.queue, []).append(job)
        answers = {
            queue: iter(self._enqueue_line(now, queue, part, origin)) for queue, part in by_queue.items()
        }
        return [next(answers[job.queue]) for job in jobs]

    def _enqueue_line(self, now: float, queue: str, jobs: list[Job], origin: Origin) -> list[Enqueued]:
        last = self._enqueues.get((origin.producer, queue))
        if last is not None and now - last[2] <= lifecycle.KEEP_NUMBER_S:
            number, answer, _ = last
            if origin.number == number:
                return answer
            if origin.number < number:  # it came late; what it brought was stored when it was new
                return [Enqueued(job.id, True) for job in jobs]
        answer = [Enqueued(job.id, self._add(now, job)) for job in jobs]
        self._enqueues[origin.producer, queue] = (origin.number, answer, now)
        return answer

    def _add(self, now: float, job: Job) -> bool:
        line = self.lines.setdefault(job.queue, Line(job.queue))
        if self.find(now, job.id) is not None:
            return False
        due_at = job.due_at if job.due_at is not None else now + job.delay_s
        expires_at = job.expires_at
        if expires_at is None and job.expires_s is not None:
            expires_at = now + job.expires_s
        stored = Stored(job.id, job.queue, job.body, job.priority, due_at=due_at, expires_at=expires_at)
        self.jobs[job.id] = stored
        line.enqueued_total += 1
        if due_at > now:
            self._place_later(line, stored)
        else:
            self._place_ready(line, stored)
        return True

    # Where a job stands

    def find(self, now: float, id: str) -> Stored | None:
        """The job, unless its outcome's time is up."""
        stored = self.jobs.get(id)
        if stored is not None and stored.forget_at is not None and stored.forget_at <= now:
            self.forget(stored)
            return None
        return stored

    def _place_ready(self, line: Line, stored: Stored, *, front: bool = False) -> None:
        stored.state = _S.READY
        level = line.level(stored)
        level[stored.id] = stored
        if front:
            level.move_to_end(stored.id, last=False)

    def _place_later(self, line: Line, stored: Stored) -> None:
        stored.state = _S.SCHEDULED
        line.scheduled[stored.id] = stored
        heapq.heappush(line.moments, (stored.due_at, next(line.order), stored.id))

    def _take_out(self, stored: Stored) -> Line:
        """Takes a job out of the place that its state names."""
        line = self.lines[stored.queue]
        line.place(stored).pop(stored.id, None)
        return line

    def move(self, stored: Stored, state: JobState, *, front: bool = False) -> None:
        """Takes a job from one place to another, along the table only."""
        if not lifecycle.allowed(stored.state, state):
            raise AssertionError(f"{stored.id}: {stored.state} to {state}")
        line = self._take_out(stored)
        stored.state = state
        if state is _S.READY:
            self._place_ready(line, stored, front=front)
        elif state is _S.SCHEDULED:
            self._place_later(line, stored)
        else:
            line.place(stored)[stored.id] = stored

    def end(self, now: float, stored: Stored, state: JobState, keep_s: float | None) -> None:
        """Ends a job; its state is kept ``keep_s``, None for as long as the dead are."""
        self.move(stored, state)
        stored.let_go()
        stored.cancel_ttl_s = None
        stored.ended_at = now
        if keep_s is not None:
            stored.forget_at = now + keep_s
            if keep_s <= 0:
                self.forget(stored)

    def forget(self, stored: Stored) -> None:
        self._take_out(stored)
        del self.jobs[stored.id]

    # Fetch

    def consumer(self, now: float, member: Member) -> None:
        """A new claim on queues; see ``Broker.consumer``."""
        member.card.seen_at = now
        self.renew(now, member)

    def renew(self, now: float, member: Member) -> None:
        """Makes the lease of ``member`` end its ``lease_s`` from now; also one that was over, or taken away."""
        self.leases[member.id] = Lease(now + member.lease_s, member)

    def fetch(
        self,
        now: float,
        member: Member,
        limit: int,
        max_bytes: int,
        suspects: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Fetched:
        """See ``Consumer.fetch``; it does not wait."""
        self.renew(now, member)
        queues = member.queues if order is None else [member.queues[place] for place in order]
        lines = [line for queue in queues if (line := self.lines.get(queue)) and not line.paused]
        for line in lines:
            self._promote(now, line, len(line.scheduled))
        deliveries: list[Delivery] = []
        left = max_bytes
        for stored in self._in_order(now, lines, limit if suspects is None else suspects):
            if len(deliveries) == limit or (deliveries and len(stored.body) > left):
                break
            left -= len(stored.body)
            deliveries.append(self._claim(member, stored))
        return Fetched(deliveries, self._next_due_s(now, lines))

    def _in_order(self, now: float, lines: Sequence[Line], suspects: int) -> Iterator[Stored]:
        """What may be claimed now, by queue, suspicion, priority and age; what has expired ends on the way."""
        for line in lines:
            for level in (line.suspects, *reversed(line.ready)):
                while level and (level is not line.suspects or suspects > 0):
                    stored = next(iter(level.values()))
                    if stored.has_expired(now):
                        self.end(now, stored, _S.EXPIRED, lifecycle.KEEP_EXPIRED_S)
                        continue
                    suspects -= stored.suspect
                    yield stored  # who asks for the next one has claimed it

    def _claim(self, member: Member, stored: Stored) -> Delivery:
        self.move(stored, _S.RUNNING)
        stored.consumer = member.id
        stored.token = next(self._tokens)
        return Delivery(
            stored.id,
            stored.queue,
            stored.body,
            stored.token,
            stored.attempt,
            stored.crashes,
            stored.streak,
            stored.suspect,
            stored.priority,
            stored.retried_at,
        )

    def _next_due_s(self, now: float, lines: Sequence[Line]) -> float | None:
        moments = [moment for line in lines if (moment := line.next_moment()) is not None]
        return max(0.0, min(moments) - now) if moments else None

    def _promote(self, now: float, line: Line, limit: int) -> int:
        promoted = 0
        while promoted < limit and (moment := line.next_moment()) is not None and moment <= now:
            stored = line.scheduled[line.moments[0][2]]
            self.move(stored, _S.READY)
            promoted += 1
        return promoted

    # Settle

    def settle(
        self, now: float, consumer: str, settlements: Sequence[Settlement], number: int
    ) -> list[Delivery]:
        """See ``Consumer.settle``."""
        last = self._settles.get(consumer)
        if last is not None and last[0] == number:
            return last[1]
        lost: list[Delivery] = []
        to_front: list[Release] = []
        for settlement in settlements:
            if self.held(consumer, settlement.delivery) is None:
                lost.append(settlement.delivery)
            elif isinstance(settlement, Release) and settlement.front:
                to_front.append(settlement)
            else:
                self._settle_one(now, consumer, settlement)
        for settlement in reversed(to_front):  # so that they keep their order there
            self._settle_one(now, consumer, settlement)
        self._settles[consumer] = (number, lost, now)
        return lost

    def held(self, consumer: str, delivery: Delivery) -> Stored | None:
        """The job of a delivery that ``consumer`` still holds."""
        stored = self.jobs.get(delivery.id)
        if stored is None or stored.state is not _S.RUNNING:
            return None
        return stored if (stored.consumer, stored.token) == (consumer, delivery.token) else None

    def _settle_one(self, now: float, consumer: str, settlement: Settlement) -> None:
        stored = self.held(consumer, settlement.delivery)
        if stored is None:  # named twice in one call
            return
        line = self.lines[stored.queue]
        match settlement:
            case Done(result=result, ttl_s=ttl_s):
                line.succeeded_total += 1
                stored.result = result
                stored.error = None
                self.end(now, stored, _S.SUCCEEDED, ttl_s)
            case Again(delay_s=delay_s, error=error):
                stored.attempt += 1
                stored.streak = 0
                self._put_off(now, stored, delay_s, error)
            case Defer(delay_s=delay_s, reason=reason, streak=streak):
                stored.streak = streak
                self._put_off(now, stored, delay_s, JobError(DEFERRED, reason))
            case Dead(error=error, cause=cause, spent=spent):
                line.failed_total += 1
                stored.attempt += spent
                stored.error = error
                stored.cause = cause
                self.end(now, stored, _S.FAILED, None)
            case Quarantine(reason=reason):
                stored.error = JobError("Quarantined", reason)
                self.end(now, stored, _S.QUARANTINED, None)
            case Cancelled(ttl_s=ttl_s):
                self.end(now, stored, _S.CANCELLED, ttl_s)
            case Release(front=front, crashed=crashed):
                stored.crashes += crashed
                stored.suspect |= crashed
                self._give_back(now, stored, front=front)

    def _put_off(self, now: float, stored: Stored, delay_s: float, error: JobError) -> None:
        if self._ends_cancelled(now, stored):
            return
        stored.error = error
        stored.due_at = now + delay_s
        stored.let_go()
        stored.suspect = False
        self.move(stored, _S.SCHEDULED)

    def _give_back(self, now: float, stored: Stored, *, front: bool) -> None:
        if self._ends_cancelled(now, stored):
            return
        stored.let_go()
        self.move(stored, _S.READY, front=front)

    def _ends_cancelled(self, now: float, stored: Stored) -> bool:
        """A job that is asked to be cancelled ends where it would go back."""
        if stored.cancel_ttl_s is None:
            return False
        self.end(now, stored, _S.CANCELLED, stored.cancel_ttl_s)
        return True

    # Leases

    def beat(
        self,
        now: float,
        member: Member,
        notes: Sequence[Note],
        holding: Sequence[Delivery],
        card: WorkerCard | None,
    ) -> Beat:
        """See ``Consumer.beat``."""
        if card is not None:
            member.card = card
        member.card.seen_at = now
        self.renew(now, member)
        named = [*holding, *(note.delivery for note in notes if not isinstance(note, Answer))]
        for note in notes:
            match note:
                case Started(delivery=delivery):
                    if (stored := self.held(member.id, delivery)) is not None:
                        stored.started = True
                case Progress(delivery=delivery, data=data):
                    if (stored := self.held(member.id, delivery)) is not None:
                        stored.progress = data
                case Answer(command_id=command_id, text=text):
                    self.orders.answer(now, command_id, text)
        return Beat(
            lost=frozenset(d.token for d in named if self.held(member.id, d) is None),
            cancelled=frozenset(s.token for s in self.holds(member) if s.cancel_ttl_s is not None),
            commands=self.orders.open(now, member.card.id),
        )

    def holds(self, member: Member) -> list[Stored]:
        """What a consumer holds, in the order of the claims."""
        lines = [self.lines[queue] for queue in member.queues if queue in self.lines]
        return [stored for line in lines for stored in line.running.values() if stored.consumer == member.id]

    def extend(self, now: float, consumer: str, lease_s: float) -> bool:
        """See ``BlockingProducer.extend``."""
        lease = self.leases.get(consumer)
        if lease is None:
            return False
        lease.until = now + lease_s
        return True

    def close_consumer(self, now: float, member: Member) -> None:
        """See ``Consumer.close``."""
        for stored in reversed(self.holds(member)):
            stored.suspect = False
            self._give_back(now, stored, front=True)
        self.leases.pop(member.id, None)

    # Maintenance

    def maintain(self, now: float, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
        """See ``Broker.maintain``."""
        promoted = reclaimed = expired = pruned = dropped = 0
        waiting_s = 0.0
        for queue in queues:
            line = self.lines.setdefault(queue, Line(queue))
            expired += self._expire(now, line, limit - expired)
            promoted += self._promote(now, line, limit - promoted)
            self._shorten_leases(now, lease_s, line.stepped_back_s(now))
            wait_s = line.witness(now, lease_s)
            waiting_s = max(waiting_s, wait_s)
            if not wait_s:
                reclaimed += self._reclaim(now, line, limit - reclaimed)
            gone = self._prune(now, line, limit - pruned)
            pruned += len(gone)
            dropped += sum(stored.state in {_S.FAILED, _S.QUARANTINED} for stored in gone)
        self._prune_the_rest(now)
        more = limit in (promoted, reclaimed, expired, pruned)
        return Maintained(promoted, reclaimed, expired, pruned, dropped, more, waiting_s)

    def _expire(self, now: float, line: Line, limit: int) -> int:
        levels = (line.suspects, *line.ready)
        waiting = [*line.scheduled.values(), *(stored for level in levels for stored in level.values())]
        over = [stored for stored in waiting if stored.has_expired(now)][:limit]
        for stored in over:
            self.end(now, stored, _S.EXPIRED, lifecycle.KEEP_EXPIRED_S)
        return len(over)

    def _reclaim(self, now: float, line: Line, limit: int) -> int:
        lost = [stored for stored in line.running.values() if not self._lease_holds(now, stored.consumer)]
        # The newest claims first, so that round after round ends up in front in the order of the claims.
        taken = lost[::-1][:limit]
        for stored in taken:
            stored.token = next(self._tokens)
            stored.suspect = True
            stored.crashes += stored.started
            line.lost_total += 1
            self._give_back(now, stored, front=True)
        return len(taken)

    def _shorten_leases(self, now: float, lease_s: float, stepped_back_s: float) -> None:
        """Puts leases back as far as the clock was, but not to before the end of one that is given now."""
        if stepped_back_s:
            for lease in self.leases.values():
                lease.until = min(lease.until, max(now + lease_s, lease.until - stepped_back_s))

    def _lease_holds(self, now: float, consumer: str) -> bool:
        lease = self.leases.get(consumer)
        return lease is not None and lease.until > now

    def _prune(self, now: float, line: Line, limit: int) -> list[Stored]:
        over = [s for s in line.outcomes.values() if s.forget_at is not None and s.forget_at <= now]
        surplus = len(line.dead) - lifecycle.KEEP_DEAD_JOBS
        for place, stored in enumerate(line.dead.values()):
            if place < surplus or stored.ended_at <= now - lifecycle.KEEP_DEAD_S:
                over.append(stored)
        for stored in over[:limit]:
            self.forget(stored)
        return over[:limit]

    def _prune_the_rest(self, now: float) -> None:
        oldest = now - lifecycle.KEEP_NUMBER_S
        for key in [key for key, (_, _, at) in self._enqueues.items() if at < oldest]:
            del self._enqueues[key]
        for consumer in [key for key, (_, _, at) in self._settles.items() if at < oldest]:
            del self._settles[consumer]
        for id, lease in list(self.leases.items()):
            if lease.until <= now and not self.holds(lease.member):
                del self.leases[id]
        self.orders.prune(now)
