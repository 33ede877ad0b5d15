"""Runs that last longer than they may: asked to end, told in the log where they go on, and counted as stuck."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from penstock.core.spec import Lane
from penstock.runtime.run import Ask, Run

log: logging.Logger = logging.getLogger("penstock.worker")

# How long a coroutine has to end after it was cancelled before it counts as one that does not heed.
HEED_S: Final = 1.0
# So long after its timeout a run that was asked to end counts as one that never will; so long after it was cancelled
# the log says that it goes on. One that looks at cancelled() between two pieces of its work gets there later than at
# once, and the worker that it runs in must not be ended for it.
STUCK_S: Final = 5.0


class Overtime:
    """Looks at the runs in hand whenever it is told to.

    Args:
        held: The runs in hand, by token; not copied.
        ask: Has a run's lane ask it to end, for the reason that it carries.
    """

    def __init__(self, held: Mapping[int, Run], ask: Callable[[Run], None]) -> None:
        self._held = held
        self._ask = ask
        self._mono_cancelled: dict[int, float] = {}

    def cancelled(self, token: int) -> None:
        """This run was asked to end just now."""
        self._mono_cancelled[token] = monotonic()

    def stuck(self) -> int:
        """Slots of runs whose timeout is long over, that were asked to end for that or before it, and go on."""
        now = monotonic()
        return sum(
            1
            for run in self._held.values()
            if run.warned and run.timeout_s is not None and _overdue_s(run, now) > STUCK_S
        )

    def look(self, mono_now: float) -> None:
        """Timeouts of threads and children, and who does not heed what it was asked."""
        for run in list(self._held.values()):
            if run.timeout_s is not None and run.mono_started:
                self._look_at_time(run, _overdue_s(run, mono_now))
        if self._mono_cancelled:
            self._look_at_cancelled(mono_now)

    def _look_at_time(self, run: Run, overdue_s: float) -> None:
        """The loop cancels its own coroutines in time; here is seen to the other lanes, and to who does not heed."""
        lane = run.spec.lane
        if overdue_s <= (HEED_S if lane is Lane.LOOP else 0) or run.ask not in {None, Ask.TIMEOUT}:
            return
        if run.ask is None:
            run.ask = Ask.TIMEOUT
            self._ask(run)
        # Middleware around a thread's function has just been cancelled, and mostly heeds that.
        heeds = lane is Lane.THREAD and run.handle is not None and overdue_s <= HEED_S
        if lane is not Lane.PROCESS and not run.warned and not heeds:
            run.warned = True
            _warn(run, f"runs longer than its timeout of {run.timeout_s:g} s")

    def _look_at_cancelled(self, mono_now: float) -> None:
        for token, mono_asked in list(self._mono_cancelled.items()):
            run = self._held.get(token)
            if run is not None and mono_now - mono_asked <= STUCK_S:
                continue
            del self._mono_cancelled[token]
            # A child is killed shortly after it was asked.
            if run is not None and run.mono_started and run.spec.lane is not Lane.PROCESS:
                run.warned = True
                _warn(run, f"was cancelled {mono_now - mono_asked:.0f} s ago and goes on")


def _warn(run: Run, how: str) -> None:
    """Says once that a run does not heed what it was asked."""
    what = "thread cannot be stopped: it" if run.spec.lane is Lane.THREAD else "coroutine"
    log.warning('job %s of %s %s. A %s was asked to end (current_job().cancelled()) and keeps its slot; lane="process" '
                "can be killed", run.delivery.id, run.spec.name, how, what)  # fmt: skip


def _overdue_s(run: Run, mono_now: float) -> float:
    return mono_now - run.mono_started - (run.timeout_s or 0.0)
