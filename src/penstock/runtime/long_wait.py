"""Says what a worn worker that drains waits for, when that takes long: its jobs are let end, and one may never end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from penstock.runtime.limits import PATIENCE_S
from penstock.runtime.run import Run

log: logging.Logger = logging.getLogger("penstock.worker")

MOST_NAMED: Final = 3


class LongWait:
    """A warning every ten minutes.

    Args:
        worker_id: Of the worker that drains.
        shell: How a command for its application begins.
    """

    def __init__(self, worker_id: str, shell: str) -> None:
        self._worker_id = worker_id
        self._shell = shell
        self._mono_began = monotonic()
        self._mono_next = self._mono_began + PATIENCE_S

    def look(self, running: Callable[[], Sequence[Run]]) -> None:
        """Says it when it is time to. ``running`` gives the runs whose function has begun."""
        now = monotonic()
        if now < self._mono_next:
            return
        self._mono_next = now + PATIENCE_S
        runs = running()
        oldest = sorted(runs, key=lambda run: run.mono_started)
        named = ", ".join(f"{run.delivery.id} of {run.spec.name} (for {now - run.mono_started:.0f} s)"
                          for run in oldest[:MOST_NAMED])  # fmt: skip
        more = f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else ""
        log.warning("worker %s (pid %d) has drained for %.0f s; it waits for %d job(s) that run: "
                    "%s%s. Until they end, other worn worker processes are replaced with one fewer that takes jobs, or "
                    "wait. See what they do: %s workers %s dump; end one: %s cancel ID; bound them: a timeout for "
                    "the task", self._worker_id[:13], os.getpid(), now - self._mono_began, len(runs), named, more,
                    self._shell, self._worker_id[:13], self._shell)  # fmt: skip
