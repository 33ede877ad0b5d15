"""The asynchronous broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Final

from penstock.brokers import Address
from penstock.brokers.redis import enqueueing
from penstock.brokers.redis.checks import check_server
from penstock.brokers.redis.consumer import RedisConsumer
from penstock.brokers.redis.fleet import Fleet
from penstock.brokers.redis.inbox import Inbox
from penstock.brokers.redis.inspection import Inspection
from penstock.brokers.redis.keys import FleetKeys, QueueKeys
from penstock.brokers.redis.link import Link
from penstock.brokers.redis.records import read_outcome
from penstock.brokers.redis.scripts import MAINTAIN, RECLAIM, Command
from penstock.core.job import Enqueued, Job, JobRecord, Origin, queue_of
from penstock.core.lifecycle import ENDED, KEEP_DEAD_JOBS, KEEP_DEAD_S, KEEP_EXPIRED_S, JobState
from penstock.errors import BrokerRejected, BrokerUnavailable
from penstock.ports.broker import Capabilities, Maintained, WorkerCard
from penstock.ports.inspector import Change, Page, QueueCounts

# What one script call may do at most: a long script stops everybody.
STEP_JOBS: Final = 200
# How often a broker's maintenance looks for workers that are gone for good.
_PRUNE_FLEET_S: Final = 600.0
# Who waits for a job's end looks for himself so often, whatever he has heard.
_LOOK_AGAIN_S: Final = 1.0


class RedisBroker:
    """Moves jobs through Redis 6.2 or later, or Valkey."""

    capabilities: Capabilities = Capabilities()

    def __init__(self, address: Address) -> None:
        self.address = address
        self.clock_shift_s: float = 0.0
        self.fleet: FleetKeys = FleetKeys(address.namespace)
        self._queues: dict[str, QueueKeys] = {}
        self._registered: set[str] = set()
        self._links: set[Link] = set()
        self._producing = self.link()
        self._upkeep = self.link()
        self._looking = self.link()
        self._prune_fleet_mono = 0.0
        self._inbox = Inbox(address, self.fleet.inbox)
        self._inspection = Inspection(self.fleet, self._looking, self.keys)
        self._fleet = Fleet(self.fleet, self._looking, self.keys)

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue, made once."""
        keys = self._queues.get(queue)
        if keys is None:
            keys = self._queues[queue] = QueueKeys(self.address.namespace, queue)
        return keys

    def link(self) -> Link:
        """A new connection, closed with this broker at the latest."""
        link = Link(self.address)
        self._links.add(link)
        return link

    async def open(self) -> Sequence[str]:
        return await check_server(self._upkeep, self.address.shown())

    async def close(self) -> None:
        await self._inbox.close()
        for link in list(self._links):
            await link.close()

    async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        if not jobs:
            return []
        answered: list[Enqueued | None] = [None] * len(jobs)
        for queue, places in enqueueing.by_queue(jobs).items():
            if places is None:
                return await self._enqueue(queue, jobs, origin)
            of_queue = await self._enqueue(queue, [jobs[place] for place in places], origin)
            for place, answer in zip(places, of_queue, strict=True):
                answered[place] = answer
        return [answer for answer in answered if answer is not None]

    async def _enqueue(self, queue: str, jobs: Sequence[Job], origin: Origin) -> list[Enqueued]:
        await self.register([queue])
        try:
            return await self._enqueue_rounds(queue, jobs, origin)
        except BrokerUnavailable as error:
            if enqueueing.GAP not in str(error):
                raise
            # The server forgot the script between two slices. What it has taken it will not take again.
            return await self._enqueue_rounds(queue, jobs, origin)

    async def _enqueue_rounds(self, queue: str, jobs: Sequence[Job], origin: Origin) -> list[Enqueued]:
        keys, new = self.keys(queue), False
        answered: list[Enqueued] = []
        for parts in enqueueing.rounds(enqueueing.slices(jobs)):
            commands = [
                enqueueing.command(keys, number, part, origin, self.clock_shift_s) for number, part in parts
            ]
            replies = await self._producing.call(commands)
            for (_, part), reply in zip(parts, replies, strict=True):
                new = new or reply[0] == 1
                answered += enqueueing.answers(part, reply)
        if new:
            # The server has lost its data since this queue was made known.
            self._registered.discard(queue)
            with contextlib.suppress(
                BrokerRejected
            ):  # the jobs are stored; the next call makes the queue known
                await self.register([queue])
        return answered

    async def register(self, queues: Sequence[str]) -> None:
        """Makes queues known to those who list them; once a process, since that costs a call."""
        unknown = [queue for queue in queues if queue not in self._registered]
        if unknown:
            await self._producing.call([Command((b"SADD", self.fleet.queues, *unknown))])
            self._registered.update(unknown)

    async def consumer(
        self, queues: Sequence[str], *, window: int, lease_s: float, card: WorkerCard, id: str | None = None
    ) -> RedisConsumer:
        await self.register(queues)
        consumer = RedisConsumer(
            self, id or token_hex(16), tuple(queues), card, window=window, lease_s=lease_s
        )
        await consumer.join(new=True)
        return consumer

    async def maintain(self, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
        total = Maintained()
        if not queues:
            return total
        if time.monotonic() >= self._prune_fleet_mono:
            self._prune_fleet_mono = time.monotonic() + _PRUNE_FLEET_S
            await self._fleet.prune(self.clock_shift_s)
        step = min(limit, STEP_JOBS)
        args = (self.clock_shift_s, step, lease_s, KEEP_EXPIRED_S, KEEP_DEAD_S, KEEP_DEAD_JOBS)
        replies = await self._upkeep.call([MAINTAIN.call(self.keys(queue).nobody, args) for queue in queues])
        for queue, (promoted, expired, pruned, dropped, more, waiting_s, over) in zip(
            queues, replies, strict=True
        ):
            reclaimed, rest = await self._reclaim(queue, over, step)
            total = Maintained(
                total.promoted + promoted,
                total.reclaimed + reclaimed,
                total.expired + expired,
                total.pruned + pruned,
                total.dropped + dropped,
                total.more or more == 1 or rest > 0,
                max(total.waiting_s, float(waiting_s)),
            )
        return total

    async def _reclaim(self, queue: str, consumers: Sequence[bytes], limit: int) -> tuple[int, int]:
        if not consumers:
            return 0, 0
        keys = self.keys(queue)
        claims = (keys.held(consumer.decode()) for consumer in consumers)
        command = RECLAIM.call((*keys.nobody, *claims), [self.clock_shift_s, limit, *consumers])
        taken, rest = (await self._upkeep.call([command]))[0]
        return taken, rest

    async def queues(self) -> Sequence[QueueCounts]:
        return await self._inspection.queues(self.clock_shift_s)

    async def pause(self, queues: Sequence[str]) -> Sequence[str]:
        return await self._inspection.pause(queues, True, self.clock_shift_s)

    async def resume(self, queues: Sequence[str]) -> Sequence[str]:
        return await self._inspection.pause(queues, False, self.clock_shift_s)

    async def get(self, id: str) -> JobRecord | None:
        return (await self._inspection.records(queue_of(id), [id], self.clock_shift_s))[0]

    async def scan(self, queue: str, state: JobState, cursor: str | None, limit: int) -> Page:
        return await self._inspection.scan(queue, state, cursor, limit, self.clock_shift_s)

    async def change(self, ids: Sequence[str], change: Change) -> Sequence[str]:
        return await self._inspection.change(ids, change, self.clock_shift_s)

    async def wait(self, id: str, timeout_s: float) -> JobRecord | None:
        mono_end = time.monotonic() + timeout_s
        inbox = self._inbox
        with inbox.bell(id) as bell:
            await inbox.listen(min(timeout_s, _LOOK_AGAIN_S))
            while True:
                bell.still()
                record, least_token = await self._inspection.watch(id, inbox.channel, self.clock_shift_s)
                left_s = mono_end - time.monotonic()
                if record is None or record.state in ENDED or left_s <= 0:
                    return record
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, _LOOK_AGAIN_S)):
                        await bell.rung.wait()
                if bell.outcome:
                    ended = read_outcome(id, queue_of(id), bell.outcome)
                    if ended.token >= least_token:
                        return ended

    async def workers(self) -> Sequence[WorkerCard]:
        return await self._fleet.workers(self.clock_shift_s)

    async def command(self, worker_id: str, verb: str, expires_s: float) -> str:
        return await self._fleet.command(worker_id, verb, expires_s, self.clock_shift_s)

    async def answer(self, command_id: str) -> str | None:
        return await self._fleet.answer(command_id)
