"""Any worker's share of the housekeeping: promotes what is due, reclaims from lost workers, expires, prunes."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Final

from penstock.ports.broker import Broker
from penstock.runtime.service import Service

log: logging.Logger = logging.getLogger("penstock.worker")

MOST_A_ROUND: Final = 200
LONGEST_BETWEEN_S: Final = 2.5


class Maintenance(Service):
    """One round about every quarter of a lease: well within the half that the witness asks for."""

    name = "maintain"

    def __init__(self, broker: Broker, queues: Sequence[str], lease_s: float) -> None:
        super().__init__()
        self._broker = broker
        self._queues = queues
        self._lease_s = lease_s
        self._waiting = False

    async def tick(self) -> float:
        """One round."""
        did = await self._broker.maintain(self._queues, MOST_A_ROUND, self._lease_s)
        if did.waiting_s and not self._waiting:
            log.info(
                "nothing is taken back from lost workers for %.0f s: nobody was here to see them die",
                did.waiting_s,
            )
        self._waiting = did.waiting_s > 0
        if did.reclaimed:
            log.warning(
                "%d job(s) taken back from a lost worker; they run again here or elsewhere, but for those that run at "
                "most once and had started: they go to the dead set",
                did.reclaimed,
            )
        if did.expired:
            log.info("%d job(s) expired before they were started", did.expired)
        if did.dropped:
            log.warning(
                "%d old dead or quarantined job(s) removed (beyond 90 days or 100,000 a queue)", did.dropped
            )
        if did.more:
            return 0.0
        return min(self._lease_s / 4, LONGEST_BETWEEN_S) * random.uniform(0.8, 1.0)
