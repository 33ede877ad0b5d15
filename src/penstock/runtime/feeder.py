"""Keeps the slots busy: asks the broker for as many jobs as they will soon have finished, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from penstock.core.job import Delivery
from penstock.ports.broker import Consumer
from penstock.runtime.service import Service

# What the slots will have finished in this time is fetched ahead; a round trip and a hand-over are well below it.
AHEAD_S: Final = 0.05
MOST_BYTES_A_CALL: Final = 4 * 1024 * 1024
LONGEST_WAIT_S: Final = 1.0
# The next suspect is asked for as soon as the one that runs has ended.
WAIT_BESIDE_A_SUSPECT_S: Final = 0.1
# A fetch that took so long has waited in an empty line; well above the round trip to a distant broker.
EMPTY_S: Final = 0.2
# The rate is taken over at least this long, so that one quick batch does not pass for a flood.
RATE_OVER_S: Final = 0.02


class Feeder(Service):
    """One fetch at a time; waits inside the broker when nothing is ready.

    Args:
        consumer: Where jobs come from.
        slots: How many run at once.
        window: The most to hold.
        batch: The most that one call asks for.
        load: How many are in hand, unsettled ones included.
        suspects: How many suspects to take.
        finished: How many have ended since the start.
        admit: Takes the deliveries.
        on_empty: Told when a fetch that did not wait brought nothing.
        on_quiet: Told whenever it begins to take nothing.
        order: Draws the order of the queues for each fetch; None: always the one in which they were named.
    """

    name = "fetch"

    def __init__(
        self,
        consumer: Consumer,
        *,
        slots: int,
        window: int,
        batch: int,
        load: Callable[[], int],
        suspects: Callable[[], int],
        finished: Callable[[], int],
        admit: Callable[[Sequence[Delivery]], None],
        on_empty: Callable[[], None],
        wait_s: float = LONGEST_WAIT_S,
        on_quiet: Callable[[], None] = lambda: None,
        order: Callable[[], Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self._consumer = consumer
        self._slots = slots
        self._window = window
        self._batch = batch
        self._load = load
        self._suspects = suspects
        self._finished = finished
        self._admit = admit
        self._on_empty = on_empty
        self._wait_s = wait_s
        self._on_quiet = on_quiet
        self._order = order
        self._room = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._flowing = False
        self._rate = 0.0
        self._mono_rated = monotonic()
        self._rated = 0

    @property
    def quiet(self) -> bool:
        """Whether it takes nothing new."""
        return not self._resumed.is_set()

    def pause(self) -> None:
        """Takes nothing new from the next fetch on."""
        self._resumed.clear()

    def resume(self) -> None:
        """Goes on."""
        self._resumed.set()

    def changed(self) -> None:
        """Something ended: there may be room."""
        self._room.set()

    async def tick(self) -> float:
        """Waits for room, then fetches once."""
        if self.quiet:
            self._on_quiet()
            await self._resumed.wait()
        want = self._want()
        while want <= 0:
            self._room.clear()
            await self._room.wait()
            want = self._want()
        idle = self._load() == 0
        # It does not wait with more than the slots can start: what comes then is for everybody who waits.
        wait_s = self._wait_s if want + self._load() <= self._slots else 0.0
        suspects = self._suspects()
        if not suspects:
            wait_s = min(wait_s, WAIT_BESIDE_A_SUSPECT_S)
        mono_asked = monotonic()
        order = self._order() if self._order is not None else None
        fetched = await self._consumer.fetch(want, MOST_BYTES_A_CALL, wait_s, suspects, order)
        # What was finished before the line was empty says nothing about what has come now.
        if not self._flowing or monotonic() - mono_asked > EMPTY_S:
            self._rate, self._mono_rated, self._rated = 0.0, monotonic(), self._finished()
        self._flowing = len(fetched.deliveries) >= want
        if fetched.deliveries:
            self._admit(fetched.deliveries)
        elif idle:
            self._on_empty()
        return 0.0

    def _want(self) -> int:
        """How many to ask for now; 0 or less: not yet.

        A fetch of few while many wait in hand costs as much as one of many, so it waits until half of what is held
        ahead has been used up.
        """
        load = self._load()
        # Only out of a line that is known to be longer: who waits for jobs takes no more than can start at once, or one
        # idle worker would take what others could have begun.
        rate = self._measured_rate()
        ahead = int(rate * AHEAD_S) if self._flowing else 0
        want = min(self._slots + ahead, self._window) - load
        if load > self._slots and want < min(ahead // 2, self._batch):
            return 0
        return min(want, self._batch)

    def _measured_rate(self) -> float:
        now = monotonic()
        over_s = now - self._mono_rated
        if over_s >= RATE_OVER_S:
            finished = self._finished()
            fresh = (finished - self._rated) / over_s
            # Up at once, down by half in the time that is fetched ahead: a pause between two batches is no reason to
            # starve the slots, and what was true a second ago is no reason to take what others could begin.
            self._rate = max(fresh, fresh + (self._rate - fresh) * 0.5 ** (over_s / AHEAD_S))
            self._mono_rated, self._rated = now, finished
        return self._rate
