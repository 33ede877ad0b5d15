"""From a call to an acknowledged enqueue: numbered, repeated until the broker answers or the time is up.

A producer has one call under way at a time. An unanswered call is sent again with its number, and the broker adds
nothing twice. Blocking callers have a connection for each thread; async callers one for each event loop, on which
concurrent calls for one queue share round trips. What the broker refuses is told to its own caller alone.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from penstock.core.job import Enqueued, Job, Origin
from penstock.errors import BrokerError, BrokerRejected, BrokerUnavailable
from penstock.ids import new_id
from penstock.ports.broker import BlockingProducer, Broker

SLICE: Final = 500
"""Jobs in one call at the most; each call is all or nothing where the broker can."""

WHOLE_BYTES: Final = 1 << 20
"""Bytes of bodies, of at most ``Capabilities.batch`` jobs, that every broker stores whole or not at all."""

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5


_log: Final = logging.getLogger(__name__)

# The connections of all lines, and those of lines that are no more; both are changed without a lock.
_ways: dict[int, BlockingProducer] = {}
_ended: deque[BlockingProducer] = deque()


def _close_ended() -> None:
    """Closes the connections of threads that have ended."""
    while _ended:
        try:
            way = _ended.popleft()
        except IndexError:  # another thread was faster
            return
        _ways.pop(id(way), None)
        try:
            way.close()
        except BrokerError as error:  # it is nothing to whoever calls now
            _log.warning("the connection of a thread that has ended could not be closed: %s", error)


class _Line:
    """One thread's connection, its name and its count."""

    __slots__ = ("__weakref__", "busy", "number", "pid", "producer", "way")

    def __init__(self, way: BlockingProducer) -> None:
        self.way = way
        self.busy = False
        self.producer = new_id()
        self.number = 0
        self.pid = os.getpid()

        # Were it reached from here alone, the collector could come to its socket first.
        _ways[id(way)] = way

    def __del__(self) -> None:
        # Its thread has ended; nobody else could close it, and a web server may start a thread for each request. But
        # this may run in the middle of anything, also where this thread holds the lock that closing takes: the next
        # call closes it. What a fork has copied is the parent's.
        if self.pid == os.getpid():
            _ended.append(self.way)
            if sys.is_finalizing():
                _close_ended()


class _UnderWay(NamedTuple):
    """A call that the broker has been sent; ``answer`` waits for what it says."""

    jobs: Sequence[Job]
    origin: Origin
    timeout_s: float
    answer: Callable[[], Sequence[Enqueued]]


