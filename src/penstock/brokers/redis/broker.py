"""The asynchronous broker."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from penstock.brokers import Address
from penstock.brokers.redis import enqueueing
from penstock.brokers.redis.consumer import RedisConsumer
from penstock.brokers.redis.keys import FleetKeys, QueueKeys
from penstock.brokers.redis.link import Link
from penstock.brokers.redis.scripts import MAINTAIN, RECLAIM, Command
from penstock.core.job import Enqueued, Job, Origin
from penstock.core.lifecycle import KEEP_DEAD_JOBS, KEEP_DEAD_S, KEEP_EXPIRED_S
from penstock.errors import BrokerRejected
from penstock.ports.broker import Capabilities, Maintained, WorkerCard

# What one script call may do at most: a long script stops everybody.
STEP_JOBS: Final = 200


class RedisBroker:
    """Moves jobs through Redis 6.2 or later, or Valkey."""

    capabilities = Capabilities()

    def __init__(self, address: Address) -> None:
        self.address = address
        self.clock_shift_s = 0.0
        self.fleet = FleetKeys(address.namespace)
        self._queues: dict[str, QueueKeys] = {}
        self._registered: set[str] = set()
        self._producing = Link(address)
        self._upkeep = Link(address)

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue, made once."""
        keys = self._queues.get(queue)
        if keys is None:
            keys = self._queues[queue] = QueueKeys(self.address.namespace, queue)
        return keys

    async def open(self) -> Sequence[str]:
        await self._upkeep.call([Command((b"PING",))])
        return []

    async def close(self) -> None:
        await self._producing.close()
        await self._upkeep.close()

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
        except BrokerRejected as error:
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
        consumer = RedisConsumer(self, id or uuid.uuid4().hex, tuple(queues), window=window, lease_s=lease_s)
        await consumer.join(card)
        return consumer

    async def maintain(self, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
        total = Maintained()
        if not queues:
            return total
        step = min(limit, STEP_JOBS)
        args = (self.clock_shift_s, step, lease_s, KEEP_EXPIRED_S, KEEP_DEAD_S, KEEP_DEAD_JOBS)
        replies = await self._upkeep.call([MAINTAIN.call(self.keys(queue).nobody, args) for queue in queues])
        for queue, (promoted, expired, pruned, more, waiting_s, over) in zip(queues, replies, strict=True):
            reclaimed, rest = await self._reclaim(queue, over, step)
            total = Maintained(
                total.promoted + promoted,
                total.reclaimed + reclaimed,
                total.expired + expired,
                total.pruned + pruned,
                total.more or more == 1 or rest > 0,
                max(total.waiting_s, float(waiting_s)),
            )
        return total

    async def _reclaim(self, queue: str, consumers: Sequence[bytes], limit: int) -> tuple[int, int]:
        if not consumers:
            return 0, 0
        keys = self.keys(queue)
        claims = (keys.of_consumer(consumer.decode())[0] for consumer in consumers)
        command = RECLAIM.call((*keys.nobody, *claims), [self.clock_shift_s, limit, *consumers])
        taken, rest = (await self._upkeep.call([command]))[0]
        return taken, rest
