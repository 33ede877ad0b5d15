"""One worker process: its threads, its two event loops, its signals, and the connection to the broker.

The main thread belongs to the user: their event loop runs there, made when the first coroutine job comes, and the
signal handlers, which only post to the I/O loop. The I/O loop runs on a thread of its own, and on it the engine, which
does the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, MappingProxyType
from typing import Final

from penstock.core.spec import TaskSpec
from penstock.errors import BrokerMisconfigured, BrokerRejected, BrokerUnavailable
from penstock.ports.broker import Broker, Consumer, WorkerCard
from penstock.runtime.engine import (
    CLOSE_WITHIN_S,
    EXIT_DRAINED,
    EXIT_LEFT_BEHIND,
    WINDOW_AHEAD,
    Engine,
    Surroundings,
)
from penstock.runtime.hooks import Hook
from penstock.runtime.loops import new_event_loop
from penstock.runtime.onion import Middleware, Onion
from penstock.runtime.resources import ResourcePool
from penstock.runtime.service import Backoff, either
from penstock.runtime.stacks import every_stack
from penstock.runtime.stopping import Stopping
from penstock.runtime.telling import Teller
from penstock.runtime.user_loop import UserLoop
from penstock.runtime.waking import SignalBell
from penstock.runtime.worker_settings import WorkerSettings

log: logging.Logger = logging.getLogger("penstock.worker")

# Disk or memory may be full: whoever makes room need not start the worker as well. It goes on then, as one that runs.
NOT_YET: Final = (BrokerUnavailable, BrokerRejected)
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM))

NO_HOOKS: Final[Mapping[str, Sequence[Hook]]] = MappingProxyType({})


class Worker:
    """Runs jobs until it is stopped.

    Args:
        registry: The tasks by name.
        make_broker: Makes the broker, on the I/O loop.
        settings: How to run.
        on_unknown: Told the name of each task that is met and not known, once a name.
        on_beat: Called after each answered beat with the longest timeout of the tasks and of what runs (None: one has
            none), for the guard.
        on_worn: Called with the reason for which this process is to be replaced, until it is.
        middlewares: What runs around each job; the first is the outermost.
        hooks: What is told of failures, and of the worker's start and end, by event.
    """

    def __init__(
        self,
        registry: Mapping[str, TaskSpec],
        make_broker: Callable[[], Broker],
        settings: WorkerSettings,
        *,
        on_unknown: Callable[[str], None] = lambda name: None,
        on_beat: Callable[[float | None], None] = lambda longest_s: None,
        on_worn: Callable[[str], None] = lambda why: None,
        middlewares: Sequence[Middleware] = (),
        hooks: Mapping[str, Sequence[Hook]] = NO_HOOKS,
    ) -> None:
        self._registry = registry
        self._make_broker = make_broker
        self._settings = settings
        self._on_unknown = on_unknown
        self._on_beat = on_beat
        self._on_worn = on_worn
        self._pool = ResourcePool()
        self._main: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._onion = Onion(middlewares) if middlewares else None
        self._to_user = UserLoop(lambda: self._main.put("loop"))
        self._teller = Teller(hooks, registry, self._to_user) if any(hooks.values()) else None
        self._user_loop: asyncio.AbstractEventLoop | None = None
        self._user_end: asyncio.Event | None = None
        self._io_loop: asyncio.AbstractEventLoop | None = None
        self._io_failed: BaseException | None = None
        self._not_yet: BrokerUnavailable | BrokerRejected | None = None
        self._stopping = Stopping(settings.grace_s)
        self._engine: Engine | None = None
        self._drain_asked = False
        self._ending = False
        self._loop_ended = False
        self._begins_quiet = False
        self._owns_process = False
        self._bell: SignalBell | None = None
        self._started_at = time.time()
        self.ready: threading.Event = threading.Event()

    @property
    def id(self) -> str:
        """The random incarnation of this worker; it is the consumer's."""
        return self._settings.consumer_id

    @property
    def state(self) -> str:
        """running, quiet or stopping; starting while it has not reached its broker."""
        return "starting" if self._engine is None else self._engine.state

    # --- the main thread

    def run(self, *, signals: bool = True) -> int:
        """Runs until stopped; returns the exit code. Call it on the main thread where ``signals`` are wanted.

        Raises:
            BrokerMisconfigured: The broker would lose jobs, so the worker does not start.
            PenstockError: A hook of the worker's start failed.
        """
        self._owns_process = signals
        if signals:
            self._install_signals()
        io = threading.Thread(target=self._io_thread, name="penstock-io", daemon=True)
        io.start()
        try:
            while (said := self._main.get()) != "end":
                if said == "loop":
                    self._run_user_loop()
        finally:
            io.join(CLOSE_WITHIN_S)
            if signals:
                # The interpreter gives signals their default action back as it ends; a supervisor's word that comes
                # then must not make a worker that has drained look killed.
                hurries = (signal.SIGUSR2,) if self._settings.supervised else ()
                for number in (*STOP_SIGNALS, *hurries):
                    signal.signal(number, signal.SIG_IGN)
            if self._engine is not None:
                self._engine.join_children()
            if self._bell is not None and not io.is_alive():
                self._bell.close()
        self._pool.close()
        if self._io_failed is not None:
            raise self._io_failed
        return self._exit_code()

    def stop(self, *, at_once: bool = False) -> None:
        """Asks the worker to drain, or to stop at once. From any thread."""
        if self._io_loop is None:
            self._stopping.asked += 1
        self._post(lambda: self._stopping.ask(at_once=at_once))

    def _drain_once(self) -> None:
        """Drains it, unless it does already, whoever wished for that."""
        if not self._drain_asked and not self._stopping.asked:
            self._drain_asked = True
            if self._io_loop is None:
                self._stopping.asked += 1
            self._post(self._stopping.ask_once)

    def _exit_code(self) -> int:
        if self._loop_ended:
            return EXIT_LEFT_BEHIND
        return EXIT_DRAINED if self._engine is None else self._engine.exit_code

    def _install_signals(self) -> None:
        # A supervisor passes on what it gets, and whoever stops the service may signal everybody: for its workers all
        # such signals are one, and hurrying has a signal of its own.
        self._bell = SignalBell()
        supervised = self._settings.supervised
        # A terminal that hangs up stops a worker as gently as anything else, unless it was started to outlive that
        # (nohup). For a supervisor it is the wish for fresh workers, and no business of the old ones.
        stops = set(STOP_SIGNALS)
        if hasattr(signal, "SIGHUP"):  # pragma: no branch - Windows has it not
            if supervised:
                stops.discard(signal.SIGHUP)
                # Not SIG_IGN: programs that a job starts would inherit that.
                signal.signal(signal.SIGHUP, lambda _n, _f: None)
            elif signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
                stops.discard(signal.SIGHUP)
        for number in stops:
            signal.signal(number, lambda _n, _f: self._drain_once() if supervised else self.stop())
        if not supervised and getattr(signal, "SIGHUP", None) in stops:
            signal.signal(signal.SIGHUP, self._hang_up)
        if supervised:
            signal.signal(signal.SIGUSR2, lambda _n, _f: self.stop(at_once=True))
        if hasattr(signal, "SIGTSTP"):  # pragma: no branch - Windows has neither
            signal.signal(signal.SIGTSTP, lambda _n, _f: self._post(self._quiet))
        if hasattr(signal, "SIGUSR1"):  # pragma: no branch
            signal.signal(signal.SIGUSR1, self._print_stacks)

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        if (
            not self._stopping.asked
        ):  # not here: the thread that a signal interrupts may be writing to the log
            said = "SIGHUP without a supervisor: draining; --processes N replaces processes one by one"
            self._post(lambda: log.info(said))
        self.stop()

    def _print_stacks(self, _number: int, _frame: FrameType | None) -> None:
        print(self._stacks(), flush=True)  # noqa: T201 - what the signal is for

    def _stacks(self) -> str:
        return every_stack([loop for loop in (self._user_loop, self._io_loop) if loop is not None])

    def _post(self, action: Callable[[], None]) -> None:
        if self._io_loop is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._io_loop.call_soon_threadsafe(action)

    def _wake_main(self) -> None:
        """A signal has come; its handler runs as soon as the main thread does anything."""
        self._main.put("signal")
        loop = self._user_loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(lambda: None)

    def _run_user_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                loop = runner.get_loop()
                main = loop.create_task(self._user_main())
                while not main.done():
                    try:
                        loop.run_until_complete(main)
                    except BaseException as error:
                        if main.done() and not main.cancelled() and main.exception() is error:
                            raise
                        self._user_loop_ended(error)
        except (SystemExit, KeyboardInterrupt) as error:  # from a task that was cancelled with the loop
            self._user_loop_ended(error)
        if self._bell is not None:
            self._bell.hang()

    def _user_loop_ended(self, error: BaseException) -> None:
        """Something beside the jobs ended the user's loop, which no job outlives: a task or a callback that exits.

        It is run on at once, so that jobs have their grace and can be given back; then this worker ends.
        """
        log.error("the event loop of the jobs was ended by %s, raised in no job but in an asyncio task or a "
                  "callback of its own; the worker stops", type(error).__name__, exc_info=error)  # fmt: skip
        if not self._stopping.asked:
            self._loop_ended = True
            self._drain_once()

    async def _user_main(self) -> None:
        self._user_loop = asyncio.get_running_loop()
        self._user_end = asyncio.Event()
        if self._ending:  # it was asked for as the worker ended
            self._user_end.set()
        self._to_user.attach(self._user_loop)
        while not self._user_end.is_set():
            try:
                await self._user_end.wait()
            except asyncio.CancelledError as error:  # somebody cancels all tasks that there are
                self._user_loop_ended(error)
        await self._pool.aclose()

    # --- the I/O thread

    def _io_thread(self) -> None:
        loop = new_event_loop()
        asyncio.set_event_loop(loop)
        self._io_loop = loop
        if self._bell is not None:
            self._bell.listen(loop, self._wake_main)
        try:
            loop.run_until_complete(self._io_main())
        except BaseException as error:
            self._io_failed = error
        finally:
            if self._owns_process and self._exit_code() == EXIT_LEFT_BEHIND:
                self._end_anyway()
            self._end_main()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _end_anyway(self) -> None:
        """What outlived its grace may also ignore that its loop ends; it must not keep the process for ever."""
        timer = threading.Timer(CLOSE_WITHIN_S, os._exit, [EXIT_LEFT_BEHIND])
        timer.daemon = True
        timer.start()

    def _is_ready(self) -> None:
        self.ready.set()

    def _end_main(self) -> None:
        # First: the loop that is just being made sets and looks the other way round.
        self._ending = True
        loop, end = self._user_loop, self._user_end
        if loop is not None and end is not None and not loop.is_closed():
            loop.call_soon_threadsafe(end.set)
        self._main.put("end")

    async def _io_main(self) -> None:
        if self._stopping.asked:
            return
        broker = self._make_broker()
        try:
            if not await self._open(broker):
                return
            if self._teller is None:
                await self._serve(broker)
            elif await self._teller.start(self._stopping.begun):
                try:
                    await self._serve(broker)
                finally:
                    await self._teller.stop(self._stopping.hurry)
        finally:
            await broker.close()

    async def _serve(self, broker: Broker) -> None:
        consumer = await self._consumer(broker)
        if consumer is not None:
            self._engine = self._make_engine(broker, consumer)
            self._engine.start(quiet=self._begins_quiet)
            self._is_ready()
            await self._stopping.begun.wait()
            await self._engine.drain()

    async def _open(self, broker: Broker) -> bool:
        """Connects, waiting for a broker that is not there yet or has no room; False when stopped meanwhile."""
        backoff = self._connecting()
        while not self._stopping.begun.is_set():
            try:
                warnings = await broker.open()
            except NOT_YET as error:
                self._not_yet = error
                wait_s = backoff.failed(error)
                await either(self._stopping.begun.wait(), wait_s)
                continue
            for line in warnings:
                self._warn(line)
            if warnings and self._settings.strict:
                raise BrokerMisconfigured(
                    f"PENSTOCK_STRICT is set and the broker warns: {'; '.join(warnings)}"
                )
            return True
        return False

    def _connecting(self) -> Backoff:
        source = self._settings.broker_source
        return Backoff("connect", f" (the URL comes from {source})" if source else "")

    def _warn(self, line: str) -> None:
        """Says what the broker warns about."""
        log.warning("%s", line)

    async def _consumer(self, broker: Broker) -> Consumer | None:
        """The claim on the jobs; None when stopped meanwhile."""
        settings = self._settings
        backoff = self._connecting()
        while not self._stopping.begun.is_set():
            try:
                return await broker.consumer(
                    settings.queues,
                    window=settings.concurrency + WINDOW_AHEAD,
                    lease_s=settings.lease_s,
                    card=self._card(),
                    id=settings.consumer_id,
                )
            except NOT_YET as error:
                self._not_yet = error
                await asyncio.sleep(backoff.failed(error))
        return None

    def _make_engine(self, broker: Broker, consumer: Consumer) -> Engine:
        around = Surroundings(
            pool=self._pool,
            user_loop=self._to_user,
            stacks=self._stacks,
            on_unknown=self._on_unknown,
            on_beat=self._on_beat,
            on_worn=self._on_worn,
            onion=self._onion,
            on_failed=None if self._teller is None else self._teller.on_failed,
        )
        return Engine(self._registry, broker, consumer, self._card(), self._settings, self._stopping, around)

    def _card(self) -> WorkerCard:
        settings = self._settings
        return WorkerCard(
            id=self.id,
            app=settings.app_name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=list(settings.queues),
            concurrency=settings.concurrency,
            started_at=self._started_at,
            version=settings.version,
        )

    def _quiet(self) -> None:
        if self._engine is None:  # it has no connection yet
            self._begins_quiet = True
        else:
            self._engine.quiet()
