"""A broker and the model driven side by side: each call is made on both, and what is seen of both must be the same.

The broker's clock runs while the model's stands still between the calls. All times of a test are therefore multiples
of ``UNIT_S``, far longer than a test takes: what happened before happened earlier on both, at equal model times too.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock import brokers
from penstock.brokers import Address
from penstock.brokers.memory import Model
from penstock.brokers.memory.inspection import Inspection
from penstock.brokers.memory.stored import Member
from penstock.core.job import Delivery, Enqueued, Job, JobRecord, Origin
from penstock.core.lifecycle import KEEP_NUMBER_S, JobState
from penstock.core.settlement import Settlement
from penstock.ports.broker import Consumer, Progress, Started, WorkerCard
from penstock.ports.inspector import Change

# Neither half of the lease nor an hour nor ninety days are multiples of it, so no comparison meets a tie.
UNIT_S = 70.0
LEASE_S = 5 * UNIT_S
QUEUES = ("a", "b")
_ALL = 10_000
_STALE = 10

_S = JobState


@dataclass(slots=True)
class Pair:
    """One delivery as the broker and as the model made it: alike but for the token's value."""

    real: Delivery
    model: Delivery


@dataclass(slots=True)
class Worker:
    """A consumer on both sides, and what it believes to hold."""

    consumer: Consumer
    member: Member
    held: list[Pair] = field(default_factory=list[Pair])
    stale: list[Pair] = field(default_factory=list[Pair])
    tokens: dict[int, str] = field(default_factory=dict[int, str])
    calls: int = 0
    heard_at: float = 0.0
    last: tuple[list[Settlement], list[Settlement], float] | None = None


