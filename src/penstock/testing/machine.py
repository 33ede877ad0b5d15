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

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

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
from penstock.ports.inspector import Cancelling, Deleting, Retried
from penstock.testing.twin import QUEUES, UNIT_S, Twin, Worker

_MOST_WORKERS: Final = 4

_units = st.integers(1, 6)
_kinds = st.sampled_from(
    [
        "done",
        "kept",
        "empty",
        "again",
        "defer",
        "dead",
        "unspent",
        "odd",
        "cancelled",
        "front",
        "end",
        "crashed",
    ]
)
_which = st.integers(0, 11)
_new_job = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        # Mostly new ids; now and then one of a few that are used again.
        "name": st.none() | st.none() | st.sampled_from(["u0", "u1", "u2"]),
        "body": st.binary(max_size=12),
        "priority": st.sampled_from([0, 0, 0, 5, 9]),
        "due": st.sampled_from([None, None, None, "delay", "moment"]),
        "expires": st.sampled_from([None, None, None, "delay", "moment"]),
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

    def teardown(self) -> None:
        try:
            self._twin.look()
        finally:
            self._twin.close()

    def _worker(self, which: int) -> Worker:
        return self._twin.workers[which % len(self._twin.workers)]

    def _has_worker(self) -> bool:
        return bool(self._twin.workers)

    # Producers

    @rule(wanted=st.lists(_new_job, min_size=1, max_size=6), producer=st.sampled_from(["p", "r"]))
    def enqueue(self, wanted: list[dict[str, object]], producer: str) -> None:
        jobs = [self._job(**one) for one in wanted]  # type: ignore[arg-type]  # as the strategy makes them
        # Equal moments within a call: in the order of the ids, which is that of the call.
        self._twin.enqueue(producer, sorted(jobs, key=lambda job: job.id))

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

    @rule(producer=st.sampled_from(["p", "r"]))
    def enqueue_again(self, producer: str) -> None:
        self._twin.enqueue_again(producer)

    # Workers

    @precondition(lambda self: len(self._twin.workers) < _MOST_WORKERS)
    @rule(queues=st.permutations(QUEUES), both=st.booleans())
    def join(self, queues: list[str], both: bool) -> None:
        self._twin.join(queues if both else queues[:1])

    @precondition(_has_worker)
    @rule(which=_which, limit=st.integers(1, 8), max_bytes=st.sampled_from([12, 30, 1_000_000]))
    def fetch(self, which: int, limit: int, max_bytes: int) -> None:
        self._twin.fetch(self._worker(which), limit, max_bytes)

    @precondition(_has_worker)
    @rule(which=_which, kinds=st.lists(_kinds, min_size=1, max_size=6), units=_units, skip=st.integers(0, 3))
    def settle(self, which: int, kinds: list[str], units: int, skip: int) -> None:
        worker = self._worker(which)
        self._settle(worker, worker, kinds, units, skip)

    @precondition(_has_worker)
    @rule(which=_which, kinds=st.lists(_kinds, min_size=1, max_size=3), units=_units)
    def settle_late(self, which: int, kinds: list[str], units: int) -> None:
        worker = self._worker(which)
        pairs = worker.stale[-len(kinds) :]
        real = [settlement(kind, pair.real, units) for kind, pair in zip(kinds, pairs, strict=False)]
        model = [settlement(kind, pair.model, units) for kind, pair in zip(kinds, pairs, strict=False)]
        self._twin.settle(worker, real, model)

    @precondition(_has_worker)
    @rule(which=_which, whose=_which, kinds=st.lists(_kinds, min_size=1, max_size=3), units=_units)
    def settle_what_another_holds(self, which: int, whose: int, kinds: list[str], units: int) -> None:
        self._settle(self._worker(which), self._worker(whose), kinds, units, 0)

    def _settle(self, worker: Worker, holder: Worker, kinds: list[str], units: int, skip: int) -> None:
        pairs = sorted(holder.held[skip : skip + len(kinds)], key=lambda pair: pair.real.id)
        real = [settlement(kind, pair.real, units) for kind, pair in zip(kinds, pairs, strict=False)]
        model = [settlement(kind, pair.model, units) for kind, pair in zip(kinds, pairs, strict=False)]
        self._twin.settle(worker, real, model)

    @precondition(_has_worker)
    @rule(which=_which)
    def settle_again(self, which: int) -> None:
        self._twin.settle_again(self._worker(which))

    @precondition(_has_worker)
    @rule(which=_which, started=st.integers(0, 4), late=st.booleans(), progress=st.binary(max_size=4))
    def beat(self, which: int, started: int, late: bool, progress: bytes) -> None:
        worker = self._worker(which)
        pairs = worker.stale if late else worker.held
        self._twin.beat(worker, pairs[:started], progress)

    @precondition(_has_worker)
    @rule(which=_which)
    def crash(self, which: int) -> None:
        self._twin.crash(self._worker(which))

    @precondition(_has_worker)
    @rule(which=_which)
    def leave(self, which: int) -> None:
        self._twin.leave(self._worker(which))

    # Time

    @rule(units=st.integers(1, 8))
    def time_passes(self, units: int) -> None:
        self._twin.advance(units)

    @rule(units=st.sampled_from([1, 2, 7, 60]))
    def the_clock_goes_back(self, units: int) -> None:
        self._twin.advance(-units)

    @rule(units=st.integers(3, 12), alive=st.integers(0, _MOST_WORKERS))
    def time_is_kept(self, units: int, alive: int) -> None:
        """Maintenance looks often enough to be a witness; some workers beat meanwhile, the others are paused."""
        for _ in range(units):
            self._twin.advance(1)
            for worker in self._twin.workers[:alive]:
                self._twin.beat(worker, [], b"")
            self._twin.maintain(QUEUES)

    @rule(queues=st.sampled_from([("a",), ("b",), QUEUES]))
    def maintain(self, queues: tuple[str, ...]) -> None:
        self._twin.maintain(queues)

    # Operators

    @rule(picks=st.lists(_which, max_size=4), ttl_units=st.integers(0, 6))
    def cancel(self, picks: list[int], ttl_units: int) -> None:
        self._twin.change(self._ids(picks), Cancelling(ttl_units * UNIT_S))

    @rule(picks=st.lists(_which, max_size=4))
    def retry(self, picks: list[int]) -> None:
        self._twin.change(self._ids(picks), Retried())

    @rule(picks=st.lists(_which, max_size=2))
    def delete(self, picks: list[int]) -> None:
        self._twin.change(self._ids(picks), Deleting())

    @rule()
    def look(self) -> None:
        self._twin.look()

    def _ids(self, picks: list[int]) -> list[str]:
        known = self._twin.ids
        return sorted({known[-1 - pick % len(known)] for pick in picks}) if known else []


def check_broker(fresh: Callable[[], Address], *, examples: int = 60, steps: int = 50) -> None:
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
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
        ),
    )
