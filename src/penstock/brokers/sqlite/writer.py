"""The threads that use the file, so that the event loop never does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar

from penstock.brokers.sqlite.database import Database
from penstock.errors import BrokerError, BrokerUnavailable

T = TypeVar("T")

# The turnstile gives up after 2 s and SQLite after 5; beyond that the disk itself does not answer.
_DEADLINE_S: Final = 15.0
# More in one transaction would keep other processes waiting for longer than they notice.
_GATHERED: Final = 64


class _Call(NamedTuple):
    operation: Callable[[Database, float], Any]
    durable: bool
    answer: asyncio.Future[Any]
    # Where the caller has gone, what it can no longer be told goes here.
    left_over: Callable[[Any], None] | None


class Writer:
    """A thread with a connection of its own, fed by an event loop.

    What has gathered while a transaction ran goes into the next one together: a natural group commit, without a
    timer. One message to the loop brings the answers of all of it.

    Args:
        database: Its connection.
        name: Of the thread.
        at_end: What else the thread does when it ends.
    """

    def __init__(self, database: Database, name: str, *, at_end: Callable[[], None] | None = None) -> None:
        self.database = database
        self._at_end = at_end
        # None ends the thread.
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._name = name
        self._thread: Thread | None = None
        self._closing = False
        self._ended: asyncio.Future[None] | None = None

    async def run(
        self,
        operation: Callable[[Database, float], T],
        *,
        durable: bool,
        left_over: Callable[[T], None] | None = None,
    ) -> T:
        """Runs ``operation`` in a transaction and waits for its commit.

        Args:
            operation: Is given the database and the broker's now.
            durable: It is to outlive a failure of the power, not only one of the process.
            left_over: Is given what ``operation`` returned where this call was cancelled meanwhile.

        Raises:
            BrokerUnavailable: There was no answer in time; it may take effect later.
        """
        if self._closing:
            raise BrokerError(f"SQLite file {self.database.path}: the broker was closed")
        if self._thread is None:
            self._thread = Thread(target=self._work, name=f"penstock-{self._name}", daemon=True)
            self._thread.start()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put(_Call(operation, durable, answer, left_over))
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return await answer
        except BaseException as error:
            # The answer may have come in the same turn of the loop as the cancellation: then nobody has read it.
            if (
                left_over is not None
                and answer.done()
                and not answer.cancelled()
                and answer.exception() is None
            ):
                left_over(answer.result())
            if isinstance(error, TimeoutError):
                raise BrokerUnavailable(
                    f"SQLite file {self.database.path}: no answer within {_DEADLINE_S:g} s; is its disk busy or gone?"
                ) from None
            raise

    async def close(self) -> None:
        """Ends the thread once it has done what was asked of it. Safe to call twice."""
        if self._closing or self._thread is None:
            self._closing = True
            return
        self._closing = True
        self._ended = asyncio.get_running_loop().create_future()
        self._calls.put(None)
        with suppress(TimeoutError):  # the thread hangs in the disk; it does not keep the process from ending
            async with asyncio.timeout(_DEADLINE_S):
                await self._ended

    def _work(self) -> None:
        going = True
        while going:
            calls, going = self._gather()
            calls = [call for call in calls if not call.answer.cancelled()]
            if calls:
                _tell(calls[0].answer, _deliver, calls, self._outcomes(calls))
        with suppress(BrokerError):  # what was committed is safe; there is nobody to be told
            self.database.close()
        if self._at_end is not None:
            self._at_end()
        if self._ended is not None:
            _tell(self._ended, _finish, self._ended)

    def _outcomes(self, calls: Sequence[_Call]) -> Sequence[Any]:
        durable = any(call.durable for call in calls)
        return self.database.write_all([call.operation for call in calls], durable=durable)

    def _gather(self) -> tuple[list[_Call], bool]:
        """Waits for a call, and takes those that are there with it; whether to go on."""
        calls: list[_Call] = []
        call = self._calls.get()
        with suppress(Empty):
            while call is not None:
                calls.append(call)
                if len(calls) == _GATHERED:
                    break
                call = self._calls.get_nowait()
        return calls, call is not None


class Reader(Writer):
    """As ``Writer``, on a connection that only reads; one call at a time, so that no state of the file is held long."""

    def _outcomes(self, calls: Sequence[_Call]) -> Sequence[Any]:
        outcomes: list[Any] = []
        for call in calls:
            try:
                outcomes.append(self.database.read(call.operation))
            except BaseException as error:  # the answer to whoever asked
                outcomes.append(error)
        return outcomes


def _tell(answer: asyncio.Future[Any], told: Callable[..., None], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop was closed without waiting for this: nobody is left to be told
        answer.get_loop().call_soon_threadsafe(told, *arguments)


def _finish(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _deliver(calls: Sequence[_Call], outcomes: Sequence[Any]) -> None:
    for call, outcome in zip(calls, outcomes, strict=True):
        if call.answer.done():
            if call.left_over is not None and not isinstance(outcome, BaseException):
                call.left_over(outcome)
        elif isinstance(outcome, BaseException):
            call.answer.set_exception(outcome)
        else:
            call.answer.set_result(outcome)
