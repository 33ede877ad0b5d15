"""``Penstock``: an application, its settings, and its ways to the broker. What it declares is in ``declaring.py``."""

from __future__ import annotations

import asyncio
import atexit

# A first delay() at the interpreter's exit could not import it any more.
import concurrent.futures.thread  # noqa: F401  # pyright: ignore[reportUnusedImport]
import contextlib
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar

from penstock import listing
from penstock.brokers import Address, connect, connect_blocking, inspector
from penstock.clients import Clients
from penstock.core.job import Enqueued, Job, JobRecord, check_queue_name, queue_of
from penstock.core.lifecycle import JobState as JobState
from penstock.core.spec import TaskSpec
from penstock.declaring import Declarations
from penstock.errors import ConfigError, PenstockError
from penstock.handle import JobHandle, untyped
from penstock.listing import JobInfo, ListedState, WorkerInfo
from penstock.naming import folder_of, module_name
from penstock.portal import Portal
from penstock.ports.broker import Broker
from penstock.ports.inspector import Inspector, QueueCounts
from penstock.producer import BlockingEnqueue
from penstock.settings import Settings
from penstock.task import CallOptions, SendOptions, build_job, by_name, call_options

if TYPE_CHECKING:
    from penstock.embedded import WorkerBlock

T = TypeVar("T")

log: logging.Logger = logging.getLogger("penstock")

# On a running loop a blocking call stops everything else there, so it gives up sooner.
_ON_A_LOOP_TIMEOUT_S: Final = 1.0
_AT_EXIT_S: Final = 1.0