class BlockingEnqueue:
    """``enqueue`` for threads.

    Args:
        connect: Makes a blocking producer; it connects on first use.
        timeout_s: Seconds after which an unanswered call is an error.
    """

    def __init__(self, connect: Callable[[], BlockingProducer], timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._lines: weakref.WeakSet[_Line] = weakref.WeakSet()
        _forget_after_fork(self)

    def enqueue(self, jobs: Sequence[Job], timeout_s: float | None = None) -> Sequence[Enqueued]:
        """Stores jobs; returns once the broker has accepted them.

        Raises:
            BrokerUnavailable: No answer in time; whether the jobs are stored is unknown.
            BrokerRejected: The broker refused. Of a call of more than ``capabilities.batch`` jobs some may be stored.
        """
        line = self._line()
        try:
            return self._end(line, self._begin(line, jobs, timeout_s))
        finally:
            line.busy = False

    def enqueue_parts(
        self,
        parts: Iterable[Sequence[Job]],
        took: Callable[[Sequence[Enqueued]], None],
        timeout_s: float | None = None,
    ) -> None:
        """Stores parts in their order; a server works on one while this thread makes the next.

        Args:
            parts: What one call of ``enqueue`` could take, each.
            took: Given each part's answers, in order.
            timeout_s: Seconds after which an unanswered part is an error.

        Raises:
            BrokerUnavailable: As ``enqueue``; the parts before are stored. It comes before an error of making the next.
            BrokerRejected: As ``enqueue``.
        """
        line = self._line()
        under_way: _UnderWay | None = None
        try:
            for part in parts:
                if under_way is not None:
                    try:
                        answers = self._end(line, under_way)
                    except Exception:
                        under_way = None  # that was its answer; after an interrupt it is still to come
                        raise
                    under_way = None
                    took(answers)
                under_way = self._begin(line, part, timeout_s)
        finally:
            try:
                if under_way is not None:
                    took(self._end(line, under_way))
            finally:
                line.busy = False

    def _begin(self, line: _Line, jobs: Sequence[Job], timeout_s: float | None) -> _UnderWay:
        line.number += 1
        origin = Origin(line.producer, line.number)
        if timeout_s is None:
            timeout_s = self._timeout_s
        line.way.answer_s = timeout_s
        try:
            return _UnderWay(jobs, origin, timeout_s, line.way.begin(jobs, origin))
        except BrokerUnavailable as error:
            answers = self._repeat(line, jobs, origin, time.monotonic() + timeout_s, error)
            return _UnderWay(jobs, origin, timeout_s, lambda: answers)

    def _end(self, line: _Line, call: _UnderWay) -> Sequence[Enqueued]:
        # From here on, however long it took to make the next part: its answer may have been there for long.
        mono_until = time.monotonic() + call.timeout_s
        try:
            return call.answer()
        except BrokerUnavailable as error:
            return self._repeat(line, call.jobs, call.origin, mono_until, error)

    def _line(self) -> _Line:
        """This thread's line, busy from now on.

        A busy one is left alone, and another takes its place: whoever makes the jobs may enqueue others meanwhile, and
        so may the handler of a signal, in the middle of a call.
        """
        if _ended:
            _close_ended()
        line: _Line | None = getattr(self._local, "line", None)
        if line is None or line.busy:
            line = self._local.line = _Line(self._connect())
            self._lines.add(line)
        line.busy = True
        return line

    def _repeat(
        self, line: _Line, jobs: Sequence[Job], origin: Origin, mono_until: float, error: BrokerUnavailable
    ) -> Sequence[Enqueued]:
        for pause_s in pauses():
            if time.monotonic() + pause_s >= mono_until:
                break
            time.sleep(pause_s)
            line.way.answer_s = max(mono_until - time.monotonic(), _FIRST_PAUSE_S)
            try:
                return line.way.enqueue(jobs, origin)
            except BrokerUnavailable as again:
                error = again
        # The next call takes a fresh name: were this one still under way, its number must not swallow another's.
        line.producer, line.number = new_id(), 0
        raise error

    def close(self) -> None:
        """Closes every thread's connection."""
        for line in list(self._lines):
            line.way.close()
        self._lines.clear()
        self._local = threading.local()
        _close_ended()

    def forget(self) -> None:
        """In a forked child: drops the parent's connections without a word on their wires."""
        for line in list(self._lines):
            line.way.abandon()
        self._lines = weakref.WeakSet()
        self._local = threading.local()


class _Call(NamedTuple):
    jobs: Sequence[Job]
    answer: asyncio.Future[Sequence[Enqueued]]


class AsyncEnqueue:
    """``enqueue`` for one event loop: calls for one queue that come while one is under way go together in the next."""

    def __init__(self, broker: Broker, timeout_s: float) -> None:
        self._broker = broker
        self._timeout_s = timeout_s
        self._lines: dict[str, _AsyncLine] = {}

    async def enqueue(self, jobs: Sequence[Job]) -> Sequence[Enqueued]:
        """As ``BlockingEnqueue.enqueue``. A cancelled call may have been stored."""
        if not jobs:
            return []
        queue = jobs[0].queue
        if len(jobs) > 1 and any(job.queue != queue for job in jobs):
            alone = _AsyncLine(self._broker, self._timeout_s)
            return await alone.ask(jobs, time.monotonic() + self._timeout_s)
        line = self._lines.get(queue)
        if line is None:
            line = self._lines[queue] = _AsyncLine(self._broker, self._timeout_s)
        return await line.enqueue(jobs)


class _AsyncLine:
    """One queue's calls on one event loop: a name and a count, and who waits while a call is under way."""

    def __init__(self, broker: Broker, timeout_s: float) -> None:
        self._broker = broker
        self._timeout_s = timeout_s
        self._producer = new_id()
        self._number = 0
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None
        # Of the last call: it went out more than once, so that what it was told in the end is not all there is to it.
        self._repeated = False

    async def enqueue(self, jobs: Sequence[Job]) -> Sequence[Enqueued]:
        """Stores jobs of this queue, together with those of others."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Enqueued]] = loop.create_future()
        self._waiting.append(_Call(jobs, answer))
        if self._task is None:
            self._task = loop.create_task(self._flush(), name="penstock-enqueue")
        return await answer

    async def _flush(self) -> None:
        try:
            while self._waiting:
                calls = self._take()
                try:
                    await self._send(calls, time.monotonic() + self._timeout_s)
                finally:  # a cancelled flush must not leave its callers waiting
                    for call in calls:
                        if not call.answer.done():
                            call.answer.set_exception(BrokerUnavailable("closed"))
        finally:
            self._task = None

    def _take(self) -> list[_Call]:
        """The next callers: no more together than a broker stores whole or not at all."""
        count = size = weight = 0
        for jobs, _ in self._waiting:
            size += len(jobs)
            weight += sum([len(job.body) for job in jobs])
            if count and (size > self._broker.capabilities.batch or weight > WHOLE_BYTES):
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _send(self, calls: Sequence[_Call], mono_until: float) -> None:
        try:
            answers = await self.ask([job for call in calls for job in call.jobs], mono_until)
        except Exception as error:
            if isinstance(error, BrokerRejected) and len(calls) > 1 and not self._repeated:
                # Nothing of it is stored, and perhaps only one of them is what the broker does not want.
                for call in calls:
                    if not call.answer.done():
                        await self._send([call], mono_until)
                return
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)
            return
        at = 0
        for call in calls:
            if not call.answer.done():
                call.answer.set_result(answers[at : at + len(call.jobs)])
            at += len(call.jobs)

    async def ask(self, jobs: Sequence[Job], mono_until: float) -> Sequence[Enqueued]:
        """One numbered call, repeated until it is answered or the time is up."""
        self._number += 1
        origin = Origin(self._producer, self._number)
        waits = pauses()
        self._repeated = False
        while True:
            try:
                async with asyncio.timeout(mono_until - time.monotonic()):
                    return await self._broker.enqueue(jobs, origin)
            except BrokerUnavailable:
                pause_s = next(waits)
                if time.monotonic() + pause_s >= mono_until:
                    self._producer, self._number = new_id(), 0  # as in BlockingEnqueue
                    raise
            except TimeoutError:
                self._producer, self._number = new_id(), 0
                raise BrokerUnavailable(f"the broker gave no answer within {self._timeout_s:g} s") from None
            self._repeated = True
            await asyncio.sleep(pause_s)


def pauses() -> Iterator[float]:
    """Seconds between one try and the next, longer each time; without end."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def slices(jobs: Iterator[Job]) -> Iterator[list[Job]]:
    """Cuts a stream of jobs into calls."""
    part: list[Job] = []
    for job in jobs:
        part.append(job)
        if len(part) == SLICE:
            yield part
            part = []
    if part:
        yield part


_forgetful: weakref.WeakSet[BlockingEnqueue] = weakref.WeakSet()


def _forget_after_fork(enqueue: BlockingEnqueue) -> None:
    _forgetful.add(enqueue)


def _in_child() -> None:
    # Those of the parent's lines, which are gone here or will be without a word.
    for way in list(_ways.values()):
        way.abandon()
    _ended.clear()
    _ways.clear()
    for enqueue in list(_forgetful):
        enqueue.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
atexit.register(_close_ended)
