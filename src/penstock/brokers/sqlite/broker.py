"""The broker on a file: it wires threads, bell and operations together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

from penstock.brokers.sqlite import enqueueing, leasing
from penstock.brokers.sqlite.bells import Bell
from penstock.brokers.sqlite.consumer import SQLiteConsumer
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.leasing import Member
from penstock.brokers.sqlite.maintaining import maintain
from penstock.brokers.sqlite.writer import Reader, Writer
from penstock.core.job import Enqueued, Job, Origin
from penstock.ports.broker import Capabilities, Maintained, WorkerCard


class SQLiteBroker:
    """``Broker`` on a file.

    Attributes:
        writer: The thread that writes.
        reader: The thread that looks.
        bell: What others ring to wake consumers and waits of this one.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self.capabilities = Capabilities()
        self.clock_shift_s = 0.0
        self.writer = Writer(Database(path, namespace, self.now), "sqlite-writer")
        self.reader = Reader(Database(path, namespace, self.now), "sqlite-reader")
        self.bell = Bell(path, namespace)
        self._path = path

    def now(self) -> float:
        """The broker's clock is the machine's."""
        return time.time() + self.clock_shift_s

    async def open(self) -> Sequence[str]:
        return await self.writer.run(lambda database, _: database.warnings, durable=False)

    async def close(self) -> None:
        self.bell.silence()
        await self.writer.close()
        await self.reader.close()

    async def hang_bell(self) -> None:
        """From now on this broker can be woken. Safe to call twice."""
        if not self.bell.hung:
            await self.reader.run(lambda *_: self.bell.make(), durable=False)
            self.bell.hang(asyncio.get_running_loop())

    async def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        return await self.writer.run(
            lambda database, now: enqueueing.enqueue(database, now, jobs, origin), durable=True
        )

    async def consumer(
        self, queues: Sequence[str], *, window: int, lease_s: float, card: WorkerCard, id: str | None = None
    ) -> SQLiteConsumer:
        card.seen_at = self.now()
        member = Member(id or token_hex(16), tuple(queues), lease_s, card)
        key = await self.writer.run(lambda database, now: leasing.join(database, now, member), durable=False)
        return SQLiteConsumer(self, member, key)

    async def maintain(self, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
        return await self.writer.run(
            lambda database, now: maintain(database, now, queues, limit, lease_s), durable=False
        )