class Twin:
    """The two sides. Every method asserts that they agree; the broker's calls run on a loop of this object."""

    def __init__(self, address: Address) -> None:
        self._runner = asyncio.Runner()
        self._broker = brokers.connect(address)
        self._runner.run(self._broker.open())
        self._model = Model()
        self._view = Inspection(self._model)
        self._tokens: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._last: dict[str, tuple[list[Job], list[Enqueued], float]] = {}
        # Something may be due or expired that only a fetch or a round of maintenance finds, each in its own order.
        self._unseen = False
        self.began: float = time.time()
        self.now: float = self.began
        self.ids: list[str] = []
        self.workers: list[Worker] = []
        self._forgot_at = -math.inf
        self._joined = 0
        self._left: set[str] = set()

    def close(self) -> None:
        """Closes the broker and its loop."""
        try:
            self._runner.run(self._broker.close())
        finally:
            self._runner.close()

    # Time

    def advance(self, units: int) -> None:
        """Moves both clocks; backwards too, but not to before a moment at which an outcome was forgotten.

        Where a server forgets by a clock of its own (a key's time to live on Redis), it has forgotten for good; the
        clock that tests move would bring back what it was not told to forget.
        """
        self.settle_down()
        if self.now + units * UNIT_S < self._forgot_at:
            return
        self.now += units * UNIT_S
        self._broker.clock_shift_s += units * UNIT_S
        forgotten = [stored.forget_at for stored in self._model.jobs.values() if stored.forget_at is not None]
        self._forgot_at = max([self._forgot_at, *(moment for moment in forgotten if moment <= self.now)])
        # What is forgotten once stays so, though the clock goes back.
        for worker in self.workers:
            worker.heard_at = min(worker.heard_at, self.now)  # a step back is taken off the leases
            if self.now - worker.heard_at >= LEASE_S:
                worker.heard_at = -math.inf
            if worker.last is not None and self.now - worker.last[2] >= KEEP_NUMBER_S:
                worker.last = None
        for producer in [p for p, (_, _, at) in self._last.items() if self.now - at >= KEEP_NUMBER_S]:
            del self._last[producer]
        self._unseen = True

    def settle_down(self) -> None:
        """Before anything is put into a line: what became due or expired is looked for on both."""
        while self._unseen:
            self.maintain(QUEUES)

    def maintain(self, queues: Sequence[str]) -> None:
        """One round of maintenance."""
        real = self._runner.run(self._broker.maintain(queues, _ALL, LEASE_S))
        model = self._model.maintain(self.now, queues, _ALL, LEASE_S)
        assert real.reclaimed == model.reclaimed
        assert not real.more
        assert abs(real.waiting_s - model.waiting_s) < UNIT_S / 2
        if not self._unseen:
            assert (real.promoted, real.expired) == (model.promoted, model.expired)
        # What was reclaimed may have expired.
        self._unseen = model.reclaimed > 0 or (self._unseen and set(queues) != set(QUEUES))

    # Enqueue

    def enqueue(self, producer: str, jobs: list[Job]) -> None:
        """A new call."""
        self.settle_down()
        self._calls[producer] = number = self._calls.get(producer, 0) + 1
        model = self._model.enqueue(self.now, jobs, Origin(producer, number))
        real = list(self._runner.run(self._broker.enqueue(jobs, Origin(producer, number))))
        assert real == model
        self._last[producer] = (jobs, model, self.now)
        named = list(dict.fromkeys(job.id for job in jobs))
        self.ids = [*(id for id in self.ids if id not in named), *named]
        self._unseen = any(job.expires_at is not None for job in jobs)  # in the past, maybe

    def enqueue_again(self, producer: str) -> None:
        """The last call once more, within the time for which its number is kept."""
        if producer not in self._last:
            return
        self.settle_down()
        jobs, answer, _ = self._last[producer]
        origin = Origin(producer, self._calls[producer])
        assert self._model.enqueue(self.now, jobs, origin) == answer
        assert list(self._runner.run(self._broker.enqueue(jobs, origin))) == answer

    # Consumers

    def join(self, queues: Sequence[str]) -> None:
        """A new consumer."""
        self._joined += 1
        id = f"consumer-{self._joined}"
        card = WorkerCard(f"card-of-{id}", "app", queues=list(queues))
        member = Member(id, queues, LEASE_S, WorkerCard(card.id, "app"))
        consumer = self._runner.run(
            self._broker.consumer(queues, window=1000, lease_s=LEASE_S, card=card, id=id)
        )
        assert consumer.id == id
        self._model.consumer(self.now, member)
        self.workers.append(Worker(consumer, member, heard_at=self.now))

    def fetch(
        self,
        worker: Worker,
        limit: int,
        max_bytes: int,
        suspects: int | None = None,
        order: Sequence[int] | None = None,
    ) -> None:
        """Both must bring the same jobs, in the same order, in the same condition."""
        model = self._model.fetch(self.now, worker.member, limit, max_bytes, suspects, order)
        real = self._runner.run(worker.consumer.fetch(limit, max_bytes, 0, suspects, order))
        worker.heard_at = min(worker.heard_at, self.now)  # its lease may begin anew at a moment set back
        assert [self._plain(d) for d in real.deliveries] == [self._plain(d) for d in model.deliveries]
        for mine, theirs in zip(real.deliveries, model.deliveries, strict=True):
            assert mine.token > self._tokens.get(mine.id, -1), f"{mine.id}: token {mine.token} again"
            assert mine.token not in worker.tokens, f"token {mine.token} is given twice to one consumer"
            self._tokens[mine.id] = mine.token
            worker.tokens[mine.token] = mine.id
            worker.held.append(Pair(mine, theirs))

    def _plain(self, d: Delivery) -> tuple[object, ...]:
        return (
            d.id,
            d.queue,
            d.body,
            d.attempt,
            d.crashes,
            d.streak,
            d.suspect,
            d.priority,
            d.retried_at > 0,
        )

    def settle(self, worker: Worker, real: list[Settlement], model: list[Settlement]) -> None:
        """A new call: the same settlements, with each side's own deliveries."""
        self.settle_down()
        worker.calls += 1
        worker.last = (real, model, self.now)
        self._settle(worker, real, model)
        named = {id(settlement.delivery) for settlement in real}
        settled = [pair for pair in worker.held if id(pair.real) in named]
        worker.stale = [*worker.stale, *settled][-_STALE:]
        worker.held = [pair for pair in worker.held if id(pair.real) not in named]
        self._unseen = True  # what went back may have expired

    def settle_again(self, worker: Worker) -> None:
        """The last call once more, with its number."""
        if worker.last is not None:
            self.settle_down()
            self._settle(worker, *worker.last[:2])

    def _settle(self, worker: Worker, real: list[Settlement], model: list[Settlement]) -> None:
        theirs = self._model.settle(self.now, worker.member.id, model, worker.calls)
        mine = self._runner.run(worker.consumer.settle(real, worker.calls))
        places = {id(settlement.delivery): place for place, settlement in enumerate(real)}
        wanted = {id(settlement.delivery): place for place, settlement in enumerate(model)}
        assert sorted(places[id(d)] for d in mine) == sorted(wanted[id(d)] for d in theirs)

    def beat(self, worker: Worker, started: Sequence[Pair], progress: bytes) -> None:
        """A beat that names all that the worker holds or held."""
        self.settle_down()
        worker.heard_at = self.now
        named = [*worker.held, *worker.stale]
        real = self._runner.run(
            worker.consumer.beat(
                LEASE_S,
                [*(Started(p.real) for p in started), *(Progress(p.real, progress) for p in started)],
                [p.real for p in named],
            )
        )
        model = self._model.beat(
            self.now,
            worker.member,
            [*(Started(p.model) for p in started), *(Progress(p.model, progress) for p in started)],
            [p.model for p in named],
            None,
        )
        assert real.lost == {p.real.token for p in named if p.model.token in model.lost}
        held = {stored.token: stored.id for stored in self._model.holds(worker.member)}
        assert sorted(worker.tokens[token] for token in real.cancelled) == sorted(
            held[token] for token in model.cancelled
        )
        assert not real.commands

    def crash(self, worker: Worker) -> None:
        """Nothing is heard of it any more."""
        self.workers.remove(worker)

    def leave(self, worker: Worker) -> None:
        """It closes."""
        self.settle_down()
        self._runner.run(worker.consumer.close())
        self._model.close_consumer(self.now, worker.member)
        self.workers.remove(worker)
        self._left.add(worker.member.card.id)
        self._unseen = True

    # Operators

    def change(self, ids: Sequence[str], change: Change) -> None:
        """An operator's act."""
        self.settle_down()
        model = self._view.change(self.now, ids, change)
        real = self._runner.run(brokers.inspector(self._broker).change(ids, change))
        assert sorted(real) == sorted(model)

    def pause(self, queues: Sequence[str], paused: bool) -> None:
        """An operator pauses queues, or ends their pause."""
        self.settle_down()
        inspector = brokers.inspector(self._broker)
        changed = self._runner.run(inspector.pause(queues) if paused else inspector.resume(queues))
        assert list(changed) == self._view.pause(queues, paused)

    def look(self) -> None:
        """Everything that can be seen from outside."""
        self.settle_down()
        inspector = brokers.inspector(self._broker)
        real = self._runner.run(inspector.queues())
        assert list(real) == self._view.queues()
        for id in self.ids:
            mine, theirs = self._runner.run(inspector.get(id)), self._view.get(self.now, id)
            assert (mine is None) == (theirs is None), f"{id}: broker {mine}, model {theirs}"
            if mine is not None and theirs is not None:
                assert self._record(mine) == self._record(theirs)
                assert abs(mine.due_at - theirs.due_at) < UNIT_S / 2 or mine.state is not _S.SCHEDULED
        for queue in QUEUES:
            for state in (_S.READY, _S.SCHEDULED, _S.RUNNING, _S.FAILED, _S.QUARANTINED):
                listed = self._runner.run(inspector.scan(queue, state, None, _ALL)).jobs
                wanted = self._view.scan(queue, state, None, _ALL).jobs
                assert sorted(record.id for record in listed) == sorted(record.id for record in wanted)
        shown = {card.id for card in self._runner.run(inspector.workers())}
        # Others may be shown: those that hold something, and those whose lease the clock brought back to life.
        heard = {w.member.card.id for w in self.workers if self.now - w.heard_at < LEASE_S}
        assert heard <= shown
        assert not shown & self._left

    def _record(self, r: JobRecord) -> tuple[object, ...]:
        waits_or_runs = r.state in {_S.READY, _S.SCHEDULED, _S.RUNNING, _S.FAILED, _S.QUARANTINED}
        return (
            (r.id, r.queue, r.state, r.priority, r.attempt, r.crashes, r.ended_at > 0),
            (r.consumer, r.cancel_requested, r.cause, r.result) if waits_or_runs else r.result,
            (r.body, r.error.message if r.error else None, r.progress) if waits_or_runs else None,
        )
