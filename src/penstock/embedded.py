"""``async with app.worker():`` runs a worker inside this process, beside whatever else it does.

Its duties have a thread of their own, as in a worker that is a process; coroutines run on the loop of the caller, plain
functions on threads, the process lane in children. No signal is touched: whoever runs the process stops it, by leaving
the block.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from penstock import __version__
from penstock.core.options import seconds
from penstock.core.queue_list import QueueList, read_queue_list
from penstock.core.spec import Lane, queues_of
from penstock.errors import BrokerUnavailable, ConfigError, PenstockError
from penstock.runtime.engine import CLOSE_WITHIN_S
from penstock.runtime.limits import Limits
from penstock.runtime.worker import Worker
from penstock.runtime.worker_settings import WorkerSettings
from penstock.settings import MOST_CONCURRENCY

if TYPE_CHECKING:
    from penstock.app import Penstock
    from penstock.ports.broker import Broker, Consumer

T = TypeVar("T")

log: logging.Logger = logging.getLogger("penstock.worker")


# What brokers were warned about in this process, by their address.
_said: set[tuple[str, str]] = set()


class EmbeddedWorker:
    """A worker in this process, until the block that ``app.worker()`` began is left.

    Attributes:
        id: Its random incarnation, as ``penstock workers`` shows it.
    """

    def __init__(self, worker: _Guest) -> None:
        self.id: str = worker.id
        self._worker = worker

    def __repr__(self) -> str:
        return f"<EmbeddedWorker {self.id}>"

    async def wait(self) -> None:
        """Waits until it has ended: by ``stop``, by an order to it, or with ``burst`` because nothing was left.

        Raises:
            PenstockError: It ended by an error.
        """
        await self._worker.over.wait()
        self._worker.raise_failure()

    async def stop(self) -> None:
        """Drains it, and waits until it has ended. Leaving the block does that too.

        Raises:
            PenstockError: It ended by an error.
        """
        self._worker.stop_once()
        await self.wait()


class WorkerBlock:
    """What ``app.worker(...)`` returns: ``async with`` it. See there for the arguments."""

    def __init__(
        self,
        app: Penstock,
        *,
        queues: str | Iterable[str] | None,
        concurrency: int | None,
        grace: float | timedelta | None,
        burst: bool,
    ) -> None:
        self._app = app
        self._settings = _settings(app, queues, concurrency, grace, burst)
        self._worker: _Guest | None = None

    async def __aenter__(self) -> EmbeddedWorker:
        if self._worker is not None:
            raise PenstockError("this block has been entered before; app.worker() makes another")
        self._worker = worker = _Guest(self._app, self._settings)
        await worker.begin()
        return EmbeddedWorker(worker)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._worker is not None
        await self._worker.finish()
        if error is None:
            self._worker.raise_failure()

    if not TYPE_CHECKING:  # type checkers refuse it by themselves

        def __enter__(self) -> NoReturn:
            raise ConfigError(
                "with app.worker(): it lives on an event loop, so say: async with app.worker(), in an async def; to "
                "run jobs beside synchronous code start penstock -A MODULE worker"
            )

        def __exit__(self, *_error: object) -> None: ...


def _settings(
    app: Penstock,
    queues: str | Iterable[str] | None,
    concurrency: int | None,
    grace: float | timedelta | None,
    burst: bool,
) -> WorkerSettings:
    settings = app.settings
    if queues is not None:
        chosen = read_queue_list(queues, "queues: ")
    elif settings["queues"]:
        chosen = read_queue_list(settings["queues"])
    else:
        chosen = QueueList(queues_of(app.tasks.values(), app.default_queue))
    slots = settings["concurrency"] if concurrency is None else concurrency
    if not isinstance(slots, int) or isinstance(slots, bool) or not 1 <= slots <= MOST_CONCURRENCY:
        raise ConfigError(f"app.worker(concurrency={slots!r}): a whole number, at least 1 and at most 10,000")
    return WorkerSettings(
        queues=chosen.names,
        weights=chosen.weights,
        concurrency=slots,
        lease_s=settings["lease"],
        grace_s=settings["grace"] if grace is None else seconds("grace", grace),
        max_crashes=settings["max_crashes"],
        burst=burst,
        limits=Limits(settings["max_jobs_per_process"], settings["max_memory_mb"]),
        strict=settings["strict"],
        app_name=app.name,
        app_reference=_reference(app),
        version=__version__,
        broker_source=settings.url_source,
    )


def _reference(app: Penstock) -> str:
    """Where a child process finds the application; empty where no task needs to know.

    Raises:
        ConfigError: A task runs in child processes, and no module has the application as an attribute.
    """
    if app.reference:
        return app.reference
    modules = [sys.modules.get(app.module), sys.modules.get("__main__")]
    for module in modules:
        for name, value in vars(module).items() if module is not None else ():
            if value is app:
                return f"{app.module}:{name}"
    if not any(spec.lane is Lane.PROCESS for spec in app.tasks.values()):
        return ""
    raise ConfigError(
        f"app.worker(): a task runs in child processes, which import the application, and module {app.module} has no "
        "attribute that is it; make the application at the top of a module"
    )


class _Guest(Worker):
    """A worker that lives in a process of somebody else's, on the running loop.

    Attributes:
        over: Set on that loop when it has ended.
    """

    def __init__(self, app: Penstock, settings: WorkerSettings) -> None:
        super().__init__(
            app.tasks,
            app.connect,
            settings,
            on_unknown=_warn_unknown,
            middlewares=app.middlewares,
            hooks=app.hooks,
        )
        self._app = app
        self._host = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._said_failure = False
        self._start_within_s: float = app.settings["enqueue_timeout"]
        self._io = threading.Thread(target=self._io_thread, name="penstock-io", daemon=True)
        self._closing: asyncio.Task[None] | None = None
        self.over: asyncio.Event = asyncio.Event()

    async def begin(self) -> None:
        """Starts it; returns when it takes jobs.

        Raises:
            PenstockError: It cannot be started; the broker is waited for as long as an enqueue is.
        """
        self._user_loop = self._host
        self._to_user.attach(self._host)
        self._io.start()
        try:
            await self._begun.wait()
        except BaseException:
            await self.finish()
            raise
        if not self.ready.is_set():
            await self.over.wait()
            self.raise_failure()

    def stop_once(self) -> None:
        """Drains it; asked again, or after an operator's order, it is in no more of a hurry."""
        self._drain_once()

    async def finish(self) -> None:
        """Drains it and waits for its end. Where the caller is cancelled meanwhile, running jobs are given back."""
        self.stop_once()
        try:
            await self.over.wait()
        except asyncio.CancelledError:
            self.stop(at_once=True)
            await self.over.wait()
            raise

    def raise_failure(self) -> None:
        """Raises what ended it, once."""
        failure = self._io_failed
        if failure is not None and not self._said_failure:
            self._said_failure = True
            raise failure

    async def _close(self) -> None:
        """When its thread has nothing left to do: closes what belongs to the jobs, on the loop that they ran on."""
        try:
            await self._pool.aclose()
            await self._joined()
        finally:
            self.over.set()

    async def _joined(self) -> None:
        """On a thread of its own: the host's executor may be full of what ends after the block."""
        done = asyncio.Event()

        def join() -> None:
            try:
                self._join()
            finally:
                self._tell_host(done.set)

        threading.Thread(target=join, name="penstock-join", daemon=True).start()
        await done.wait()

    def _join(self) -> None:
        self._io.join(CLOSE_WITHIN_S)
        if self._engine is not None:
            self._engine.join_children()
        self._pool.close()

    # --- what a worker asks of its process

    def _tell_host(self, action: Any) -> None:
        try:
            self._host.call_soon_threadsafe(action)
        except RuntimeError:  # the loop was closed without leaving the block
            log.warning("the event loop of an embedded worker was closed before its block was left")

    def _is_ready(self) -> None:
        super()._is_ready()
        self._tell_host(self._begun.set)

    def _end_main(self) -> None:
        self._tell_host(self._begun.set)
        # Made only now: whoever ends the host's loop cancels all tasks that it has, and the block waits for this one.
        self._tell_host(self._begin_to_close)

    def _begin_to_close(self) -> None:
        self._closing = self._host.create_task(self._close(), name="penstock-embedded")

    def _warn(self, line: str) -> None:
        """Once for each broker: a process may enter many such blocks."""
        said = (self._app.address.shown(), line)
        if said not in _said:
            _said.add(said)
            super()._warn(line)

    async def _open(self, broker: Broker) -> bool:
        return await self._in_time(super()._open(broker))

    async def _consumer(self, broker: Broker) -> Consumer | None:
        return await self._in_time(super()._consumer(broker))

    async def _in_time(self, connecting: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(self._start_within_s):
                return await connecting
        except TimeoutError:
            why = self._not_yet
            if why is not None:
                raise why from None
            raise BrokerUnavailable(
                f"{self._app.address.shown()}: no answer within {self._start_within_s:g} s"
            ) from None


def _warn_unknown(name: str) -> None:
    log.warning("no task %r here, so its jobs wait for a worker whose application defines it", name)


__all__ = ["EmbeddedWorker", "WorkerBlock"]
