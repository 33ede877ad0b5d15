"""One worker process: the composition root. It only wires; each duty is a file beside this one.

    I/O loop (a thread of its own)                              where the user's code runs
    broker --fetch--> Feeder --> Executor --> (Gate) --> lanes: threads | the user's loop | child processes
    broker <-settle-- Settler <-- Executor <------------ settlements
    broker <--beat--- Leases      broker <-- Maintenance

The main thread belongs to the user: their event loop runs there, made when the first coroutine job comes, and the
signal handlers, which only post to the I/O loop.
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
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from penstock.core.job import Delivery
from penstock.core.settlement import Release
from penstock.core.spec import Lane, TaskSpec
from penstock.errors import BrokerError, BrokerMisconfigured, BrokerUnavailable
from penstock.ids import new_id
from penstock.ports.broker import Answer, Beat, Broker, Consumer, Note, Progress, WorkerCard
from penstock.runtime.executor import Executor
from penstock.runtime.feeder import LONGEST_WAIT_S, Feeder
from penstock.runtime.gate import Gate
from penstock.runtime.lanes import LaneRunner, LoopLane, ThreadLane
from penstock.runtime.leases import Leases
from penstock.runtime.loops import new_event_loop
from penstock.runtime.maintenance import Maintenance
from penstock.runtime.resources import ResourcePool
from penstock.runtime.run import Home, Run, shell_of
from penstock.runtime.service import Backoff
from penstock.runtime.settler import Settler
from penstock.runtime.stacks import every_stack
from penstock.runtime.waking import SignalBell

log = logging.getLogger("penstock.worker")

EXIT_DRAINED: Final = 0
EXIT_LEFT_BEHIND: Final = 4
# How much may be held beyond the slots: what the fastest no-op worker ends in the time that is fetched ahead.
WINDOW_AHEAD: Final = 2_000
CLOSE_WITHIN_S: Final = 5.0
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM))
# A burst ends when a fetch finds nothing, so it does not wait long for more.
BURST_WAIT_S: Final = 0.05


@dataclass(slots=True, kw_only=True)
class WorkerSettings:
    """How a worker process runs.

    Attributes:
        queues: Fetched from in this strict order.
        concurrency: Jobs running at once over all lanes.
        lease_s: How long the broker waits for a silent worker.
        grace_s: How long running jobs have when the worker stops.
        max_crashes: So many losses with their worker make a job poison.
        max_result: Bytes of the largest result that is stored.
        burst: Stop when nothing is ready and nothing runs.
        supervised: A supervisor started it and passes signals on.
        strict: Refuse to start where the broker's settings are warned about.
        app_reference: How a child process finds the application: ``module:attribute``.
        command_line: Settings that were given there, for the application in child processes.
    """

    queues: Sequence[str]
    concurrency: int = 10
    lease_s: float = 15.0
    grace_s: float = 25.0
    max_crashes: int = 3
    max_result: int = 1_048_576
    burst: bool = False
    supervised: bool = False
    strict: bool = False
    app_name: str = ""
    app_reference: str = ""
    command_line: Mapping[str, Any] = field(default_factory=dict[str, Any])
    consumer_id: str = field(default_factory=new_id)
    version: str = ""


class Worker:
    """Runs jobs until it is stopped.

    Args:
        registry: The tasks by name.
        make_broker: Makes the broker, on the I/O loop.
        settings: How to run.
        on_unknown: Told the name of each task that is met and not known, once a name.
        on_beat: Called after each answered beat with the longest timeout of the tasks and of what runs (None: one has
            none), for the guard.
    """

    def __init__(
        self,
        registry: Mapping[str, TaskSpec],
        make_broker: Callable[[], Broker],
        settings: WorkerSettings,
        *,
        on_unknown: Callable[[str], None] = lambda name: None,
        on_beat: Callable[[float | None], None] = lambda longest_s: None,
    ) -> None:
        self._registry = registry
        self._make_broker = make_broker
        self._settings = settings
        self._on_unknown = on_unknown
        self._unknown_seen: set[str] = set()
        self._guard_pulse = on_beat
        self._pool = ResourcePool()
        self._main: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._user_loop: asyncio.AbstractEventLoop | None = None
        self._user_end: asyncio.Event | None = None
        self._io_loop: asyncio.AbstractEventLoop | None = None
        self._io_failed: BaseException | None = None
        self._stop_asked = 0
        self._drain_asked = False
        self._begins_quiet = False
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._owns_process = False
        self._bell: SignalBell | None = None
        self._notes: list[Note] = []
        self._progress: dict[int, Progress] = {}
        self._started_at = time.time()
        self._lost = 0
        self._exit_code = EXIT_DRAINED
        self._answered: set[str] = set()
        self._wait_for_children: Callable[[], None] = lambda: None
        self.ready = threading.Event()

    @property
    def id(self) -> str:
        """The random incarnation of this worker; it is the consumer's."""
        return self._settings.consumer_id

    # --- the main thread

    def run(self, *, signals: bool = True) -> int:
        """Runs until stopped; returns the exit code. Call it on the main thread where ``signals`` are wanted.

        Raises:
            BrokerMisconfigured: The broker would lose jobs, so the worker does not start.
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
                for number in STOP_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
            self._wait_for_children()
            if self._bell is not None and not io.is_alive():
                self._bell.close()
        self._pool.close()
        if self._io_failed is not None:
            raise self._io_failed
        return self._exit_code

    def stop(self, *, at_once: bool = False) -> None:
        """Asks the worker to drain, or to stop at once. From any thread."""
        if self._io_loop is None:
            self._stop_asked += 1
        self._post(lambda: self._on_stop(at_once))

    def _install_signals(self) -> None:
        # A supervisor passes on what it gets, and whoever stops the service may signal everybody: for its workers all
        # such signals are one, and hurrying has a signal of its own.
        self._bell = SignalBell()
        supervised = self._settings.supervised
        # A terminal that hangs up stops a worker as gently as anything else.
        for number in STOP_SIGNALS:
            signal.signal(number, lambda _n, _f: self._drain_once() if supervised else self.stop())
        if supervised:
            signal.signal(signal.SIGUSR2, lambda _n, _f: self.stop(at_once=True))
        if hasattr(signal, "SIGTSTP"):  # pragma: no branch - Windows has neither
            signal.signal(signal.SIGTSTP, lambda _n, _f: self._post(self._quiet))
        if hasattr(signal, "SIGUSR1"):  # pragma: no branch
            signal.signal(signal.SIGUSR1, self._print_stacks)

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
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._user_main())
        if self._bell is not None:
            self._bell.hang()

    async def _user_main(self) -> None:
        self._user_loop = asyncio.get_running_loop()
        self._user_end = asyncio.Event()
        lane = self._loop_lane
        assert lane is not None
        lane.attach(self._user_loop)
        await self._user_end.wait()
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
            if self._owns_process and self._exit_code == EXIT_LEFT_BEHIND:
                self._end_anyway()
            self._end_main()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _end_anyway(self) -> None:
        """What outlived its grace may also ignore that its loop ends; it must not keep the process for ever."""
        timer = threading.Timer(CLOSE_WITHIN_S, os._exit, [EXIT_LEFT_BEHIND])
        timer.daemon = True
        timer.start()

    def _end_main(self) -> None:
        loop, end = self._user_loop, self._user_end
        if loop is not None and end is not None and not loop.is_closed():
            loop.call_soon_threadsafe(end.set)
        self._main.put("end")

    async def _io_main(self) -> None:
        if self._stop_asked:
            return
        broker = self._make_broker()
        try:
            if not await self._open(broker):
                return
            consumer = await self._consumer(broker)
            if consumer is None:
                return
            self._wire(broker, consumer)
            await self._stop.wait()
            await self._drain(consumer)
        finally:
            await broker.close()

    async def _open(self, broker: Broker) -> bool:
        """Connects, waiting for a broker that is not there yet; False when stopped meanwhile."""
        backoff = Backoff("connect")
        while not self._stop.is_set():
            try:
                warnings = await broker.open()
            except BrokerUnavailable as error:
                wait_s = backoff.failed(error)
                await _either(self._stop.wait(), wait_s)
                continue
            for line in warnings:
                log.warning("%s", line)
            if warnings and self._settings.strict:
                raise BrokerMisconfigured(
                    f"PENSTOCK_STRICT is set and the broker warns: {'; '.join(warnings)}"
                )
            return True
        return False

    async def _consumer(self, broker: Broker) -> Consumer | None:
        settings = self._settings
        backoff = Backoff("connect")
        while not self._stop.is_set():
            try:
                return await broker.consumer(
                    settings.queues,
                    window=settings.concurrency + WINDOW_AHEAD,
                    lease_s=settings.lease_s,
                    card=self._card(),
                    id=settings.consumer_id,
                )
            except BrokerUnavailable as error:
                await asyncio.sleep(backoff.failed(error))
        return None

    def _wire(self, broker: Broker, consumer: Consumer) -> None:
        settings = self._settings
        self._settler = Settler(consumer, self._on_settled, broker.capabilities.batch)
        self._executor = executor = Executor(
            self._registry,
            slots=settings.concurrency,
            max_crashes=settings.max_crashes,
            settle=self._settler.add,
            gate=self._to_gate,
            on_change=self._changed,
            on_unknown=self._unknown,
            home=Home(settings.max_result, shell_of(settings.app_reference), self._tell),
        )
        self._gate = Gate(
            consumer,
            settings.lease_s,
            let_through=executor.dispatch,
            on_beat=self._on_beat,
            has=executor.has,
            room=lambda: executor.room,
        )
        self._lanes = self._make_lanes(executor)
        executor.open(self._lanes, self._gate.recall)
        self._feeder = Feeder(
            consumer,
            slots=settings.concurrency,
            window=settings.concurrency + WINDOW_AHEAD,
            batch=broker.capabilities.batch,
            load=lambda: executor.load + self._settler.pending,
            finished=lambda: executor.done + executor.failed,
            admit=self._admit,
            on_empty=self._on_empty,
            wait_s=BURST_WAIT_S if settings.burst else LONGEST_WAIT_S,
        )
        self._leases = Leases(
            consumer,
            settings.lease_s,
            holding=lambda: [run.delivery for run in executor.held()],
            notes=self._take_notes,
            put_back=self._notes.extend,
            card=self._card,
            on_beat=self._on_beat,
            pulse=self._pulse,
        )
        self._maintenance = Maintenance(broker, settings.queues, settings.lease_s)
        if self._begins_quiet:
            self._quiet()
        for service in (self._feeder, self._leases, self._maintenance):
            service.start()
        self.ready.set()
        log.info("worker %s is ready: queues %s, %d slots, %d tasks", self.id[:13], ", ".join(settings.queues),
                 settings.concurrency, len(self._registry))  # fmt: skip

    def _make_lanes(self, executor: Executor) -> dict[Lane, LaneRunner]:
        size, used = self._settings.concurrency, {spec.lane for spec in self._registry.values()}
        lanes: dict[Lane, LaneRunner] = {}
        if Lane.THREAD in used:
            lanes[Lane.THREAD] = ThreadLane(size, self._pool, executor.finish)
        self._loop_lane: LoopLane | None = None
        if Lane.LOOP in used:
            self._loop_lane = LoopLane(size, self._pool, executor.finish, lambda: self._main.put("loop"))
            lanes[Lane.LOOP] = self._loop_lane
        if Lane.PROCESS in used:
            from penstock.runtime.process_lane import ProcessLane

            settings = self._settings
            lane = ProcessLane(size, settings.app_reference, executor.finish, settings.command_line)
            lanes[Lane.PROCESS] = lane
            self._wait_for_children = lane.join
        return lanes

    # --- what the duties tell each other

    def _admit(self, deliveries: Sequence[Delivery]) -> None:
        if self._feeder.quiet:  # the fetch was under way when that was asked
            self._settler.add([Release(delivery) for delivery in deliveries])
        else:
            self._executor.admit(deliveries)

    def _to_gate(self, run: Run) -> None:
        self._gate.add(run)

    def _tell(self, delivery: Delivery, data: bytes) -> None:
        """Takes progress from a job, on any thread; the newest value wins."""
        self._progress[delivery.token] = Progress(delivery, data)

    def _changed(self) -> None:
        self._feeder.changed()
        self._gate.look()

    def _on_settled(self, count: int, lost: Sequence[Delivery]) -> None:
        if lost:
            self._lost += len(lost)
            log.warning("%d settlement(s) came too late and were refused: the jobs belong to other workers now (%s)",
                        len(lost), ", ".join(delivery.id for delivery in lost[:5]))  # fmt: skip
        self._feeder.changed()

    def _on_beat(self, beat: Beat) -> None:
        if beat.lost:
            self._lost += self._executor.lose(beat.lost)
        if beat.cancelled:
            self._executor.cancel(beat.cancelled)
        for command in beat.commands:
            if command.id not in self._answered:
                self._answered.add(command.id)
                self._obey(command.id, command.verb)

    def _obey(self, command_id: str, verb: str) -> None:
        match verb:
            case "quiet":
                self._quiet()
                answer = "quiet: takes nothing new"
            case "resume":
                self._feeder.resume()
                answer = "running"
            case "stop":
                self._post(lambda: self._on_stop(at_once=False))
                answer = "draining"
            case "dump":
                answer = self._stacks()
            case _:
                answer = f"unknown command {verb!r}"
        log.info("command %s: %s", verb, answer.partition("\n")[0])
        self._notes.append(Answer(command_id, answer))
        self._leases.nudge()

    def _quiet(self) -> None:
        feeder = getattr(self, "_feeder", None)
        if feeder is None:  # it has no connection yet
            self._begins_quiet = True
        elif not feeder.quiet:
            log.info("quiet: running jobs go on, nothing new is taken")
            feeder.pause()

    def _on_stop(self, at_once: bool) -> None:
        self._stop_asked += 1
        if at_once or self._stop_asked > 1:
            self._settings.grace_s = 0.0
            self._hurry.set()
        if not self._stop.is_set():
            log.info("stopping: running jobs have %g s", self._settings.grace_s)
            self._stop.set()

    def _drain_once(self) -> None:
        if not self._drain_asked and not self._stop_asked:
            self._drain_asked = True
            self.stop()

    def _on_empty(self) -> None:
        if self._settings.burst and not self._executor.load and not self._settler.pending:
            self._on_stop(at_once=False)

    def _unknown(self, name: str) -> None:
        if name not in self._unknown_seen and len(self._unknown_seen) < 1_000:
            self._unknown_seen.add(name)
            self._on_unknown(name)

    def _take_notes(self) -> list[Note]:
        notes, self._notes[:] = list(self._notes), []
        while self._progress:
            notes.append(self._progress.popitem()[1])
        return notes

    def _card(self) -> WorkerCard:
        settings, executor = self._settings, getattr(self, "_executor", None)
        return WorkerCard(
            id=self.id,
            app=settings.app_name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=list(settings.queues),
            concurrency=settings.concurrency,
            state=self._state(),
            started_at=self._started_at,
            running=len(executor.running()) if executor else 0,
            done=executor.done if executor else 0,
            failed=executor.failed if executor else 0,
            lost=self._lost,
            version=settings.version,
        )

    def _state(self) -> str:
        if self._stop_asked:
            return "stopping"
        feeder = getattr(self, "_feeder", None)
        return "quiet" if feeder is not None and feeder.quiet else "running"

    def _pulse(self) -> None:
        # Of all tasks, not only of what runs: the job that holds the GIL may have begun since.
        timeouts = [spec.timeout_s for spec in self._registry.values()]
        timeouts += [run.timeout_s for run in self._executor.running()]
        self._guard_pulse(
            None if None in timeouts else max((t for t in timeouts if t is not None), default=0.0)
        )
        stuck = self._executor.stuck()
        if stuck and stuck * 2 >= self._settings.concurrency and not self._stop_asked:
            log.error("%d of %d slots are held by threads that ignore their timeout: this worker drains, so that its "
                      "supervisor starts a fresh one", stuck, self._settings.concurrency)  # fmt: skip
            self._exit_code = EXIT_LEFT_BEHIND
            self._on_stop(at_once=False)

    # --- the end

    async def _drain(self, consumer: Consumer) -> None:
        await self._feeder.stop()
        self._executor.stopping()
        await self._gate.stop()
        self._executor.recall(time.monotonic())
        mono_until = time.monotonic() + self._settings.grace_s
        while self._executor.load and time.monotonic() < mono_until and not self._hurry.is_set():
            await _either(self._hurry.wait(), min(0.02, max(mono_until - time.monotonic(), 0.0)))
        left = self._executor.abandon()
        if left:
            log.warning(
                "%d job(s) were still running at the end of the grace period; they were given back", left
            )
            self._exit_code = EXIT_LEFT_BEHIND
        if not await self._settler.drained(CLOSE_WITHIN_S):
            log.error(
                "%d outcome(s) could not be told to the broker; those jobs run again", self._settler.pending
            )
            self._exit_code = EXIT_LEFT_BEHIND
        await self._settler.stop()
        await self._maintenance.stop()
        await self._leases.stop()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._last_words(consumer)
                await consumer.close()
        except (BrokerError, TimeoutError) as error:
            log.warning("the lease could not be given back (%s); it runs out by itself",
                        str(error) or "no answer")  # fmt: skip
        for lane in self._lanes.values():
            lane.close()
        log.info("stopped: %d job(s) done, %d failed, %d given back, %d lost", self._executor.done,
                 self._executor.failed, self._executor.given_back, self._lost)  # fmt: skip

    async def _last_words(self, consumer: Consumer) -> None:
        notes = self._take_notes()
        if notes:
            await consumer.beat(self._settings.lease_s, notes)


async def _either(awaitable: Any, wait_s: float) -> None:
    """Waits for it, at most ``wait_s``."""
    try:
        async with asyncio.timeout(wait_s):
            await awaitable
    except TimeoutError:
        return
