"""Renews the consumer's lease, carries progress to the broker and orders back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from penstock.core.job import Delivery
from penstock.ports.broker import Beat, Consumer, Note, WorkerCard
from penstock.runtime.service import Service

# While jobs run a beat also brings cancellations, so it comes often enough for who waits for one.
BUSY_EVERY_S: Final = 1.0
# Whoever has given an order looks at what came of it and gives the next one: for so long orders are asked for as often.
ATTENTIVE_S: Final = 30.0


class Leases(Service):
    """One write a beat, however many jobs run.

    Args:
        consumer: Whose lease it is.
        lease_s: How long the lease holds.
        holding: The deliveries in hand.
        notes: Takes away and returns what has gathered to be told to the broker.
        put_back: Returns notes that could not be sent.
        card: What this worker tells of itself now.
        on_beat: Told what came back.
        pulse: Called after each beat that was answered; the guard listens.
    """

    name = "beat"

    def __init__(
        self,
        consumer: Consumer,
        lease_s: float,
        *,
        holding: Callable[[], Sequence[Delivery]],
        notes: Callable[[], list[Note]],
        put_back: Callable[[Sequence[Note]], None],
        card: Callable[[], WorkerCard],
        on_beat: Callable[[Beat], None],
        pulse: Callable[[], None],
    ) -> None:
        super().__init__()
        self._consumer = consumer
        self._lease_s = lease_s
        self._holding = holding
        self._notes = notes
        self._put_back = put_back
        self._card = card
        self._on_beat = on_beat
        self._pulse = pulse
        self._mono_attentive_until = 0.0

    async def tick(self) -> float:
        """One beat."""
        holding = self._holding()
        notes = self._notes()
        try:
            beat = await self._consumer.beat(self._lease_s, notes, holding, self._card())
        except BaseException:
            self._put_back(notes)
            raise
        self._on_beat(beat)
        self._pulse()
        if beat.commands:
            self._mono_attentive_until = monotonic() + ATTENTIVE_S
        # Not ``holding``: what has come meanwhile waits for the next beat.
        often = self._holding() or (self._mono_attentive_until and monotonic() < self._mono_attentive_until)
        return min(self._lease_s / 3, BUSY_EVERY_S) if often else self._lease_s / 3
