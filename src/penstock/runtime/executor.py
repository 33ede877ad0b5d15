"""From deliveries to settlements: admit, hand to a lane, collect. Never talks to the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Final, NamedTuple, cast

from penstock.core.job import Delivery
from penstock.core.settlement import Cancelled, Done, Release, Settlement
from penstock.core.spec import Lane, TaskSpec
from penstock.runtime.admission import Admission, lost
from penstock.runtime.lanes import LaneRunner
from penstock.runtime.outcome import failed
from penstock.runtime.overtime import Overtime
from penstock.runtime.run import Ask, Home, Run
from penstock.runtime.service import either

log: logging.Logger = logging.getLogger("penstock.worker")

# A delivery that has waited so long unstarted is given back, so that another worker may run it.
HOARD_S: Final = 1.0
SWEEP_EVERY_S: Final = 0.1
# How long, at the end, the retry policies of what ignores its timeout may take to say what becomes of it.
POLICY_WITHIN_S: Final = 1.0


class Left(NamedTuple):
    """What still ran at the end of the grace period, in jobs.

    Attributes:
        given_back: Run again elsewhere.
        timed_out: Had ignored their timeout, so that attempt is over.
        dead: Run at most once, so nobody runs them again.
    """

    given_back: int
    timed_out: int
    dead: int


class Executor:
    """Everything this worker holds, by token. All methods run on the I/O loop, ``finish`` excepted.

    Args:
        registry: The tasks by name.
        slots: How many jobs run at once over all lanes.
        max_crashes: So many crashes make a job poison.
        settle: Takes settlements to send.
        gate: Takes runs that must be marked started before they begin; it calls ``dispatch`` for them.
        on_change: Told whenever something ended or was given back.
        home: What this process offers its runs.
        on_unknown: Told of each job whose task is not registered, for the hint in the log.
        on_failed: Told of each settlement that may be a failure, behind it, with its run where there is one; it must
            not raise. None for nobody.

    Attributes:
        done: Runs that ended in a success since the start.
        failed: Runs that ended otherwise.
        given_back: Deliveries that were released before they had begun.
        interrupted: Runs that were given back at the end of the grace period.
    """

    def __init__(
        self,
        registry: Mapping[str, TaskSpec],
        *,
        slots: int,
        max_crashes: int,
        settle: Callable[[Sequence[Settlement]], None],
        gate: Callable[[Run], None],
        on_change: Callable[[], None],
        on_unknown: Callable[[str], None],
        home: Home,
        on_failed: Callable[[Settlement, Run | None], None] | None = None,
    ) -> None:
        self._admission = Admission(registry, max_crashes, home, on_unknown)
        self._slots = slots
        self._settle = settle
        self._gate = gate
        self._on_change = on_change
        self._on_failed = on_failed
        self._gate_recall: Callable[[float], list[Run]] = lambda mono_before: []
        self._gate_reserved: Callable[[int], int] = lambda slots: 0
        self._lanes: dict[Lane, LaneRunner] = {}
        self._held: dict[int, Run] = {}
        self._overtime = Overtime(self._held, self._ask_lane)
        self._backlog: deque[Run] = deque()
        self._handed = 0
        self._finished: deque[Settlement] = deque()
        self._collecting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.done: int = 0
        self.given_back: int = 0
        self.interrupted: int = 0
        self.failed: int = 0

    def open(
        self,
        lanes: Mapping[Lane, LaneRunner],
        *,
        gate_recall: Callable[[float], list[Run]],
        gate_reserved: Callable[[int], int],
    ) -> None:
        """Begins, on the running loop.

        Args:
            lanes: The lanes.
            gate_recall: Takes back what waits at the gate.
            gate_reserved: How many of so many slots are to be left free for what waits at the gate.
        """
        self._gate_recall = gate_recall
        self._gate_reserved = gate_reserved
        self._loop = asyncio.get_running_loop()
        self._lanes = dict(lanes)

    @property
    def load(self) -> int:
        """Deliveries in hand: waiting, running, or not collected yet."""
        return len(self._held)

    @property
    def room(self) -> int:
        """Slots that nothing has been handed to."""
        return self._slots - self._handed

    def has(self, run: Run) -> bool:
        """Whether this run is still in hand."""
        return self._held.get(run.delivery.token) is run

    def held(self) -> list[Run]:
        """Every run in hand."""
        return list(self._held.values())

    def running(self) -> list[Run]:
        """Runs whose function has begun."""
        return [run for run in self._held.values() if run.mono_started]

    # --- in

    def admit(self, deliveries: Sequence[Delivery]) -> None:
        """Takes what was fetched."""
        now = monotonic()
        held = self._held
        at_once: list[Settlement] = []
        ready: list[Run] = []
        gated: list[Run] = []
        for delivery in deliveries:
            prepared = self._admission.prepare(delivery, now)
            if type(prepared) is not Run:
                at_once.append(cast("Settlement", prepared))
                continue
            held[delivery.token] = prepared
            if delivery.suspect or prepared.spec.at_most_once:
                gated.append(prepared)
            else:
                ready.append(prepared)
        if at_once:
            self.failed += len(at_once)
            self._settle(at_once)
        # First, so that the others leave them their slots.
        for run in gated:
            self._gate(run)
        self._backlog.extend(ready)
        self._hand_over()
        self._watch()
        if at_once and self._on_failed is not None:
            for each in at_once:
                self._on_failed(each, None)

    def let_through(self, runs: Iterable[Run]) -> None:
        """Begins runs that the gate has marked; it has seen that there are slots for them."""
        for run in runs:
            self._handed += 1
            self._lanes[run.spec.lane].submit([run])

    def _hand_over(self) -> None:
        """A lane that is alone at work keeps count of the slots itself and is given all that comes next in the line.

        Several at work share the slots, so they are given only what may start at once.
        """
        backlog, handed = self._backlog, self._handed
        reserved = self._gate_reserved(self._slots)
        slots = self._slots - reserved
        busy = {kind for kind, lane in self._lanes.items() if lane.busy}
        by_lane: dict[Lane, list[Run]] = {}
        while backlog:
            lane = backlog[0].spec.lane
            if handed >= slots and (reserved or not busy <= {lane}):
                break
            busy.add(lane)
            by_lane.setdefault(lane, []).append(backlog.popleft())
            handed += 1
        self._handed = handed
        for lane, runs in by_lane.items():
            self._lanes[lane].submit(runs)

    # --- out

    def finish(self, settlement: Settlement) -> None:
        """A run has ended. Called from any thread; what gathers is collected in one turn of the I/O loop."""
        self._finished.append(settlement)
        if not self._collecting:
            self._collecting = True
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:  # the I/O loop is gone: the worker gave this run up at the end of its grace
                log.debug("job %s ended after the worker", settlement.delivery.id)

    def _collect(self) -> None:
        self._collecting = False
        finished, held = self._finished, self._held
        count = len(finished)
        ended = [finished.popleft() for _ in range(count)]
        self._handed -= count
        told: list[tuple[Settlement, Run]] = []
        if self._on_failed is not None:
            told = [
                (each, run)
                for each in ended
                if type(each) is not Done and (run := held.get(each.delivery.token)) is not None
            ]
        # What is not held any more was lost, or given back at the end of the grace period.
        settlements = [each for each in ended if held.pop(each.delivery.token, None) is not None]
        done = sum(1 for each in settlements if type(each) is Done)
        self.done += done
        self.failed += len(settlements) - done
        if log.isEnabledFor(logging.DEBUG):
            for each in settlements:
                log.debug("job %s: %s", each.delivery.id, type(each).__name__.lower())
        self._settle(settlements)
        if self._backlog:
            self._hand_over()
        self._on_change()
        # Last: what is said about jobs keeps none of them from its end.
        if self._on_failed is not None:
            for each, run in told:
                self._on_failed(each, run)

    # --- asked

    def cancel(self, tokens: Iterable[int]) -> None:
        """Operators want these jobs to end."""
        for token in tokens:
            run = self._held.get(token)
            if run is not None and run.ask is None:
                self._overtime.cancelled(token)
                self._ask(run, Ask.CANCEL, Cancelled(run.delivery))

    def lose(self, tokens: Iterable[int]) -> int:
        """These deliveries belong to other workers now: their runs are asked to end and nothing is settled.

        Says how many were still in hand; one that has ended meanwhile was settled, not lost.
        """
        count = 0
        for token in tokens:
            run = self._held.pop(token, None)
            if run is not None:
                count += 1
                log.warning("job %s of %s was lost to another worker (its lease was over); what this one does "
                            "with it is not recorded", run.delivery.id, run.spec.name)  # fmt: skip
                self._ask(run, Ask.LOST, None)
        return count

    def _ask(self, run: Run, why: Ask, unstarted: Settlement | None) -> None:
        run.ask = why
        if run.mono_started:
            self._ask_lane(run)
        elif unstarted is not None and run in self._backlog:
            self._backlog.remove(run)
            self._held.pop(run.delivery.token, None)
            self._settle([unstarted])

    def _ask_lane(self, run: Run) -> None:
        self._lanes[run.spec.lane].ask(run)

    def stopping(self) -> None:
        """Tells every run that the worker drains."""
        for run in self._held.values():
            run.stopping = True
        for lane in self._lanes.values():
            lane.stopping()

    def recall(self, mono_before: float) -> int:
        """Gives back to the broker what came in before that moment and has not begun; says how many."""
        runs = [run for lane in self._lanes.values() for run in lane.recall(mono_before)]
        self._handed -= len(runs)
        while self._backlog and self._backlog[0].mono_taken <= mono_before:
            runs.append(self._backlog.popleft())
        runs += self._gate_recall(mono_before)
        self.release(runs)
        return len(runs)

    def release(self, runs: Iterable[Run]) -> None:
        """Gives runs back to the front of their lines, unspent."""
        given = [run for run in runs if self._held.pop(run.delivery.token, None) is not None]
        if given:
            self.given_back += len(given)
            self._settle([Release(run.delivery) for run in given])
            self._on_change()

    async def abandon(self) -> Left:
        """At the end of the grace period: asks what still runs to stop, and settles it; the process ends with it.

        A run that ignores its timeout has timed out, as if it had heeded; the others are given back.
        """
        timed_out = await self._time_out([run for run in self.running() if run.ask is Ask.TIMEOUT])
        given_back = dead = 0
        for run in self.held():
            run.ask = run.ask or Ask.STOP
            if run.mono_started:
                self._ask_lane(run)
            self._held.pop(run.delivery.token, None)
            if run.spec.at_most_once and run.mono_started:
                dead += 1
                dead_now = lost(run.delivery, run.spec.name)
                self._settle([dead_now])
                if self._on_failed is not None:
                    self._on_failed(dead_now, run)
            else:
                given_back += 1
                self.interrupted += 1 if run.mono_started else 0
                self.given_back += 0 if run.mono_started else 1
                self._settle([Release(run.delivery)])
        self.failed += dead
        return Left(given_back, timed_out, dead)

    async def _time_out(self, runs: Sequence[Run]) -> int:
        """Settles these by their retry policies, which may be the user's own code: not on the I/O loop."""
        if not runs:
            return 0
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def settle() -> None:
            for run in runs:
                self.finish(failed(run, asyncio.CancelledError()))
            with contextlib.suppress(RuntimeError):  # it took too long: the loop is gone
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=settle, name="penstock-timeout", daemon=True).start()
        await either(done.wait(), POLICY_WITHIN_S)
        return sum(1 for run in runs if not self.has(run))

    # --- over time

    def stuck(self) -> int:
        """See ``Overtime``."""
        return self._overtime.stuck()

    def _watch(self) -> None:
        if self._sweeper is None and self._loop is not None:
            self._sweeper = self._loop.call_later(SWEEP_EVERY_S, self._sweep)

    def _sweep(self) -> None:
        """What lasts too long, and what was hoarded. Ticks only while something is in hand."""
        self._sweeper = None
        now = monotonic()
        self._overtime.look(now)
        self.recall(now - HOARD_S)
        # What waited at the gate may have gone elsewhere.
        self._hand_over()
        if self._held:
            self._watch()
        self._on_change()
