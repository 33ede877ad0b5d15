"""Sends settlements to the broker: whatever has gathered goes as soon as the previous call has returned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from penstock.core.job import Delivery, JobError
from penstock.core.settlement import Cause, Dead, Done, Settlement
from penstock.errors import BrokerError
from penstock.ports.broker import Consumer
from penstock.runtime.service import Backoff, Outage

log: logging.Logger = logging.getLogger("penstock.worker")

# Results are bounded each; this bounds what many of them make a broker do, and hold in memory, at once.
MOST_BYTES_A_CALL: Final = 4 * 1024 * 1024


class Settler:
    """Natural group commit: no timer, one call under way at a time, each numbered so that it can be repeated.

    Args:
        consumer: Whose deliveries are settled.
        on_settled: Called with the deliveries of each answered call and those of them that were lost.
        batch: The most that one call carries.
    """

    def __init__(
        self, consumer: Consumer, on_settled: Callable[[int, Sequence[Delivery]], None], batch: int
    ) -> None:
        self._consumer = consumer
        self._on_settled = on_settled
        self._batch = batch
        self._waiting: list[Settlement] = []
        self._under_way = 0
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff("settle")

    def share(self, outage: Outage) -> None:
        """See ``Service``."""
        self._backoff.outage = outage

    @property
    def pending(self) -> int:
        """Settlements that the broker has not answered yet."""
        return len(self._waiting) + self._under_way

    def add(self, settlements: Sequence[Settlement]) -> None:
        """Takes settlements to send."""
        self._waiting.extend(settlements)
        if self._task is None and self._waiting:
            self._task = asyncio.get_running_loop().create_task(self._flush(), name="penstock-settler")

    async def drained(self, within_s: float) -> bool:
        """Waits until all is sent, at most ``within_s``; says whether it is."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within_s)
        return not self.pending

    async def stop(self) -> None:
        """Gives up on what is not sent; the broker hands it out again when the lease is over."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                self._under_way = len(batch)
                self._number += 1
                lost = await self._send(batch)
                self._under_way = 0
                self._on_settled(len(batch), lost)
        finally:
            self._task = None

    def _take(self) -> list[Settlement]:
        batch = self._waiting[: self._batch]
        size = 0
        for place, settlement in enumerate(batch):
            if type(settlement) is Done and settlement.result is not None:
                size += len(settlement.result)
                if place and size > MOST_BYTES_A_CALL:
                    del batch[place:]
                    break
        del self._waiting[: len(batch)]
        return batch

    async def _send(self, batch: Sequence[Settlement]) -> Sequence[Delivery]:
        """Until the broker has answered: the outcomes exist only here."""
        while True:
            try:
                lost = await self._consumer.settle(batch, self._number)
            except BrokerError as error:  # no answer, or out of memory or disk
                await asyncio.sleep(self._backoff.failed(error))
            except Exception as error:
                if len(batch) > 1:
                    return await self._apart(batch)
                log.error("settle: a bug in Penstock, please report it; the job's outcome cannot be stored",
                          exc_info=error)  # fmt: skip
                await asyncio.sleep(self._backoff.failed(error))
                batch = [_unsettled(batch[0], error)]
            else:
                self._backoff.succeeded()
                return lost

    async def _apart(self, batch: Sequence[Settlement]) -> Sequence[Delivery]:
        """One outcome that cannot be written must not hold up those that were sent with it."""
        lost: list[Delivery] = []
        for settlement in batch:
            self._number += 1
            lost += await self._send([settlement])
        return lost


def _unsettled(settlement: Settlement, error: Exception) -> Settlement:
    text = f"its outcome could not be stored: {type(error).__name__}"
    return Dead(settlement.delivery, JobError("Unsettled", text), Cause.RESULT)
