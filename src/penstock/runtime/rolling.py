"""Replaces a supervisor's worker processes one by one: a fresh one comes first, then the old one drains.

Two wishes come here: a rolling restart of all (SIGHUP), and a worker that has done enough or has grown too large and
asks for a successor. Both wait in one line, and nobody's turn comes while a process that was replaced still drains: so
never more than one process is there beside those that are wanted.

The jobs of a worn one are let end, and one of them may never end. So after ten minutes the next worn one has its turn
the other way round: it drains first, and its successor is started when there is room for that.
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from penstock.runtime.limits import PATIENCE_S
from penstock.runtime.slot import Slot

log: logging.Logger = logging.getLogger("penstock.supervisor")

# A fresh process that has not reached its broker by then is taken for one that hangs. Large models are loaded in less.
READY_WITHIN_S: Final = 300.0
# A worker that asks for a successor and could not have one asks again.
AGAIN_AFTER_S: Final = 30.0


class Rolling:
    """The line of those that are to be replaced, and the one whose turn it is.

    Args:
        slots: All of the supervisor's; those that join and leave do so here.
        start: Starts a process in a slot; it has no ``pid`` afterwards where that failed.
        drain: Tells a worker process to end when its jobs have.
        hasten: From now on what runs in a worn process that drains has the grace period and no more.
        kill: Kills a process.
        has_children: Whether jobs run in child processes of the workers.
    """

    def __init__(
        self,
        slots: list[Slot],
        *,
        start: Callable[[Slot], None],
        drain: Callable[[Slot], None],
        hasten: Callable[[Slot], None],
        kill: Callable[[Slot], None],
        has_children: bool = False,
    ) -> None:
        self._slots = slots
        self._start = start
        self._drain = drain
        self._hasten = hasten
        self._kill = kill
        self._has_children = has_children
        self._line: deque[Slot] = deque()
        self._old: Slot | None = None
        self._heir: Slot | None = None
        self._goes_first: Slot | None = None
        self._all = False
        self._once_more = False
        self._mono_asks_count = 0.0

    def all(self) -> None:
        """A rolling restart; during one, another when that has ended."""
        if self._all:
            log.info("another rolling restart follows this one")
            self._once_more = True
            return
        self._line = deque(slot for slot in self._slots if slot.pid and self._wanted(slot))
        if self._heir is not None:  # a single one is being replaced; its successor may be of the old code
            self._line.append(self._heir)
        for slot in self._slots:
            slot.mono_retry = 0.0  # those that keep failing may be better now
        if self._line:
            self._all = True
            log.info("rolling restart of %d worker process(es), one by one", len(self._line))
            for slot in self._draining:  # the roll waits for their end
                self._hasten(slot)

    def one(self, slot: Slot, why: str) -> None:
        """A worker asks for a successor; it goes on until that is there, and asks again where none comes."""
        asked = slot in self._line or slot is self._old or not self._wanted(slot)
        if not asked and monotonic() >= self._mono_asks_count:
            before = None if self._goes_ahead(slot) else next(iter(self._draining), self._old)
            log.info("%s %s; it is replaced%s", slot, why, f" once {before} has ended" if before else "")
            self._line.append(slot)

    def stop(self) -> None:
        """The supervisor stops: nobody is replaced any more."""
        self._line.clear()
        self._old = self._heir = self._goes_first = None
        self._all = self._once_more = False

    def step(self) -> None:
        """Does what can be done now. Call it whenever anything has happened."""
        heir = self._heir
        if heir is not None and heir.is_ready:
            if self._old is not None:
                log.info("%s is ready, %s drains", heir, self._old)
                self._drain(self._old)
                if self._all:
                    self._hasten(self._old)
            self._old = self._heir = None
        elif heir is not None and monotonic() >= heir.mono_started + READY_WITHIN_S:
            log.error("%s has not reached its broker in %g s and is killed", heir, READY_WITHIN_S)
            self._kill(heir)
            heir.mono_started = monotonic()
        while self._line and self._is_free:
            self._begin(self._line.popleft())
        if self._line and not self._all:
            self._pass_by()
        if self._all and not self._line and self._is_free:
            self._all = False
            log.info("the rolling restart is done")
            if self._once_more:
                self._once_more = False
                self.all()

    def ended(self, slot: Slot, how: str) -> bool:
        """A process has ended; says whether its slot is done with, so that nothing else is to follow from it.

        Args:
            slot: Its slot; ``code`` says how.
            how: The same in words, for the log.
        """
        if slot.mono_drains_until is not None:
            # One that was asked before it could listen has left nothing behind.
            well = slot.code in {0, -signal.SIGTERM}
            log.log(
                logging.INFO if well else logging.WARNING, "%s, which was replaced, %s", _named(slot), how
            )
            self._slots.remove(slot)
            self._fill()
            return True
        if slot is self._old:
            return self._old_ended(slot, how)
        if slot is self._heir:
            return self._heir_ended(slot, how)
        if slot in self._line:  # what follows it is fresh
            self._line.remove(slot)
        return False

    @property
    def _draining(self) -> list[Slot]:
        """Those that were told to end for another and have not: one, and one more that did not wait for it."""
        return [slot for slot in self._slots if slot.mono_drains_until is not None]

    @property
    def _is_free(self) -> bool:
        """Whether the next one may be replaced: there are as many processes as are wanted, and no more."""
        return self._heir is None and not self._draining

    def _wanted(self, slot: Slot) -> bool:
        """Whether it is to be there at all: not one that drains, nor one that is just being started."""
        return not slot.over and slot.mono_drains_until is None and slot is not self._heir

    def _begin(self, old: Slot) -> None:
        if not old.pid or not self._wanted(old):  # it has ended meanwhile; what follows it is fresh
            return
        heir = Slot(old.number)
        heir.failures = old.failures
        self._old, self._heir = old, heir
        self._slots.append(heir)
        self._start(heir)
        if not heir.pid:
            self._heir_ended(heir, "could not be started")

    def _others(self, slot: Slot) -> list[Slot]:
        return [each for each in self._slots if self._wanted(each) and each is not slot]

    def _goes_ahead(self, slot: Slot) -> bool:
        """Whether this one need not wait for the one that drains."""
        draining = self._draining
        return (
            self._heir is None
            and len(draining) == 1
            and monotonic() - draining[0].mono_drains_since >= PATIENCE_S
            and bool(self._others(slot))
        )

    def _pass_by(self) -> None:
        """Where one has drained for long, the next worn one drains before its successor is there.

        One at a time, and only while all the others take jobs, of which there must be one at least.
        """
        slot = self._line[0]
        if not self._goes_ahead(slot) or not all(each.is_ready for each in self._others(slot)):
            return
        self._line.popleft()
        if slot.pid and self._wanted(slot):
            [first] = self._draining
            log.info("%s has drained for %.0f s and is not waited for any more: %s drains before its successor is "
                     "started, so one process fewer takes jobs until it has ended",
                     first, monotonic() - first.mono_drains_since, slot)  # fmt: skip
            self._goes_first = slot
            self._drain(slot)

    def _fill(self) -> None:
        """One of two that drained has ended: there is room for the successor that has not been started."""
        slot, self._goes_first = self._goes_first, None
        if slot is not None:
            fresh = Slot(slot.number)
            fresh.failures = slot.failures
            self._slots.append(fresh)

    def _old_ended(self, slot: Slot, how: str) -> bool:
        """It did so by itself: its successor, which is on its way, takes its place."""
        self._old = None
        if slot.code == 0 and self._heir is not None:  # somebody has stopped it, or its burst is over
            heir, self._heir = self._heir, None
            self._drain(heir)
            return False
        log.warning("%s %s; its successor is being started already", _named(slot), how)
        self._slots.remove(slot)
        return True

    def _heir_ended(self, heir: Slot, how: str) -> bool:
        """The fresh one cannot work: whoever works goes on, and nobody else is replaced."""
        old, self._old, self._heir = self._old, None, None
        rest = "the rolling restart stops" if self._all else "it is tried again"
        self._line.clear()
        self._all = self._once_more = False
        self._mono_asks_count = monotonic() + AGAIN_AFTER_S
        if old is None:  # that place is empty: it is filled as after any other failure
            log.error("a fresh worker process %s before it was ready (see above); %s", how, rest)
            return False
        self._slots.remove(heir)
        working = sum(1 for slot in self._slots if slot.pid and self._wanted(slot))
        # A child is a fresh interpreter, so what it imports is what lies there when it is started.
        children = (
            "; process lane: children that they start from now on load the code on disk; put back what works"
        )
        log.error("a fresh worker process %s before it was ready (see above); %s, and the %d that run go on%s",
                  how, rest, working, children if self._has_children else "")  # fmt: skip
        return True


def _named(slot: Slot) -> str:
    return f"worker process {slot.number}"
