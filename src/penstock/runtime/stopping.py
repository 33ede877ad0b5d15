"""The wish that the worker ends: whoever has it, signals, operators, a burst or stuck threads, says it here."""

from __future__ import annotations

import asyncio
import logging
import math

log: logging.Logger = logging.getLogger("penstock.worker")


class Stopping:
    """Used on the I/O loop, ``asked`` excepted, which any thread may read.

    Args:
        grace_s: How long running jobs have from the first wish on.

    Attributes:
        asked: How often it was wished for; the second wish is for now.
        begun: Set by the first wish.
        hurry: Set when running jobs have no time left.
    """

    def __init__(self, grace_s: float) -> None:
        self.asked: int = 0
        self.begun: asyncio.Event = asyncio.Event()
        self.hurry: asyncio.Event = asyncio.Event()
        self._grace_s = grace_s

    def ask(self, *, at_once: bool = False) -> None:
        """Somebody wants the worker to drain, or to stop at once."""
        self.asked += 1
        if at_once or self.asked > 1:
            if self.begun.is_set() and not self.hurry.is_set():
                log.info("hurried: what still runs is not waited for")
            self._grace_s = 0.0
            self.hurry.set()
        if not self.begun.is_set():
            if self._grace_s == math.inf:
                log.info("stopping: running jobs are let end")
            else:
                log.info("stopping: running jobs have %g s", self._grace_s)
            self.begun.set()

    def ask_once(self) -> None:
        """``ask`` of somebody who is in no hurry, and content if others have asked."""
        if not self.begun.is_set():
            self.ask()

    def take_time(self) -> None:
        """Running jobs are let end, however long they take; who hurries is heard."""
        if not self.begun.is_set():
            self._grace_s = math.inf

    @property
    def grace_s(self) -> float:
        """How long running jobs have."""
        return self._grace_s
