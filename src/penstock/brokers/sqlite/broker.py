"""``Broker`` on a file: each call is one operation on the writing thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

from penstock.brokers.sqlite import enqueueing, leasing
from penstock.brokers.sqlite.consumer import SQLiteConsumer
from penstock.brokers.sqlite.inspector import SQLiteInspector
from penstock.brokers.sqlite.leasing import Member
from penstock.brokers.sqlite.maintaining import maintain
from penstock.core.job import Enqueued, Job, Origin
from penstock.ports.broker import Capabilities, Maintained, WorkerCard


class SQLiteBroker(SQLiteInspector):
    """``Broker`` and ``Inspector`` on a file."""

    def __init__(self, path: Path, namespace: str) -> None:
        super().__init__(path, namespace)
        # A transaction costs as much as 100 jobs before it moves one; this many take it 1.4 ms.
        self.capabilities: Capabilities = Capabilities(batch=500)

    async def open(self) -> Sequence[str]:
        return await self.writer.run(lambda database, _: database.warnings, durable=False)

    async def close(self) -> None:
        self.bell.deafen()
        await self.writer.close()
        await self.reader.close()

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