class Penstock(Declarations):
    """An application: tasks and the broker that they go through.

    Args:
        name: Shown in logs and pages. No namespace: applications on one broker share its queues.
        broker: The broker's URL; None reads ``PENSTOCK_BROKER_URL``, else ``sqlite:///penstock.db``.
        namespace: Sets applications on one broker apart.
        default_queue: Where tasks go that name no queue.
        lease: Seconds (or a timedelta) that the broker waits for a silent worker before it gives its jobs to others.
        max_crashes: So many losses with their worker, after they had started, make a job poison.
        max_body: Bytes of the largest body.
        enqueue_timeout: Seconds (or a timedelta) after which an unanswered enqueue is an error.
        store: Refused: stores come with workflows.

    Raises:
        ConfigError: A setting cannot work.
    """

    def __init__(
        self,
        name: str,
        broker: str | None = None,
        *,
        namespace: str | None = None,
        default_queue: str | None = None,
        lease: float | timedelta | None = None,
        max_crashes: int | None = None,
        max_body: int | None = None,
        enqueue_timeout: float | timedelta | None = None,
        store: str | None = None,
    ) -> None:
        if store is not None:
            raise ConfigError(
                "store=...: stores come with workflows; until then the broker keeps results and states"
            )
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        self.name = name
        self.module: str = module_name(frame)
        self._folder = folder_of(frame)
        self._code: dict[str, Any] = {
            "broker_url": broker,
            "namespace": namespace,
            "default_queue": default_queue,
            "lease": lease.total_seconds() if isinstance(lease, timedelta) else lease,
            "max_crashes": max_crashes,
            "max_body": max_body,
            "enqueue_timeout": (
                enqueue_timeout.total_seconds() if isinstance(enqueue_timeout, timedelta) else enqueue_timeout
            ),
        }
        super().__init__()
        self.reference = ""
        self._portal = Portal()
        self._clients = Clients(self)
        self._warned_on_a_loop = False
        self.configure()

    def __repr__(self) -> str:
        return f"<Penstock {self.name!r} on {self.address.shown()}>"

    def configure(self, command_line: Mapping[str, Any] | None = None, folder: Path | None = None) -> None:
        """Reads the settings again, with those of a command line on top.

        Args:
            command_line: Settings given there; None means not given.
            folder: Where the search for a settings file begins, instead of the folder of the application's module.

        Raises:
            ConfigError: One of them cannot work.
        """
        self._folder = folder or self._folder
        settings = Settings(self._folder, self._code, command_line)
        self.settings: Settings = settings
        self.address: Address = settings.address(self._folder)
        self.default_queue: str = check_queue_name(settings["default_queue"])
        self.max_body: int = settings["max_body"]
        self._blocking = BlockingEnqueue(lambda: connect_blocking(self.address), settings["enqueue_timeout"])

    # --- enqueue

    def send(
        self, name: str, /, *args: Any, options: SendOptions | None = None, **kwargs: Any
    ) -> JobHandle[Any]:
        """Enqueues a task by its name, without its code.

        Args:
            name: The task's name.
            args: Its positional arguments: by its annotations where this application knows it, else what JSON keeps.
            options: What ``task.options(...)`` takes, as a dict; a type checker refuses other names too.
            kwargs: Its keyword arguments.

        Raises:
            InvalidArguments: The arguments do not fit, or JSON would change them.
            BrokerUnavailable: No answer in time.
        """
        spec, job = self._named(name, args, kwargs, options)
        return JobHandle(self, job.id, spec, self.enqueue([job])[0].added)

    async def asend(
        self, name: str, /, *args: Any, options: SendOptions | None = None, **kwargs: Any
    ) -> JobHandle[Any]:
        """``send`` for async callers."""
        spec, job = self._named(name, args, kwargs, options)
        return JobHandle(self, job.id, spec, (await self.aenqueue([job]))[0].added)

    def _named(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: SendOptions | None
    ) -> tuple[TaskSpec | None, Job]:
        known, spec = self.tasks.get(name), by_name(self, name).spec
        raw, raw_named = spec.arguments.encode(args, kwargs)
        return known, build_job(self, spec, call_options(CallOptions(), options or {}), raw, raw_named)

    def enqueue(self, jobs: Sequence[Job]) -> Sequence[Enqueued]:
        """Stores jobs, blocking; what ``delay`` does."""
        return self._blocking.enqueue(jobs, self._timeout_s())

    def enqueue_parts(
        self, parts: Iterable[Sequence[Job]], took: Callable[[Sequence[Enqueued]], None]
    ) -> None:
        """Stores parts in their order, blocking; what ``delay_many`` does."""
        self._blocking.enqueue_parts(parts, took, self._timeout_s())

    def _timeout_s(self) -> float | None:
        """Seconds that a blocking call may take; None for as many as the settings say."""
        if asyncio._get_running_loop() is None:
            return None
        if not self._warned_on_a_loop:
            self._warned_on_a_loop = True
            log.warning("%s() was called on a running event loop and stops it for a round trip; use: await "
                        "task.adelay(...), of a class task aperform_async(...) (said once)", _typed())  # fmt: skip
        return _ON_A_LOOP_TIMEOUT_S

    async def aenqueue(self, jobs: Sequence[Job]) -> Sequence[Enqueued]:
        """Stores jobs without blocking the loop; what ``adelay`` does."""
        return await (await self._clients.here()).enqueue.enqueue(jobs)

    # --- jobs

    def job(self, id: str, queue: str | None = None) -> JobHandle[Any]:
        """The handle of a job by its id; for an id of your own, give its queue.

        Raises:
            ConfigError: The id names no queue and none was given.
        """
        if queue is not None:
            return untyped(self, f"{check_queue_name(queue)}:{id}")
        queue_of(id)
        return untyped(self, id)

    # --- what is stored

    def queues(self) -> list[QueueCounts]:
        """Every queue that has ever held a job, by name, with its counts.

        Raises:
            BrokerUnavailable: No answer.
            ConfigError: This broker cannot be looked into.
            PenstockError: Called on a running event loop; use ``aqueues``.
        """
        _not_on_a_loop("queues", "await app.aqueues()")
        return self.call(self.aqueues())

    async def aqueues(self) -> list[QueueCounts]:
        """``queues`` for async callers."""
        return list(await (await self.inspector()).queues())

    def jobs(
        self,
        queue: str | Iterable[str] | None = None,
        task: str | None = None,
        state: JobState | ListedState | Iterable[JobState | ListedState] | None = None,
        tag: str | None = None,
    ) -> Iterator[JobInfo]:
        """The jobs that wait, run or are dead, read page by page while one goes through them.

        Of each queue and state it gives at most as many as there were when it began. A job that moves meanwhile may be
        seen twice or not at all.

        Args:
            queue: Those of this queue, or of any of these.
            task: Those of the task of this name; ``*`` and ``?`` stand for anything.
            state: Those in this state, or in any of these: scheduled, ready, running, failed, quarantined. Of a text
                that came from elsewhere, ``JobState(text)`` makes one.
            tag: Those with this tag.

        Raises:
            BrokerUnavailable: No answer.
            ConfigError: Of a state no list is kept, or this broker cannot be looked into.
            PenstockError: Called on a running event loop; use ``ajobs``.
        """
        _not_on_a_loop("jobs", "async for job in app.ajobs()")
        return listing.jobs(self._page, listing.chosen_by(queue, task, state, tag))

    def ajobs(
        self,
        queue: str | Iterable[str] | None = None,
        task: str | None = None,
        state: JobState | ListedState | Iterable[JobState | ListedState] | None = None,
        tag: str | None = None,
    ) -> AsyncIterator[JobInfo]:
        """``jobs`` for async callers: ``async for job in app.ajobs(...)``."""
        return listing.ajobs(self.inspector, listing.chosen_by(queue, task, state, tag))

    def _page(self, scan: listing.Scan) -> list[JobRecord] | None:
        _not_on_a_loop("jobs", "async for job in app.ajobs()")

        async def page() -> list[JobRecord] | None:
            return await scan.next(await self.inspector())

        return self.call(page())

    def workers(self) -> list[WorkerInfo]:
        """Workers whose lease holds, and those whose jobs have not been taken back yet; the oldest first.

        Raises:
            BrokerUnavailable: No answer.
            ConfigError: This broker cannot be looked into.
            PenstockError: Called on a running event loop; use ``aworkers``.
        """
        _not_on_a_loop("workers", "await app.aworkers()")
        return self.call(self.aworkers())

    async def aworkers(self) -> list[WorkerInfo]:
        """``workers`` for async callers."""
        return listing.worker_infos(await (await self.inspector()).workers())

    # --- a worker in this process

    def worker(
        self,
        *,
        queues: str | Iterable[str] | None = None,
        concurrency: int | None = None,
        grace: float | timedelta | None = None,
        burst: bool = False,
    ) -> WorkerBlock:
        """A worker in this process, for as long as a block lasts: ``async with app.worker(concurrency=4) as worker:``.

        Coroutine tasks run on the running loop, plain functions on threads, tasks of the process lane in children. When
        the block is left, also by an error, it takes nothing new, and what runs has the grace period. No signal is
        touched. ``worker.id`` is its id; ``await worker.wait()`` waits until it ends by itself, ``await worker.stop()``
        drains it before the block ends.

        Args:
            queues: ``"mail,default"`` in strict order, ``"mail=3,default=1"`` with weights, or a list of the parts
                (default: the setting, else those of the application's tasks).
            concurrency: Jobs that run at once (default: the setting, 10).
            grace: Seconds (or a timedelta) that running jobs have at the end (default: the setting, 25).
            burst: End when nothing is ready and nothing runs.

        Raises:
            ConfigError: A setting cannot work.
            BrokerUnavailable: On entering the block: no answer within ``enqueue_timeout``.
            BrokerMisconfigured: On entering the block: the broker would lose jobs.
        """
        from penstock.embedded import WorkerBlock

        return WorkerBlock(self, queues=queues, concurrency=concurrency, grace=grace, burst=burst)

    # --- clients

    @property
    def in_process(self) -> bool:
        """Whether its jobs live in this process alone, where no command and no worker of another reaches them."""
        return self.address.scheme == "memory"

    def connect(self) -> Broker:
        """A broker of one's own, not yet opened; for workers and tools."""
        return connect(self.address)

    async def inspector(self) -> Inspector:
        """The inspector of the running loop's broker.

        Raises:
            ConfigError: This broker cannot be looked into.
        """
        return inspector((await self._clients.here()).broker)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine for a blocking caller, on this application's own loop."""
        _to_close.add(self)
        return self._portal.call(coroutine)

    def close(self) -> None:
        """Closes the blocking connections and this application's own loop. They come back on the next use."""
        self._blocking.close()
        self._portal.close(self.aclose())

    def close_at_exit(self) -> None:
        """Ends this application's own loop as the interpreter ends; a broker that is away is not waited for."""
        with contextlib.suppress(TimeoutError):
            self._portal.close(self.aclose(), _AT_EXIT_S)

    async def aclose(self) -> None:
        """Closes the running loop's connections. They come back on the next use."""
        await self._clients.close_here()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    if not TYPE_CHECKING:  # type checkers refuse it by themselves

        def __enter__(self) -> NoReturn:
            raise ConfigError(
                "with app: say async with app, in an async def; synchronous code need not close it, and may with "
                "app.close()"
            )

        def __exit__(self, *_error: object) -> None: ...


# Those that may have a loop of their own. A script need not close what it made.
_to_close: Final[weakref.WeakSet[Penstock]] = weakref.WeakSet()


@atexit.register
def _close_at_exit() -> None:
    for app in list(_to_close):
        app.close_at_exit()


def _typed() -> str:
    """The function of ours that code outside has called, as it is spelled there."""
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and str(frame.f_back.f_globals.get("__name__")).startswith("penstock."):
        frame = frame.f_back
    return frame.f_code.co_name


def _not_on_a_loop(name: str, twin: str) -> None:
    if asyncio._get_running_loop() is not None:
        raise PenstockError(f"{name}() would stop the running event loop; use: {twin}")
