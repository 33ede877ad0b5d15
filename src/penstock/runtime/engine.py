"""What works on one consumer, from the first fetch to the last settlement; each duty is a file beside this one.

    I/O loop                                                    where the user's code runs
    broker --fetch--> Feeder --> Executor --> (Gate) --> lanes: threads | the user's loop | child processes
    broker <-settle-- Settler <-- Executor <------------ settlements
    broker <--beat--- Leases      broker <-- Maintenance

It wires, and carries what the duties tell each other. Everything here runs on the I/O loop, ``tell`` excepted.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from penstock.core.job import Delivery
from penstock.core.settlement import Release, Settlement
from penstock.core.spec import Lane, TaskSpec
from penstock.errors import BrokerError
from penstock.ports.broker import Answer, Beat, Broker, Consumer, Note, Progress, WorkerCard
from penstock.runtime import crossing
from penstock.runtime.executor import Executor
from penstock.runtime.feeder import LONGEST_WAIT_S, Feeder
from penstock.runtime.gate import Gate
from penstock.runtime.lanes import LaneRunner, LoopLane, ThreadLane, acall, call
from penstock.runtime.leases import BUSY_EVERY_S, Leases
from penstock.runtime.long_wait import LongWait
from penstock.runtime.maintenance import Maintenance
from penstock.runtime.onion import Onion, aperform
from penstock.runtime.resources import ResourcePool
from penstock.runtime.run import ChildEnds, Home, Run, shell_of
from penstock.runtime.service import Outage, either
from penstock.runtime.settler import Settler
from penstock.runtime.stopping import Stopping
from penstock.runtime.turns import turns
from penstock.runtime.user_loop import UserLoop
from penstock.runtime.worker_settings import WorkerSettings

log: logging.Logger = logging.getLogger("penstock.worker")

EXIT_DRAINED: Final = 0
EXIT_LEFT_BEHIND: Final = 4
# How much may be held beyond the slots: what the fastest no-op worker ends in the time that is fetched ahead.
WINDOW_AHEAD: Final = 2_000
CLOSE_WITHIN_S: Final = 5.0
# A burst ends when a fetch finds nothing, so it does not wait long for more.
BURST_WAIT_S: Final = 0.05
REPORT_STUCK_EVERY_S: Final = 10.0
# The dead set, which other commands call failed, has only some of them.
FAILED_ARE: Final = (
    " (not done: errors, also those that are retried, timeouts, cancels, put off, unknown tasks)"
)


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What the process around the engine offers it.

    Attributes:
        pool: The resources of this process.
        user_loop: The user's event loop, made when it is first needed.
        stacks: What every thread and task is doing, for whoever asks.
        on_unknown: Told the name of each task that is met and not known, once a name.
        on_beat: Called after each answered beat with the longest timeout of the tasks and of what runs (None: one has
            none), for the guard.
        on_worn: Called after a beat with the reason for which this process is to be replaced, until it is.
        onion: The application's middleware, None where it has none.
        on_failed: Told of failures, for hooks; None where no hook wants to know.
    """

    pool: ResourcePool
    user_loop: UserLoop
    stacks: Callable[[], str]
    on_unknown: Callable[[str], None]
    on_beat: Callable[[float | None], None]
    on_worn: Callable[[str], None]
    onion: Onion | None = None
    on_failed: Callable[[Settlement, Run | None], None] | None = None


