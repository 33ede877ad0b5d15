"""Runs that are marked started in the broker before they begin: suspects, one at a time, and at-most-once jobs.

A suspect was lost with its worker once. Were several to run together and the worker to die again, nobody could say
which of them did it; so one runs at a time, and only the one that was marked is blamed. A mark is made only where there
is a slot for its run: a worker that dies must not blame what had not begun.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from penstock.ports.broker import Beat, Consumer, Started
from penstock.runtime.run import Run
from penstock.runtime.service import Backoff, Outage, Service

# Suspects that may wait here for their turn, as long as it comes quickly.
MOST_SUSPECTS: Final = 200
# While a suspect runs for longer than this, the others are better off with other workers.
QUICK_S: Final = 1.0


class Gate:
    """Marks and lets through.

    Args:
        consumer: Whose beat carries the marks.
        lease_s: The lease that each beat renews.
        let_through: Starts runs that are marked.
        on_beat: Told what the beat brought back; it takes away what is lost or cancelled.
        has: Whether a run is still in hand.
        room: How many more runs may begin now.
    """

    def __init__(
        self,
        consumer: Consumer,
        lease_s: float,
        *,
        let_through: Callable[[Iterable[Run]], None],
        on_beat: Callable[[Beat], None],
        has: Callable[[Run], bool],
        room: Callable[[], int],
    ) -> None:
        self._consumer = consumer
        self._lease_s = lease_s
        self._let_through = let_through
        self._on_beat = on_beat
        self._has = has
        self._room = room
        self._suspects: deque[Run] = deque()
        self._careful: deque[Run] = deque()
        self._marking: list[Run] = []
        self._suspect: Run | None = None
        self._mono_suspect = 0.0
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff("mark started")
        self._open = True

    def share(self, outage: Outage) -> None:
        """See ``Service``."""
        self._backoff.outage = outage

    def fall_silent(self, other: Service) -> None:
        """See ``Service``."""
        other.speak_for(self._backoff)

    @property
    def suspects(self) -> int:
        """Suspects that wait here. They take no slot from others."""
        return len(self._suspects)

    @property
    def wants_suspects(self) -> int:
        """How many more suspects to fetch: none while one runs that is not quick."""
        if self._runs_one() and monotonic() - self._mono_suspect > QUICK_S:
            return 0
        return MOST_SUSPECTS - len(self._suspects)

    def reserved(self, slots: int) -> int:
        """How many of so many slots others must leave free: for what is being marked, and up to half for the rest."""
        waiting = len(self._marking) + len(self._careful) + bool(self._suspects and not self._runs_one())
        return max(len(self._marking), min(waiting, max(1, slots // 2)))

    def _runs_one(self) -> bool:
        return self._suspect is not None and self._has(self._suspect)

    def add(self, run: Run) -> None:
        """Takes a run that must be marked first."""
        (self._suspects if run.delivery.suspect else self._careful).append(run)
        self.look()

    def look(self) -> None:
        """Something has changed: perhaps the next may begin."""
        if self._task is None and self._open and (self._suspects or self._careful):
            self._task = asyncio.get_running_loop().create_task(self._pass(), name="penstock-gate")

    def recall(self, mono_before: float) -> list[Run]:
        """Gives back the runs that came in before that moment and were not let through."""
        runs: list[Run] = []
        for line in (self._suspects, self._careful):
            while line and line[0].mono_taken <= mono_before:
                runs.append(line.popleft())
        return runs

    async def stop(self) -> None:
        """Lets nothing through any more; what was being marked can be recalled like the rest."""
        self._open = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _next(self) -> list[Run]:
        batch: list[Run] = []
        room = self._room()
        if room > 0 and not self._runs_one():
            self._suspect = self._take(self._suspects)
            if self._suspect is not None:
                self._mono_suspect = monotonic()
                batch.append(self._suspect)
        while len(batch) < room and (run := self._take(self._careful)) is not None:
            batch.append(run)
        return batch

    def _take(self, line: deque[Run]) -> Run | None:
        """The next that is still in hand."""
        while line:
            run = line.popleft()
            if self._has(run):
                return run
        return None

    async def _pass(self) -> None:
        try:
            while batch := self._next():
                self._marking = batch
                await self._mark(batch)
                self._marking = []
                self._let_through([run for run in batch if self._has(run)])
        finally:
            self._task = None
            for run in reversed(self._marking):
                (self._suspects if run.delivery.suspect else self._careful).appendleft(run)
            self._marking = []

    async def _mark(self, batch: list[Run]) -> None:
        notes = [Started(run.delivery) for run in batch]
        holding = [run.delivery for run in batch]
        while True:
            try:
                beat = await self._consumer.beat(self._lease_s, notes, holding)
            except Exception as error:
                await asyncio.sleep(self._backoff.failed(error))
            else:
                self._backoff.succeeded()
                self._on_beat(beat)
                return
