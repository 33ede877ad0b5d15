"""A worker's claim on queues: fetching and waiting, settling, beating."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock.brokers.sqlite import claiming, leasing, settling, waking
from penstock.brokers.sqlite.bells import rings
from penstock.brokers.sqlite.claiming import Claimed, Want
from penstock.brokers.sqlite.leasing import Member
from penstock.core.job import Delivery
from penstock.core.settlement import Settlement
from penstock.errors import BrokerError
from penstock.ports.broker import Beat, Fetched, Note, Started, WorkerCard

if TYPE_CHECKING:
    from penstock.brokers.sqlite.broker import SQLiteBroker
    from penstock.brokers.sqlite.database import Database

# A bell that rings while no fetch waits is for the next one, or for another consumer where that does not come soon.
_PASS_ON_S: Final = 0.02


class SQLiteConsumer:
    """``Consumer`` on a file."""

    def __init__(self, broker: SQLiteBroker, member: Member, key: int) -> None:
        self.id: str = member.id
        self._broker = broker
        self._member = member
        self._key = key
        self._closed = False
        # What was claimed for a fetch whose caller had gone.
        self._left_over = Claimed([], {})
        self._fetching = False
        self._rung = asyncio.Event()
        self._passing_on: asyncio.Task[None] | None = None
        broker.bell.listen(waking.work(key), self._ring)

    # Fetch

    async def fetch(
        self,
        limit: int,
        max_bytes: int,
        wait_s: float,
        suspects: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Fetched:
        loop = asyncio.get_running_loop()
        mono_end = loop.time() + wait_s
        queues = self._member.queues
        if order is not None:
            queues = [queues[place] for place in order]
        most_suspects = limit if suspects is None else suspects
        self._fetching = True
        try:
            if wait_s > 0:
                await self._broker.hang_bell()
            while True:
                claimed = await self._take_left_over(limit, max_bytes)
                if not claimed.deliveries:
                    claimed = await self._claim(queues, limit, max_bytes, wait_s, most_suspects)
                if claimed.deliveries:
                    break
                # One that was cancelled may have claimed them while this one looked.
                if self._left_over.deliveries:
                    continue
                if loop.time() >= mono_end:
                    break
                if not claimed.again:
                    await self._wait(mono_end, claimed.due_at, suspects != 0)
        finally:
            self._fetching = False
        due_s = None if claimed.due_at is None else max(0.0, claimed.due_at - self._broker.now())
        return Fetched(claimed.deliveries, due_s)

    async def _claim(
        self, queues: Sequence[str], limit: int, max_bytes: int, wait_s: float, suspects: int
    ) -> Claimed:
        self._check_open()
        self._rung.clear()
        bell = self._broker.bell.name if wait_s > 0 and self._broker.bell.hung else None

        def operation(database: Database, now: float) -> tuple[int, Claimed]:
            key = leasing.renew(database, now, self._member)
            want = Want(key, queues, limit, max_bytes, suspects, bell)
            return key, claiming.claim(database, now, want)

        key, claimed = await self._broker.writer.run(operation, durable=False, left_over=self._keep)
        if key != self._key:  # it was away for so long that it was forgotten
            self._broker.bell.leave(waking.work(self._key), self._ring)
            self._key = key
            self._broker.bell.listen(waking.work(key), self._ring)
        self._member.keys.update(claimed.keys)
        return claimed

    def _keep(self, outcome: tuple[int, Claimed]) -> None:
        _, claimed = outcome
        self._left_over.deliveries += claimed.deliveries
        self._member.keys.update(claimed.keys)
        self._rung.set()

    async def _take_left_over(self, limit: int, max_bytes: int) -> Claimed:
        """What an earlier fetch has claimed and nobody got, as far as it is still held."""
        if not self._left_over.deliveries:
            return Claimed([], {})
        self._check_open()
        deliveries = list(self._left_over.deliveries)

        def operation(database: Database, now: float) -> set[int]:
            key = leasing.renew(database, now, self._member)
            jobs = settling.find_keys(database, deliveries, self._member.keys)
            return {job.token for job in settling.held(database, key, jobs).values()}

        held = await self._broker.writer.run(operation, durable=False)
        taken: list[Delivery] = []
        rest: list[Delivery] = []
        left = max_bytes
        for delivery in deliveries:
            if delivery.token not in held:
                self._member.keys.pop(delivery.token, None)
            elif rest or len(taken) == limit or (taken and len(delivery.body) > left):
                rest.append(delivery)
            else:
                left -= len(delivery.body)
                taken.append(delivery)
        # Behind them, what came while this one asked.
        self._left_over.deliveries = rest + self._left_over.deliveries[len(deliveries) :]
        return Claimed(taken, {})

    async def _wait(self, mono_end: float, due_at: float | None, suspects: bool) -> None:
        """Returns where there may be something to claim: the bell, something due, a look; or at the end."""
        loop = asyncio.get_running_loop()
        look_s = self._broker.bell.look_again_s
        while not self._rung.is_set():
            due_s = look_s if due_at is None else max(0.0, due_at - self._broker.now())
            timeout_s = min(look_s, due_s, mono_end - loop.time())
            if timeout_s <= 0 or await rings(self._rung, timeout_s):
                return
            ready, due_at = await self._broker.reader.run(
                lambda database, _: claiming.look(database, self._member.queues, suspects), durable=False
            )
            if ready:
                return

    # The bell

    def _ring(self) -> None:
        self._rung.set()
        if not self._fetching:
            asyncio.get_running_loop().call_later(_PASS_ON_S, self._pass_on)

    def _pass_on(self) -> None:
        if self._rung.is_set() and not self._fetching and not self._closed and self._passing_on is None:
            self._passing_on = asyncio.create_task(self._wake_another())

    async def _wake_another(self) -> None:
        def operation(database: Database, _: float) -> None:
            waking.stop_waiting(database, self._key)
            claiming.pass_on(database, self._member.queues, self._key)

        try:
            await self._broker.writer.run(operation, durable=False)
        except BrokerError:  # the others look for themselves within a second
            return
        finally:
            self._passing_on = None

    # Settle, beat, close

    async def settle(self, settlements: Sequence[Settlement], number: int) -> Sequence[Delivery]:
        lost = await self._broker.writer.run(
            lambda database, now: leasing.settle_numbered(database, now, self._member, settlements, number),
            durable=True,
        )
        for settlement in settlements:
            self._member.keys.pop(settlement.delivery.token, None)
        if not lost:
            return ()
        return [settlement.delivery for settlement in settlements if settlement.delivery.token in lost]

    async def beat(
        self,
        lease_s: float,
        notes: Sequence[Note] = (),
        holding: Sequence[Delivery] = (),
        card: WorkerCard | None = None,
    ) -> Beat:
        self._check_open()
        self._member.lease_s = lease_s
        if card is not None:
            self._member.card = card
        self._member.card.seen_at = self._broker.now()
        # A mark that a job has started must not be lost: at most once, and how often it crashed, hang on it.
        answer = await self._broker.writer.run(
            lambda database, now: leasing.beat(database, now, self._member, notes, holding),
            durable=any(isinstance(note, Started) for note in notes),
        )
        for token in answer.lost:
            self._member.keys.pop(token, None)
        return answer

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._rung.set()
        self._broker.bell.leave(waking.work(self._key), self._ring)
        await self._broker.writer.run(
            lambda database, now: leasing.leave(database, now, self._member), durable=False
        )

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerError(f"consumer {self.id} is closed; it gave back what it held")