class Engine:
    """Fetches, runs and settles until it is drained.

    Args:
        registry: The tasks by name.
        broker: Where the jobs are; it stays open until the engine is drained.
        consumer: The claim on them; it is closed by ``drain``.
        card: What the worker has told of itself so far.
        settings: How to run.
        stopping: Where to say that the worker is to end, and to hear of it.
        around: What the process offers.

    Attributes:
        exit_code: What the worker is to end with.
        join_children: Waits for the child processes after ``drain``; for another thread.
    """

    def __init__(
        self,
        registry: Mapping[str, TaskSpec],
        broker: Broker,
        consumer: Consumer,
        card: WorkerCard,
        settings: WorkerSettings,
        stopping: Stopping,
        around: Surroundings,
    ) -> None:
        self._registry = registry
        self._consumer = consumer
        self._first_card = card
        self._settings = settings
        self._stopping = stopping
        self._around = around
        self._unknown_seen: set[str] = set()
        self._answered: set[str] = set()
        self._notes: list[Note] = []
        self._progress: dict[int, Progress] = {}
        self._lost = 0
        self._mono_reported = -math.inf
        self.exit_code: int = EXIT_DRAINED
        self.join_children: Callable[[], None] = lambda: None
        self._in_children: Callable[[], int] = lambda: 0
        self._recycled = settings.supervised and any(settings.limits)
        window = settings.concurrency + WINDOW_AHEAD
        self._settler = Settler(consumer, self._on_settled, broker.capabilities.batch)
        self._executor = executor = Executor(
            registry,
            slots=settings.concurrency,
            max_crashes=settings.max_crashes,
            settle=self._settler.add,
            gate=self._to_gate,
            on_change=self._changed,
            on_unknown=self._unknown,
            home=Home(
                settings.max_result,
                shell_of(settings.app_reference),
                self.tell,
                keep_errors=around.on_failed is not None,
                child_ends=ChildEnds(),
            ),
            on_failed=around.on_failed,
        )
        self._gate = Gate(
            consumer,
            settings.lease_s,
            let_through=executor.let_through,
            on_beat=self._on_beat,
            has=executor.has,
            room=lambda: executor.room,
        )
        self._lanes = self._make_lanes(executor)
        self._feeder = Feeder(
            consumer,
            slots=settings.concurrency,
            window=window,
            batch=broker.capabilities.batch,
            load=lambda: executor.load - self._gate.suspects + self._settler.pending,
            suspects=lambda: self._gate.wants_suspects,
            finished=lambda: executor.done + executor.failed,
            admit=self._admit,
            on_empty=self._on_empty,
            wait_s=BURST_WAIT_S if settings.burst else LONGEST_WAIT_S,
            on_quiet=lambda: self._feeder.fall_silent(self._leases),
            order=None if settings.weights is None else turns(settings.weights),
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
        outage = Outage()
        for duty in (self._settler, self._gate, self._feeder, self._leases, self._maintenance):
            duty.share(outage)

    def _make_lanes(self, executor: Executor) -> dict[Lane, LaneRunner]:
        size, used = self._settings.concurrency, {spec.lane for spec in self._registry.values()}
        lanes: dict[Lane, LaneRunner] = {}
        pool, user_loop, onion = self._around.pool, self._around.user_loop, self._around.onion
        # Decided once: an application without middleware pays nothing for it.
        perform = call if onion is None else partial(crossing.perform, onion, user_loop.post)
        perform_async = acall if onion is None else partial(aperform, onion)

        def attach() -> None:
            loop_lane.attach(asyncio.get_running_loop())

        if Lane.THREAD in used:
            lanes[Lane.THREAD] = ThreadLane(size, pool, executor.finish, perform)
        if Lane.LOOP in used:
            loop_lane = LoopLane(size, pool, executor.finish, lambda: user_loop.post(attach), perform_async)
            lanes[Lane.LOOP] = loop_lane
        if Lane.PROCESS in used:
            from penstock.runtime.process_lane import ProcessLane

            settings = self._settings
            limits = settings.limits
            lane = ProcessLane(
                size,
                settings.app_reference,
                executor.finish,
                settings.command_line,
                limits,
                warned=self._recycled and bool(limits.too_small("")),
            )
            self._in_children = lambda: lane.settled
            lanes[Lane.PROCESS] = lane
            self.join_children = lane.join
        return lanes

    def start(self, *, quiet: bool = False) -> None:
        """Begins; ``quiet`` takes nothing yet."""
        self._executor.open(self._lanes, gate_recall=self._gate.recall, gate_reserved=self._gate.reserved)
        if quiet:
            self.quiet()
        for service in (self._feeder, self._leases, self._maintenance):
            service.start()
        log.info("worker %s is ready: queues %s, %d slot(s), %d task(s)", self._consumer.id[:13],
                 self._settings.queue_list, self._settings.concurrency, len(self._registry))  # fmt: skip

    def quiet(self) -> None:
        """Takes nothing new; what runs goes on."""
        if not self._feeder.quiet:
            log.info("quiet: running jobs go on, nothing new is taken")
            self._feeder.pause()

    # --- what the duties tell each other

    def _admit(self, deliveries: Sequence[Delivery]) -> None:
        if self._feeder.quiet:  # the fetch was under way when that was asked
            self._settler.add([Release(delivery) for delivery in deliveries])
        else:
            self._executor.admit(deliveries)
            # Where this worker was idle, its next beat is seconds away.
            self._leases.within(BUSY_EVERY_S)

    def _to_gate(self, run: Run) -> None:
        self._gate.add(run)

    def tell(self, delivery: Delivery, data: bytes) -> None:
        """Takes progress from a job, on any thread; the newest value wins."""
        self._progress[delivery.token] = Progress(delivery, data)

    def _changed(self) -> None:
        self._feeder.changed()
        self._gate.look()

    def _on_settled(self, count: int, lost: Sequence[Delivery]) -> None:
        if lost:
            self._lost += len(lost)
            log.warning("%d settlement(s) came too late and were refused: the jobs belong to other workers now, or are "
                        "stored no more (%s)", len(lost), ", ".join(delivery.id for delivery in lost[:5]))  # fmt: skip
        self._feeder.changed()

    def _on_empty(self) -> None:
        if self._settings.burst and not self._executor.load and not self._settler.pending:
            self._stopping.ask()

    def _unknown(self, name: str) -> None:
        if name not in self._unknown_seen and len(self._unknown_seen) < 1_000:
            self._unknown_seen.add(name)
            self._around.on_unknown(name)

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
                self.quiet()
                answer = "quiet: takes nothing new"
            case "resume":
                self._feeder.resume()
                answer = "running"
            case "stop":
                asyncio.get_running_loop().call_soon(self._stopping.ask)
                answer = "draining"
            case "dump":
                answer = self._around.stacks()
            case _:
                answer = f"unknown command {verb!r}"
        log.info("command %s: %s", verb, answer.partition("\n")[0])
        self._notes.append(Answer(command_id, answer))
        self._leases.nudge()

    # --- what the broker and the guard are told

    def _take_notes(self) -> list[Note]:
        notes, self._notes[:] = list(self._notes), []
        while self._progress:
            notes.append(self._progress.popitem()[1])
        return notes

    @property
    def state(self) -> str:
        """running, quiet or stopping."""
        return "stopping" if self._stopping.asked else "quiet" if self._feeder.quiet else "running"

    def _card(self) -> WorkerCard:
        executor = self._executor
        now: dict[str, Any] = {"state": self.state, "running": len(executor.running()), "lost": self._lost}
        return msgspec.structs.replace(self._first_card, **now, done=executor.done, failed=executor.failed)

    def _pulse(self) -> None:
        # Of all tasks, not only of what runs: the job that holds the GIL may have begun since.
        timeouts = [spec.timeout_s for spec in self._registry.values()]
        timeouts += [run.timeout_s for run in self._executor.running()]
        self._around.on_beat(
            None if None in timeouts else max((t for t in timeouts if t is not None), default=0.0)
        )
        self._look_at_stuck()
        if self._recycled:
            self._look_at_limits()

    def _look_at_limits(self) -> None:
        """What children have run is not counted: they have the same limits for themselves."""
        if self._stopping.asked:
            return
        why = self._settings.limits.reached(self._executor.done + self._executor.failed - self._in_children())
        if why:
            # Where it stops from now on, its jobs are let end: it was not the user who wished it.
            self._stopping.take_time()
            self._around.on_worn(why)

    def _look_at_stuck(self) -> None:
        """A worker that is started anew has all its slots again.

        Without a supervisor it is not sure that somebody does that, so it goes on while it has a slot left.
        """
        stuck, slots = self._executor.stuck(), self._settings.concurrency
        if stuck * 2 < slots or self._stopping.asked:
            return
        ends = self._settings.supervised or stuck >= slots
        now = time.monotonic()
        if not ends and now - self._mono_reported < REPORT_STUCK_EVERY_S:
            return
        self._mono_reported = now
        if self._settings.supervised:
            then = "this worker drains, and its supervisor starts a fresh one"
        elif ends:
            then = (f"this worker ends with exit code {EXIT_LEFT_BEHIND}; whoever runs it is to start it anew "
                    "(systemd: Restart=always, Docker: --restart always)")  # fmt: skip
        else:
            then = "only the other slots are served until this worker is started anew"
        log.error("%d of %d slots are held by jobs that ignore their timeout: %s", stuck, slots, then)
        if ends:
            self.exit_code = EXIT_LEFT_BEHIND
            self._stopping.ask()

    # --- the end

    async def drain(self) -> None:
        """Takes nothing new, lets what runs end within the grace period, tells the broker, and lets go of the claim."""
        await self._feeder.stop()
        self._executor.stopping()
        await self._gate.stop()
        for duty in (self._feeder, self._gate):
            duty.fall_silent(self._leases)
        self._executor.recall(time.monotonic())
        await self._running_have_ended()
        await self._leave_behind()
        if not await self._settler.drained(CLOSE_WITHIN_S):
            log.error(
                "%d outcome(s) could not be told to the broker; those jobs run again", self._settler.pending
            )
            self.exit_code = EXIT_LEFT_BEHIND
        await self._settler.stop()
        await self._maintenance.stop()
        await self._leases.stop()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._last_words()
                await self._consumer.close()
        except (BrokerError, TimeoutError) as error:
            log.warning("the lease could not be given back (%s); it runs out by itself",
                        str(error) or "no answer")  # fmt: skip
        for lane in self._lanes.values():
            lane.close()
        executor = self._executor
        log.info("stopped: %d run(s) done, %d failed%s, %d given back while running, %d given back before they had "
                 "begun, %d lost", executor.done, executor.failed, FAILED_ARE if executor.failed else "",
                 executor.interrupted, executor.given_back, self._lost)  # fmt: skip

    async def _running_have_ended(self) -> None:
        hurry = self._stopping.hurry
        mono_until = time.monotonic() + self._stopping.grace_s
        if self._executor.load and not hurry.is_set():
            most = "" if self._stopping.grace_s == math.inf else f" up to {self._stopping.grace_s:g} s"
            log.info("waiting%s for %d job(s)", most, self._executor.load)
        wait = LongWait(self._consumer.id, shell_of(self._settings.app_reference))
        while self._executor.load and time.monotonic() < mono_until and not hurry.is_set():
            if mono_until == math.inf:
                # Who may take all the time there is would take it for ever.
                if self._executor.stuck() == self._executor.load:
                    return
                wait.look(self._executor.running)
            await either(hurry.wait(), min(0.02, max(mono_until - time.monotonic(), 0.0)))

    async def _leave_behind(self) -> None:
        left = await self._executor.abandon()
        if not any(left):
            return
        self.exit_code = EXIT_LEFT_BEHIND
        ways = (
            (left.given_back, "%d were given back"),
            (left.timed_out, "%d had ignored their timeout and have timed out"),
            (left.dead, "%d run at most once and are in the dead set"),
        )
        if self._stopping.hurry.is_set():
            when = "when the stop was hurried"
        elif self._stopping.grace_s == math.inf:
            when = "when nothing else did"
        else:
            when = "at the end of the grace period"
        log.warning("%d job(s) were still running %s: %s", sum(left), when,
                    ", ".join(words % count for count, words in ways if count))  # fmt: skip

    async def _last_words(self) -> None:
        notes = self._take_notes()
        if notes:
            await self._consumer.beat(self._settings.lease_s, notes)
