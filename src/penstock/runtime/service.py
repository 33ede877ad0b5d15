"""A background duty of a worker: start, stop, tick, jitter and backing off, written once."""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic
from typing import Any, Final

from penstock.errors import BrokerError, BrokerUnavailable

log: logging.Logger = logging.getLogger("penstock.worker")

FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 1.0
COMPLAIN_EVERY_S: Final = 10.0


class Outage:
    """What is said of a broker that does not answer: one line every 10 s, however many duties find that out.

    Args:
        advice: What follows the error.
    """

    def __init__(self, advice: str = "") -> None:
        self._advice = advice
        self._away: set[str] = set()
        self._were_away: set[str] = set()
        self._mono_said = 0.0

    def failed(self, what: str, error: BrokerUnavailable) -> None:
        """A duty had no answer."""
        self._away.add(what)
        self._were_away.add(what)
        now = monotonic()
        if not self._mono_said or now - self._mono_said >= COMPLAIN_EVERY_S:
            self._mono_said = now
            log.warning("%s: %s%s; trying again", ", ".join(sorted(self._away)), error, self._advice)

    def succeeded(self, what: str) -> bool:
        """A duty had an answer; says whether it had none before. The last one of those says so."""
        if what not in self._away:
            return False
        self._away.discard(what)
        if not self._away:
            log.info("%s: works again", ", ".join(sorted(self._were_away)))
            self._were_away.clear()
            self._mono_said = 0.0
        return True

    def passed_on(self, what: str, to: str) -> bool:
        """A duty that had no answer asks no more, so another is waited for; says whether it had none."""
        if what not in self._away:
            return False
        self._away.discard(what)
        self._away.add(to)
        return True


class Backoff:
    """Waits that double, with jitter, and a complaint now and then instead of one a failure.

    Args:
        what: What is failing, for the log: ``"fetch"``.
        advice: What is said behind a ``BrokerUnavailable``.

    Attributes:
        outage: Where it says that the broker does not answer; duties of one worker share theirs.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        self.outage: Outage = Outage(advice)
        self._what = what
        self._wait_s = 0.0
        self._mono_complained = 0.0

    def failed(self, error: BaseException) -> float:
        """Notes a failure; returns seconds to wait before the next try.

        An error that is not the broker's is a bug of Penstock's: it is logged with its traceback.
        """
        self._wait_s = min(max(self._wait_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
        now = monotonic()
        if isinstance(error, BrokerUnavailable):
            self.outage.failed(self._what, error)
        elif not self._mono_complained or now - self._mono_complained >= COMPLAIN_EVERY_S:
            self._mono_complained = now
            if isinstance(error, BrokerError):
                log.warning("%s: %s; trying again", self._what, error)
            else:
                log.error("%s: a bug in Penstock, please report it; trying again", self._what, exc_info=error)
        return self._wait_s * random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """Notes that it works again."""
        if self._wait_s:
            if not self.outage.succeeded(self._what):
                log.info("%s: works again", self._what)
            self._wait_s = self._mono_complained = 0.0

    def speak_for(self, other: Backoff) -> None:
        """The other's duty asks no more; where it had no answer, the next one here says that the broker is back."""
        if other.outage.passed_on(other._what, self._what):
            other._wait_s = 0.0
            self._wait_s = self._wait_s or FIRST_BACKOFF_S


class Service:
    """One duty, ticking on the I/O loop until it is stopped.

    A subclass gives ``name`` and ``tick``. A ``BrokerError`` from a tick is waited out; any other exception is a bug:
    it is logged with its traceback and the duty goes on, so that a worker does not live on without its lease.
    """

    name = "service"

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._backoff = Backoff(self.name)

    async def tick(self) -> float:
        """Does the duty once; returns seconds until the next time. ``nudge()`` cuts the wait short."""
        raise NotImplementedError

    def share(self, outage: Outage) -> None:
        """Says together with others that the broker does not answer."""
        self._backoff.outage = outage

    def speak_for(self, backoff: Backoff) -> None:
        """Says in place of a duty that asks no more that the broker is back."""
        self._backoff.speak_for(backoff)

    def fall_silent(self, other: Service) -> None:
        """Asks no more; the other says that the broker is back."""
        other.speak_for(self._backoff)

    def nudge(self) -> None:
        """Makes the next tick come at once."""
        self._nudge.set()

    def within(self, wait_s: float) -> None:
        """Makes a tick that is waited for come at most so much later; one that comes sooner stays. On its loop."""
        timer = self._timer
        if timer is not None and timer.when() > asyncio.get_running_loop().time() + wait_s:
            timer.cancel()
            self._wake_in(wait_s)

    def _wake_in(self, wait_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._nudge.set)

    def start(self) -> None:
        """Begins to tick."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"penstock-{self.name}")

    async def stop(self) -> None:
        """Ends the duty, cancelling a tick under way. Safe to call twice, or before ``start``."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            self._nudge.clear()
            try:
                wait_s = await self.tick()
                self._backoff.succeeded()
            except Exception as error:
                await asyncio.sleep(self._backoff.failed(error))
                continue
            if wait_s > 0:
                await self._pause(wait_s)

    async def _pause(self, wait_s: float) -> None:
        if self._nudge.is_set():
            return
        self._wake_in(wait_s)
        try:
            await self._nudge.wait()
        finally:
            timer, self._timer = self._timer, None
            assert timer is not None
            timer.cancel()


async def either(awaitable: Any, wait_s: float) -> None:
    """Waits for it, at most ``wait_s``."""
    try:
        async with asyncio.timeout(wait_s):
            await awaitable
    except TimeoutError:
        return
