"""The model as a broker: a clock, a lock, and waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Final

from penstock.brokers.memory.shared import Shared
from penstock.brokers.memory.stored import Member
from penstock.core.job import Delivery, Enqueued, Job, JobRecord, Origin
from penstock.core.lifecycle import ENDED, JobState
from penstock.core.settlement import Settlement
from penstock.errors import BrokerError
from penstock.ports.broker import Beat, Capabilities, Fetched, Maintained, Note, WorkerCard
from penstock.ports.inspector import Change, Page, QueueCounts

# Everything that can be looked at again is looked at again so often, whatever the notification says.
_LOOK_AGAIN_S: Final = 1.0


async def _wait(bell: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await bell.wait()
    except TimeoutError:
        return


class MemoryBroker:
    """``Broker`` and ``Inspector`` over a model that the whole process shares."""

    def __init__(self, shared: Shared) -> None:
        self.capabilities: Capabilities = Capabilities(shared=False, durable=False)
        self.clock_shift_s: float = 0.0
        self._shared = shared

    def now(self) -> float:
        """The broker's clock."""
        return time.time() + self.clock_shift_s

    async def open(self) -> Sequence[str]:
        return ()

    async def close(self) -> None:
        """Nothing to close: what is stored is the process's."""

    async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        with self._shared.lock:
            answer = self._shared.model.enqueue(self.now(), jobs, origin)
            self._shared.ring()
        return answer

    async def consumer(
        self, queues: Sequence[str], *, window: int, lease_s: float, card: WorkerCard, id: str | None = None
    ) -> MemoryConsumer:
        member = Member(id or token_hex(16), tuple(queues), lease_s, card)
        with self._shared.lock:
            self._shared.model.consumer(self.now(), member)
        return MemoryConsumer(self._shared, member, self.now)

    async def maintain(self, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
        with self._shared.lock:
            done = self._shared.model.maintain(self.now(), queues, limit, lease_s)
            self._shared.ring()
        return done

    async def queues(self) -> Sequence[QueueCounts]:
        with self._shared.lock:
            return self._shared.inspection.queues()

    async def pause(self, queues: Sequence[str]) -> Sequence[str]:
        with self._shared.lock:
            return self._shared.inspection.pause(queues, True)

    async def resume(self, queues: Sequence[str]) -> Sequence[str]:
        with self._shared.lock:
            resumed = self._shared.inspection.pause(queues, False)
            self._shared.ring()
        return resumed

    async def get(self, id: str) -> JobRecord | None:
        with self._shared.lock:
            return self._shared.inspection.get(self.now(), id)

    async def scan(self, queue: str, state: JobState, cursor: str | None, limit: int) -> Page:
        with self._shared.lock:
            return self._shared.inspection.scan(queue, state, cursor, limit)

    async def change(self, ids: Sequence[str], change: Change) -> Sequence[str]:
        with self._shared.lock:
            applied = self._shared.inspection.change(self.now(), ids, change)
            self._shared.ring()
        return applied

    async def wait(self, id: str, timeout_s: float) -> JobRecord | None:
        mono_end = time.monotonic() + timeout_s
        with self._shared.lock:
            bell = self._shared.listen()
        try:
            while True:
                bell.clear()
                record = await self.get(id)
                left_s = mono_end - time.monotonic()
                if record is None or record.state in ENDED or left_s <= 0:
                    return record
                await _wait(bell, min(left_s, _LOOK_AGAIN_S))
        finally:
            self._shared.leave(bell)

    async def workers(self) -> Sequence[WorkerCard]:
        with self._shared.lock:
            return self._shared.inspection.workers(self.now())

    async def command(self, worker_id: str, verb: str, expires_s: float) -> str:
        id = token_hex(8)
        with self._shared.lock:
            self._shared.model.orders.give(id, worker_id, verb, self.now() + expires_s)
        return id

    async def answer(self, command_id: str) -> str | None:
        with self._shared.lock:
            return self._shared.model.orders.answered(command_id)


class MemoryConsumer:
    """``Consumer`` over the shared model."""

    def __init__(self, shared: Shared, member: Member, now: Callable[[], float]) -> None:
        self.id: str = member.id
        self._shared = shared
        self._member = member
        self._now = now
        self._closed = False

    async def fetch(
        self,
        limit: int,
        max_bytes: int,
        wait_s: float,
        suspects: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Fetched:
        mono_end = time.monotonic() + wait_s
        bell: asyncio.Event | None = None
        try:
            while True:
                with self._shared.lock:
                    self._check_open()
                    if bell is None:
                        bell = self._shared.listen()
                    bell.clear()
                    fetched = self._shared.model.fetch(
                        self._now(), self._member, limit, max_bytes, suspects, order
                    )
                left_s = mono_end - time.monotonic()
                if fetched.deliveries or left_s <= 0:
                    return fetched
                due_s = fetched.next_due_s if fetched.next_due_s is not None else _LOOK_AGAIN_S
                await _wait(bell, min(left_s, due_s, _LOOK_AGAIN_S))
        finally:
            if bell is not None:
                self._shared.leave(bell)

    async def settle(self, settlements: Sequence[Settlement], number: int) -> Sequence[Delivery]:
        with self._shared.lock:
            lost = self._shared.model.settle(self._now(), self.id, settlements, number)
            self._shared.ring()
        return lost

    async def beat(
        self,
        lease_s: float,
        notes: Sequence[Note] = (),
        holding: Sequence[Delivery] = (),
        card: WorkerCard | None = None,
    ) -> Beat:
        with self._shared.lock:
            self._check_open()
            self._member.lease_s = lease_s
            return self._shared.model.beat(self._now(), self._member, notes, holding, card)

    async def close(self) -> None:
        with self._shared.lock:
            if not self._closed:
                self._closed = True
                self._shared.model.close_consumer(self._now(), self._member)
                self._shared.ring()

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerError(f"consumer {self.id} is closed; it gave back what it held")


class MemoryBlocking:
    """``BlockingProducer`` over the shared model; it never waits."""

    def __init__(self, shared: Shared) -> None:
        self.answer_s: float = 5.0
        self._shared = shared

    def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        self._shared.check_not_within()
        with self._shared.lock:
            answer = self._shared.model.enqueue(time.time(), jobs, origin)
            self._shared.ring()
        return answer

    def begin(self, jobs: Sequence[Job], origin: Origin) -> Callable[[], Sequence[Enqueued]]:
        answers = self.enqueue(jobs, origin)
        return lambda: answers

    def extend(self, consumer_id: str, queues: Sequence[str], lease_s: float) -> bool:
        with self._shared.lock:
            return self._shared.model.extend(time.time(), consumer_id, lease_s)

    def close(self) -> None:
        """Nothing to close."""

    def abandon(self) -> None:
        """Nothing to let go of: the child has a copy of its own."""
