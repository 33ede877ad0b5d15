# ruff: noqa: D102 - a rule's name says what happens
"""Random histories of a broker, compared step by step with the model.

``check_broker(fresh)`` makes a broker on fresh storage for each history and plays it on both sides (see ``twin``):
batches and repeated calls, claims, settlements of every kind, repeated and late ones, crashes, pauses beyond the
lease, a clock that jumps both ways, operators' acts. A failure is printed as the shortest history that shows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from penstock.brokers import Address
from penstock.core.job import Delivery, Job, JobError
from penstock.core.settlement import (
    Again,
    Cancelled,
    Cause,
    Dead,
    Defer,
    Done,
    Quarantine,
    Release,
    Settlement,
)
from penstock.ports.inspector import Cancelling, Change, Deleting, Retried
from penstock.testing.twin import QUEUES, UNIT_S, Pair, Twin, Worker

_WORKERS: Final = 3

_units = st.integers(1, 6)
_ENDS: Final = ("done", "kept", "empty", "dead", "unspent", "odd", "cancelled")
_RETURNS: Final = ("again", "defer", "front", "end", "crashed")
# Jobs that come back live through more.
_kind = st.sampled_from(_ENDS) | st.sampled_from(_RETURNS)
_kinds = st.lists(_kind, min_size=1, max_size=6)
_which = st.integers(0, 2)
_new_job = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        # New ids, and a few that are used again and again.
        "name": st.none() | st.sampled_from(["u0", "u1"]),
        "body": st.binary(max_size=12),
        "priority": st.sampled_from([0, 0, 0, 5, 9]),
        "due": st.sampled_from([None] * 6 + ["delay", "moment"]),
        "expires": st.sampled_from([None] * 6 + ["delay", "moment"]),
        "due_units": _units,
        "expires_units": st.integers(-1, 8),
    }
)


def settlement(kind: str, delivery: Delivery, units: int) -> Settlement:
    """The settlement of this kind; a stored outcome or a wait takes so many units."""
    time_s = units * UNIT_S
    error = JobError("ValueError", f"no {units}", "Traceback")
    made: dict[str, Settlement] = {
        "done": Done(delivery),
        "kept": Done(delivery, b"result \x00\xff", time_s),
        "empty": Done(delivery, None, time_s),
        "again": Again(delivery, time_s, error),
        "defer": Defer(delivery, time_s, f"later {units}", units),
        "dead": Dead(delivery, error, Cause.ERROR),
        "unspent": Dead(delivery, error, Cause.POISON, spent=False),
        "odd": Quarantine(delivery, f"odd {units}"),
        "cancelled": Cancelled(delivery, time_s),
        "front": Release(delivery),
        "end": Release(delivery, front=False),
        "crashed": Release(delivery, crashed=True),
    }
    return made[kind]


class BrokerMachine(RuleBasedStateMachine):
    """The rules. ``fresh`` gives the address of storage that nothing was stored in."""

    def __init__(self, fresh: Callable[[], Address]) -> None:
        super().__init__()
        self._twin = Twin(fresh())
        self._names = itertools.count()

    @initialize(wanted=st.lists(_new_job, min_size=6, max_size=12))
    def begin(self, wanted: list[dict[str, object]]) -> None:
        self.enqueue(wanted, "p", 0)

    def teardown(self) -> None:
        try:
            self._twin.look()
        finally:
            self._twin.close()

    def _worker(self, which: int) -> Worker:
        while len(self._twin.workers) < _WORKERS:
            queues = (QUEUES, QUEUES[::-1], QUEUES[:1])[len(self._twin.workers) % 3]
            self._twin.join(queues)
        return self._twin.workers[which % _WORKERS]

    # Producers

    @rule(
        wanted=st.lists(_new_job, min_size=1, max_size=8),
        producer=st.sampled_from(["p", "r"]),
        repeats=st.sampled_from([0, 0, 1, 2]),
    )
    def enqueue(self, wanted: list[dict[str, object]], producer: str, repeats: int) -> None:
        jobs = [self._job(**one) for one in wanted]  # type: ignore[arg-type]  # as the strategy makes them
        # Equal moments within a call: in the order of the ids, which is that of the call.
        self._twin.enqueue(producer, sorted(jobs, key=lambda job: job.id))
        for _ in range(repeats):
            self._twin.enqueue_again(producer)

    def _job(
        self,
        queue: str,
        name: str | None,
        body: bytes,
        priority: int,
        due: str | None,
        expires: str | None,
        due_units: int,
        expires_units: int,
    ) -> Job:
        number = next(self._names)
        # Half a unit: no moment coincides with another or with a look.
        due_at = self._twin.now + (due_units - 0.5 + number / 10_000) * UNIT_S
        expires_at = self._twin.now + (expires_units + 0.5) * UNIT_S
        return Job(
            f"{queue}:{name or f'n{number:05}'}",
            queue,
            body,
            priority,
            delay_s=due_units * UNIT_S if due == "delay" else 0.0,
            due_at=due_at if due == "moment" else None,
            expires_s=(expires_units + 2) * UNIT_S if expires == "delay" else None,
            expires_at=expires_at if expires == "moment" else None,
            unique=name is not None,
        )

    # Workers

    @rule(
        which=_which,
        limit=st.integers(1, 8),
        max_bytes=st.sampled_from([12, 30, 1_000_000, 1_000_000]),
        suspects=st.sampled_from([None, 0, 1, 2]),
        backwards=st.booleans(),
    )
    def fetch(self, which: int, limit: int, max_bytes: int, suspects: int | None, backwards: bool) -> None:
        worker = self._worker(which)
        order = range(len(worker.member.queues))[::-1] if backwards else None
        self._twin.fetch(worker, limit, max_bytes, suspects, order)

    @rule(which=_which, kinds=_kinds, units=_units)
    def work(self, which: int, kinds: list[str], units: int) -> None:
        """Fetches and settles, and leaves some for later."""
        worker = self._worker(which)
        self._twin.fetch(worker, 8, 1_000_000)
        self._settle(worker, worker.held, kinds, units)

    @rule(which=_which, kinds=_kinds, units=_units, skip=st.integers(0, 3), again=st.booleans())
    def settle(self, which: int, kinds: list[str], units: int, skip: int, again: bool) -> None:
        worker = self._worker(which)
        self._settle(worker, worker.held[skip:], kinds, units)
        if again:
            self._twin.settle_again(worker)

    @rule(which=_which, whose=_which, kinds=_kinds, units=_units)
    def settle_what_is_not_held(self, which: int, whose: int, kinds: list[str], units: int) -> None:
        """By one whose delivery it is no longer, or by another; together with what it holds."""
        worker, other = self._worker(which), self._worker(whose)
        strange = other.held if other is not worker else worker.stale
        strange = [pair for pair in strange if pair.real.queue in worker.member.queues]
        self._settle(worker, [*strange[-2:], *worker.held], kinds, units)

    def _settle(self, worker: Worker, pairs: list[Pair], kinds: list[str], units: int) -> None:
        # Equal moments within a call: as above.
        chosen = sorted(pairs[: len(kinds)], key=lambda pair: pair.real.id)
        real = [settlement(kind, pair.real, units) for kind, pair in zip(kinds, chosen, strict=False)]
        model = [settlement(kind, pair.model, units) for kind, pair in zip(kinds, chosen, strict=False)]
        self._twin.settle(worker, real, model)

    @rule(which=_which, producer=st.sampled_from(["p", "r"]))
    def again(self, which: int, producer: str) -> None:
        """A call whose answer was long in coming is repeated."""
        self._twin.settle_again(self._worker(which))
        self._twin.enqueue_again(producer)

    @rule(
        which=_which,
        started=st.integers(0, 4),
        late=st.booleans(),
        progress=st.binary(min_size=1, max_size=4),
    )
    def beat(self, which: int, started: int, late: bool, progress: bytes) -> None:
        worker = self._worker(which)
        pairs = worker.stale if late else worker.held
        self._twin.beat(worker, pairs[:started], progress)

    @rule(which=_which, closes=st.booleans())
    def end(self, which: int, closes: bool) -> None:
        """A worker crashes or closes; another takes its place."""
        worker = self._worker(which)
        if closes:
            self._twin.leave(worker)
        else:
            self._twin.crash(worker)

    # Time

    @rule(units=st.sampled_from([1, 1, 2, 3, 5, 8, -1, -2, -7, -60]))
    def jump(self, units: int) -> None:
        """Nobody looks meanwhile: a pause, or a clock that was set."""
        self._twin.advance(units)

    @rule(units=st.integers(6, 14), alive=st.integers(0, _WORKERS), started=st.sampled_from([0, 0, 1, 3]))
    def time_passes(self, units: int, alive: int, started: int) -> None:
        """Maintenance looks often enough to be a witness; some workers beat meanwhile, the others are paused."""
        for worker in self._twin.workers:
            self._twin.beat(worker, worker.held[:started], b"1")
        for _ in range(units):
            self._twin.advance(1)
            for worker in self._twin.workers[:alive]:
                self._twin.beat(worker, [], b"1")
            self._twin.maintain(QUEUES)
        self._twin.look()

    @rule(queues=st.sampled_from([("a",), ("b",), QUEUES]))
    def maintain(self, queues: tuple[str, ...]) -> None:
        self._twin.maintain(queues)
        self._twin.look()

    # Operators

    @rule(
        picks=st.lists(st.integers(0, 12), min_size=1, max_size=5),
        change=st.sampled_from(
            [Cancelling(0), Cancelling(2 * UNIT_S), Cancelling(9 * UNIT_S), Retried(), Retried(), Deleting()]
        ),
    )
    def change(self, picks: list[int], change: Change) -> None:
        known = self._twin.ids
        ids = sorted({known[-1 - pick % len(known)] for pick in picks}) if known else []
        self._twin.change(ids, change)

    # Mostly not: what is paused shows nothing of the other rules.
    @rule(queues=st.sampled_from([("a",), ("b",), QUEUES]), paused=st.sampled_from([True, False, False]))
    def pause(self, queues: tuple[str, ...], paused: bool) -> None:
        self._twin.pause(queues, paused)
        self._twin.look()


def check_broker(fresh: Callable[[], Address], *, examples: int = 100, steps: int = 60) -> None:
    """Plays so many random histories, each at most ``steps`` long, on the broker at ``fresh()`` and on the model."""

    class Machine(BrokerMachine):
        def __init__(self) -> None:
            super().__init__(fresh)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=(Phase.reuse, Phase.generate, Phase.shrink),
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
        ),
    )
