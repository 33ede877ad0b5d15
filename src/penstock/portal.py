"""A loop on a thread of its own, for blocking callers of what only speaks async: status, result, cancel."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from penstock.errors import PenstockError

T = TypeVar("T")

log: logging.Logger = logging.getLogger("penstock")


class Portal:
    """Started on first use; a forked child starts its own, and so does the next call after a loop that died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._waiting: set[Future[Any]] = set()
        self._pid = 0

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs ``coroutine`` on the portal's loop; returns its value or raises its error.

        Raises:
            PenstockError: The loop died meanwhile.
        """
        if (
            self._pid != os.getpid()
        ):  # in a forked child the parent's thread is not there, and its lock may be held
            self._lock = threading.Lock()
            self._loop = None
            self._waiting = set()
        with self._lock:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
            self._waiting.add(future)
        try:
            return future.result()
        except KeyboardInterrupt:  # nobody waits for it any more
            future.cancel()
            raise
        finally:
            self._waiting.discard(future)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._pid = os.getpid()
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run, args=[self._loop], name="penstock-portal", daemon=True
            )
            self._thread.start()
        return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        except BaseException as error:  # whoever waits for this loop would wait for ever
            log.error("the loop for blocking calls died: a bug in Penstock, please report it", exc_info=error)
            with self._lock:
                self._loop = None
                waiting, self._waiting = list(self._waiting), set()
            loop.close()
            for future in waiting:
                if not future.done():
                    future.set_exception(
                        PenstockError(f"the loop for blocking calls died: {type(error).__name__}: {error}")
                    )

    @property
    def started(self) -> bool:
        """Whether there is anything to close in this process."""
        return self._loop is not None and self._pid == os.getpid()

    def close(self, last: Coroutine[Any, Any, None], within_s: float | None = None) -> None:
        """Runs ``last`` there and ends the loop.

        Raises:
            TimeoutError: That took longer than ``within_s``.
        """
        if not self.started:
            last.close()
            return
        with self._lock:
            # Whoever calls from now on starts another loop.
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            waiting, self._waiting = self._waiting, set()
        if loop is None or thread is None:
            last.close()
            return
        asyncio.run_coroutine_threadsafe(_end(last), loop).result(within_s)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(within_s)
        loop.close()
        for future in waiting:
            if not future.done():
                future.set_exception(PenstockError("the application was closed meanwhile"))


async def _end(last: Coroutine[Any, Any, None]) -> None:
    """Runs it, and ends what else is under way: asyncio would complain of what its loop leaves behind."""
    await last
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
