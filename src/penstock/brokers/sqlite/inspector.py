"""``Inspector`` on a file, and waiting for a job to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

from penstock.brokers.sqlite import changing, inspecting, waking
from penstock.brokers.sqlite.bells import Bell, rings
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.inspecting import Found
from penstock.brokers.sqlite.writer import Reader, Writer
from penstock.core.job import JobRecord
from penstock.core.lifecycle import ENDED, JobState
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import Change, Page, QueueCounts


class SQLiteInspector:
    """``Inspector`` on a file, with the threads and the bell that it needs: the half of a broker that looks.

    Attributes:
        clock_shift_s: Added to the clock, for tests.
        writer: The thread that writes.
        reader: The thread that looks.
        bell: What others ring to wake consumers and waits of this process.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self.clock_shift_s: float = 0.0
        self.writer: Writer = Writer(Database(path, namespace, self.now, patient=True), "sqlite-writer")
        self.bell: Bell = Bell(path, namespace)
        self.reader: Reader = Reader(
            Database(path, namespace, self.now, patient=True), "sqlite-reader", at_end=self.bell.take_down
        )

    def now(self) -> float:
        """The broker's clock is the machine's."""
        return time.time() + self.clock_shift_s

    async def hang_bell(self) -> None:
        """From now on this broker can be woken. Safe to call twice."""
        if self.bell.usable and not self.bell.hung:
            await self.reader.run(lambda _database, _now: self.bell.make(), durable=False)
            self.bell.hang(asyncio.get_running_loop())

    async def queues(self) -> Sequence[QueueCounts]:
        return await self.reader.run(lambda database, _: inspecting.queues(database), durable=False)

    async def pause(self, queues: Sequence[str]) -> Sequence[str]:
        return await self.writer.run(lambda database, _: changing.pause(database, queues, True), durable=True)

    async def resume(self, queues: Sequence[str]) -> Sequence[str]:
        return await self.writer.run(
            lambda database, _: changing.pause(database, queues, False), durable=True
        )

    async def get(self, id: str) -> JobRecord | None:
        found = await self._find(id)
        return found.record if found is not None else None

    async def _find(self, id: str) -> Found | None:
        return await self.reader.run(lambda database, now: inspecting.find(database, now, id), durable=False)

    async def scan(self, queue: str, state: JobState, cursor: str | None, limit: int) -> Page:
        return await self.reader.run(
            lambda database, _: inspecting.scan(database, queue, state, cursor, limit), durable=False
        )

    async def change(self, ids: Sequence[str], change: Change) -> Sequence[str]:
        return await self.writer.run(
            lambda database, now: changing.change(database, now, ids, change), durable=True
        )

    async def wait(self, id: str, timeout_s: float) -> JobRecord | None:
        loop = asyncio.get_running_loop()
        mono_end = loop.time() + timeout_s
        found = await self._find(id)
        if not _waits_on(found) or timeout_s <= 0:
            return found.record if found is not None else None
        message, ended = waking.end(found.key), asyncio.Event()
        await self.hang_bell()
        self.bell.listen(message, ended.set)
        try:
            await self._watch(found.key, timeout_s)
            while True:
                ended.clear()
                found = await self._find(id)
                left_s = mono_end - loop.time()
                if not _waits_on(found) or left_s <= 0:
                    return found.record if found is not None else None
                await rings(ended, min(left_s, self.bell.look_again_s))
        finally:
            self.bell.leave(message, ended.set)

    async def _watch(self, job: int, timeout_s: float) -> None:
        """Asks to be rung when ``job`` ends."""
        if self.bell.hung:
            await self.writer.run(
                lambda database, now: waking.watch(database, job, self.bell.name, now + timeout_s),
                durable=False,
            )

    async def workers(self) -> Sequence[WorkerCard]:
        return await self.reader.run(inspecting.workers, durable=False)

    async def command(self, worker_id: str, verb: str, expires_s: float) -> str:
        return await self.writer.run(
            lambda database, now: changing.command(database, now, worker_id, verb, expires_s), durable=True
        )

    async def answer(self, command_id: str) -> str | None:
        return await self.reader.run(
            lambda database, _: inspecting.answer(database, command_id), durable=False
        )


def _waits_on(found: Found | None) -> TypeGuard[Found]:
    return found is not None and found.record.state not in ENDED
