"""Runs that are marked started in the broker before they begin: suspects, one at a time, and at-most-once jobs.

A suspect was lost with its worker once. Were several to run together and the worker to die again, nobody could say
which of them did it; so one runs at a time, and only the one that was marked is blamed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from penstock.ports.broker import Beat, Consumer, Started
from penstock.runtime.run import Run
from penstock.runtime.service import Backoff


class Gate:
    """Marks and lets through.

    Args:
        consumer: Whose beat carries the marks.
        lease_s: The lease that each beat renews.
        let_through: Starts runs that are marked.
        on_beat: Told what the beat brought back; it takes away what is lost or cancelled.
        has: Whether a run is still in hand.
        room: How many at-most-once jobs may begin now.
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
        self._suspect: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff("mark started")
        self._open = True

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
        """Lets nothing through any more."""
        self._open = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _next(self) -> list[Run]:
        batch: list[Run] = []
        if self._suspect is None or not self._has(self._suspect):
            self._suspect = None
            while self._suspects and self._suspect is None:
                run = self._suspects.popleft()
                if self._has(run):
                    self._suspect = run
                    batch.append(run)
        room = self._room() - len(batch)
        while self._careful and len(batch) < room:
            run = self._careful.popleft()
            if self._has(run):
                batch.append(run)
        return batch

    async def _pass(self) -> None:
        try:
            while batch := self._next():
                await self._mark(batch)
                self._let_through(run for run in batch if self._has(run))
        finally:
            self._task = None

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
