"""The settler, the gate, the feeder, beats and maintenance, with a consumer that the test steers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from penstock.core.job import Delivery
from penstock.core.settlement import Cause, Dead, Done, Release
from penstock.errors import BrokerRejected, BrokerUnavailable
from penstock.ports.broker import Beat, Command, Fetched, Maintained, Progress, Started, WorkerCard
from penstock.runtime import feeder as feeder_module
from penstock.runtime import gate as gate_module
from penstock.runtime import leases as leases_module
from penstock.runtime import service as service_module
from penstock.runtime.feeder import Feeder
from penstock.runtime.gate import MOST_SUSPECTS, Gate
from penstock.runtime.leases import Leases
from penstock.runtime.maintenance import Maintenance
from penstock.runtime.run import Run
from penstock.runtime.service import Backoff, Outage, Service
from penstock.runtime.settler import MOST_BYTES_A_CALL, Settler
from tests.runtime.bench import FakeConsumer, delivery, run_of, spec_of


def work() -> None: ...


SPEC = spec_of(work)
BATCH = 200


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(service_module, "LONGEST_BACKOFF_S", 0.002)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the duties say nothing when they are done
            await asyncio.sleep(0.001)


def in_a_loop(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]


# --- backing off


def test_complaints_are_few(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr(service_module, "monotonic", lambda: clock[0])
    backoff = Backoff("fetch")
    backoff.succeeded()
    waits = [backoff.failed(BrokerUnavailable("gone")) for _ in range(5)]
    assert all(0 < wait_s <= 0.002 for wait_s in waits)
    clock[0] += 10.5
    backoff.failed(BrokerUnavailable("still gone"))
    clock[0] += 10.5
    backoff.failed(RuntimeError("odd"))
    backoff.succeeded()
    backoff.succeeded()
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if line.startswith("fetch")] == [
        "fetch: gone; trying again",
        "fetch: still gone; trying again",
        "fetch: a bug in Penstock, please report it; trying again",
        "fetch: works again",
    ]


def test_one_outage_is_one_line_for_all_duties(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr(service_module, "monotonic", lambda: clock[0])
    fetch, beat = Backoff("fetch"), Backoff("beat")
    fetch.outage = beat.outage = Outage()
    for _ in range(3):
        fetch.failed(BrokerUnavailable("gone"))
        beat.failed(BrokerUnavailable("gone"))
    clock[0] += 10.5
    beat.failed(BrokerUnavailable("gone"))
    beat.succeeded()
    fetch.succeeded()
    fetch.failed(BrokerUnavailable("gone"))  # another outage
    assert [record.getMessage() for record in caplog.records] == [
        "fetch: gone; trying again",
        "beat, fetch: gone; trying again",
        "beat, fetch: works again",
        "fetch: gone; trying again",
    ]


def test_who_asks_no_more_leaves_the_word_to_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    fetch, beat = Backoff("fetch"), Backoff("beat")
    fetch.outage = beat.outage = Outage()
    beat.speak_for(fetch)  # there is nothing to say
    beat.succeeded()
    assert caplog.messages == []
    fetch.failed(BrokerUnavailable("gone"))
    beat.failed(BrokerUnavailable("gone"))
    beat.speak_for(fetch)
    fetch.succeeded()
    assert caplog.messages == ["fetch: gone; trying again"]
    beat.succeeded()
    assert caplog.messages[1:] == ["beat, fetch: works again"]
    fetch.failed(BrokerUnavailable("gone"))  # it asks again
    fetch.succeeded()
    assert caplog.messages[2:] == ["fetch: gone; trying again", "fetch: works again"]


def test_a_duty_goes_on_whatever_happens() -> None:
    class Duty(Service):
        name = "duty"

        def __init__(self) -> None:
            super().__init__()
            self.ticks = 0
            self.errors: list[Exception] = [BrokerUnavailable("gone"), RuntimeError("odd")]

        async def tick(self) -> float:
            self.ticks += 1
            if self.errors:
                raise self.errors.pop(0)
            return 0.0 if self.ticks < 6 else 600.0

    async def main() -> None:
        duty = Duty()
        await duty.stop()
        duty.start()
        await until(lambda: duty.ticks == 6)
        duty.nudge()
        await until(lambda: duty.ticks == 7)
        await duty.stop()
        await duty.stop()
        assert duty.ticks == 7

    in_a_loop(main)


def test_a_nudge_while_it_ticks() -> None:
    class Duty(Service):
        ticks = 0

        async def tick(self) -> float:
            self.ticks += 1
            self.nudge()
            return 600.0 if self.ticks < 5 else await asyncio.sleep(600, 1.0)

    async def main() -> None:
        duty = Duty()
        duty.start()
        await until(lambda: duty.ticks == 5)
        await duty.stop()

    in_a_loop(main)


def test_a_wait_that_is_cut_short() -> None:
    class Duty(Service):
        ticks = 0

        async def tick(self) -> float:
            self.ticks += 1
            return 600.0

    async def main() -> None:
        duty = Duty()
        duty.within(0.0)  # it waits for nothing yet
        duty.start()
        await until(lambda: duty._timer is not None)
        duty.within(500.0)
        timer = duty._timer
        duty.within(550.0)
        assert duty._timer is timer  # it comes sooner anyway
        duty.within(0.01)
        await until(lambda: duty.ticks == 2)
        await until(lambda: duty._timer is not None)
        await duty.stop()
        assert duty._timer is None

    in_a_loop(main)


def test_a_duty_without_a_tick() -> None:
    with pytest.raises(NotImplementedError):
        asyncio.run(Service().tick())


# --- settling


def test_settlements_gather_while_a_call_is_under_way() -> None:
    async def main() -> None:
        consumer = FakeConsumer()
        told: list[tuple[int, int]] = []
        settler = Settler(consumer, lambda count, lost: told.append((count, len(lost))), BATCH)
        settler.add([])
        assert settler.pending == 0
        consumer.answers = [[delivery()]]
        settler.add([Done(delivery())])
        settler.add([Done(delivery()) for _ in range(BATCH + 5)])
        assert settler.pending == BATCH + 6
        assert await settler.drained(10)
        assert [(number, len(batch)) for number, batch in consumer.settles] == [(1, BATCH), (2, 6)]
        assert told == [(BATCH, 1), (6, 0)]
        assert await settler.drained(0)
        await settler.stop()

    in_a_loop(main)


def test_large_results_go_in_several_calls() -> None:
    async def main() -> None:
        consumer = FakeConsumer()
        settler = Settler(consumer, lambda count, lost: None, BATCH)
        third = b"x" * (MOST_BYTES_A_CALL // 3)
        settler.add([Done(delivery(), third, 60) for _ in range(7)])
        settler.add([Done(delivery(), 5 * third, 60), Done(delivery())])
        assert await settler.drained(10)
        assert [len(batch) for _, batch in consumer.settles] == [3, 3, 1, 2]

    in_a_loop(main)


def test_what_was_not_answered_is_repeated_with_its_number() -> None:
    async def main() -> None:
        consumer = FakeConsumer()
        consumer.answers = [BrokerUnavailable("gone"), BrokerRejected("full")]
        settler = Settler(consumer, lambda count, lost: None, BATCH)
        settler.add([Done(delivery())])
        await until(lambda: len(consumer.settles) == 2)
        settler.add([Release(delivery())])
        assert await settler.drained(10)
        assert [(number, len(batch)) for number, batch in consumer.settles] == [(1, 1)] * 3 + [(2, 1)]

    in_a_loop(main)


def test_one_outcome_that_cannot_be_written_does_not_hold_up_others(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        odd, good = Done(delivery()), Done(delivery())

        class Picky(FakeConsumer):
            async def settle(self, settlements: Sequence[Any], number: int) -> Sequence[Delivery]:
                await super().settle(settlements, number)
                if odd in settlements:
                    raise RuntimeError("it cannot be written")
                return []

        consumer = Picky()
        settler = Settler(consumer, lambda count, lost: None, BATCH)
        settler.add([odd, good])
        assert await settler.drained(10)
        sent = [(number, [type(each).__name__ for each in batch]) for number, batch in consumer.settles]
        assert sent == [(1, ["Done", "Done"]), (2, ["Done"]), (2, ["Dead"]), (3, ["Done"])]
        dead = consumer.settles[2][1][0]
        assert isinstance(dead, Dead)
        assert (dead.cause, dead.delivery) == (Cause.RESULT, odd.delivery)

    in_a_loop(main)
    assert "outcome cannot be stored" in caplog.text


def test_a_settler_that_gives_up() -> None:
    async def main() -> None:
        consumer = FakeConsumer()
        consumer.answers = [BrokerUnavailable("gone")] * 100_000
        settler = Settler(consumer, lambda count, lost: None, BATCH)
        settler.add([Done(delivery())])
        assert not await settler.drained(0.01)
        await settler.stop()
        assert settler.pending == 1

    in_a_loop(main)


# --- the gate


class GateBench:
    def __init__(self, room: int = 10) -> None:
        self.consumer = FakeConsumer()
        self.through: list[Run] = []
        self.gone: set[int] = set()
        self.room = room
        self.gate = Gate(
            self.consumer,
            15.0,
            let_through=self.through.extend,
            on_beat=self._on_beat,
            has=lambda run: run.delivery.token not in self.gone,
            room=lambda: self.room,
        )

    def _on_beat(self, beat: Beat) -> None:
        self.gone |= beat.lost | beat.cancelled

    def marked(self) -> list[list[int]]:
        return [
            [note.delivery.token for note in notes if isinstance(note, Started)]
            for notes, _ in self.consumer.beats
        ]

    def end(self, run: Run) -> None:
        self.gone.add(run.delivery.token)
        self.gate.look()


def suspect() -> Run:
    return run_of(SPEC, suspect=True)


def test_suspects_run_one_at_a_time() -> None:
    async def main() -> None:
        bench = GateBench()
        first, second, third = suspect(), suspect(), suspect()
        for run in (first, second, third):
            bench.gate.add(run)
        await until(lambda: bench.through)
        assert bench.through == [first]
        assert bench.marked() == [[first.delivery.token]]
        bench.gone.add(second.delivery.token)
        bench.end(first)
        await until(lambda: len(bench.through) == 2)
        assert bench.through == [first, third]

    in_a_loop(main)


def test_a_suspect_is_marked_only_where_there_is_a_slot() -> None:
    async def main() -> None:
        bench = GateBench(room=0)
        bench.gate.add(suspect())
        await until(lambda: bench.gate._task is None)
        assert not bench.consumer.beats
        assert bench.gate.reserved(10) == 1
        bench.room = 1
        bench.gate.look()
        await until(lambda: bench.through)
        assert bench.gate.reserved(10) == 0

    in_a_loop(main)


def test_suspects_are_fetched_while_they_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        bench = GateBench()
        assert bench.gate.wants_suspects == MOST_SUSPECTS
        first, second = suspect(), suspect()
        bench.gate.add(first)
        bench.gate.add(second)
        await until(lambda: bench.through)
        assert (bench.gate.suspects, bench.gate.wants_suspects) == (1, MOST_SUSPECTS - 1)
        monkeypatch.setattr(gate_module, "QUICK_S", 0.0)
        assert bench.gate.wants_suspects == 0
        bench.gone.add(first.delivery.token)
        assert bench.gate.wants_suspects == MOST_SUSPECTS - 1

    in_a_loop(main)


def test_half_of_the_slots_are_left_for_what_waits() -> None:
    async def main() -> None:
        bench = GateBench(room=0)
        for _ in range(7):
            bench.gate.add(run_of(SPEC))
        assert [bench.gate.reserved(slots) for slots in (1, 2, 10, 20)] == [1, 1, 5, 7]
        bench.room = 6
        bench.consumer.beaten = [BrokerUnavailable("gone")] * 100_000
        bench.gate.look()
        await until(lambda: bench.consumer.beats)
        assert bench.gate.reserved(10) == 6  # they are being marked, each for a slot that was free
        await bench.gate.stop()
        assert len(bench.gate.recall(time.monotonic())) == 7  # and none is forgotten

    in_a_loop(main)


def test_at_most_once_as_there_is_room() -> None:
    async def main() -> None:
        bench = GateBench(room=2)
        runs = [run_of(SPEC) for _ in range(4)]
        bench.gone.add(runs[1].delivery.token)
        bench.room = 0
        for run in runs:
            bench.gate.add(run)
        await asyncio.sleep(0)
        bench.room = 2
        bench.gate.look()
        await until(lambda: len(bench.through) >= 2)
        bench.room = 0
        await until(lambda: bench.gate._task is None)
        bench.room = 1
        bench.gate.look()
        await until(lambda: runs[3] in bench.through)

    in_a_loop(main)


def test_what_the_beat_takes_away_does_not_begin() -> None:
    async def main() -> None:
        bench = GateBench()
        run = suspect()
        bench.consumer.beaten = [
            BrokerUnavailable("gone"),
            RuntimeError("odd"),
            Beat(lost=frozenset({run.delivery.token})),
        ]
        bench.gate.add(run)
        await until(lambda: len(bench.consumer.beats) == 3 and bench.gate._task is None)
        assert not bench.through

    in_a_loop(main)


def test_the_gate_gives_back_and_closes() -> None:
    async def main() -> None:
        bench = GateBench(room=0)
        await bench.gate.stop()
        bench = GateBench(room=1)
        first, second, careful = suspect(), suspect(), run_of(SPEC)
        careful.mono_taken = second.mono_taken = time.monotonic() + 600
        bench.gate.add(first)
        bench.gate.add(second)
        await until(lambda: bench.through)
        bench.room = 0
        bench.gate.add(careful)
        assert bench.gate.recall(time.monotonic()) == []
        assert bench.gate.recall(time.monotonic() + 700) == [second, careful]
        bench.consumer.beaten = [BrokerUnavailable("gone")] * 100_000
        bench.room = 1
        bench.end(first)
        bench.gate.add(suspect())
        await until(lambda: len(bench.consumer.beats) > 2)
        await bench.gate.stop()
        bench.gate.add(suspect())
        assert bench.through == [first]

    in_a_loop(main)


# --- feeding


class FeederBench:
    def __init__(self, consumer: FakeConsumer, slots: int = 10, window: int = 1_000) -> None:
        self.consumer = consumer
        self.load = self.finished = self.empties = 0
        self.admitted: list[Delivery] = []
        self.feeder = Feeder(
            consumer,
            slots=slots,
            window=window,
            batch=BATCH,
            load=lambda: self.load,
            suspects=lambda: 7,
            finished=lambda: self.finished,
            admit=self._admit,
            on_empty=self._on_empty,
        )

    def _admit(self, deliveries: Sequence[Delivery]) -> None:
        self.admitted.extend(deliveries)
        self.load += len(deliveries)

    def _on_empty(self) -> None:
        self.empties += 1

    def end(self, count: int) -> None:
        self.load -= count
        self.finished += count
        self.feeder.changed()


def test_it_takes_ahead_only_out_of_a_long_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(feeder_module, "monotonic", lambda: clock[0])

    async def main() -> None:
        consumer = FakeConsumer()
        bench = FeederBench(consumer)
        tick = bench.feeder.tick
        await tick()
        assert consumer.fetches == [(10, 1.0)]  # who waits takes what may start at once
        assert bench.empties == 1
        consumer.fetched = [Fetched([delivery() for _ in range(10)])]
        await tick()
        bench.end(10)
        clock[0] += 0.1
        consumer.fetched = [Fetched([delivery() for _ in range(15)])]
        await tick()
        assert consumer.fetches[-1] == (
            15,
            0.0,
        )  # 100 jobs/s: 5 in the next 50 ms; it does not wait with that
        waiting = asyncio.create_task(tick())
        await asyncio.sleep(0)
        assert len(consumer.fetches) == 3  # there is no room
        bench.end(1)
        await asyncio.sleep(0)
        bench.end(14)
        await waiting
        assert consumer.fetches[-1][0] > 10
        await tick()
        assert consumer.fetches[-1] == (10, 1.0)  # the line was empty

    in_a_loop(main)


def test_a_small_fetch_waits_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(feeder_module, "monotonic", lambda: clock[0])

    async def main() -> None:
        consumer = FakeConsumer()
        bench = FeederBench(consumer)
        feeder = bench.feeder
        feeder._flowing = True
        bench.finished = 10_000
        clock[0] += 1.0  # 10,000 jobs/s: 500 ahead
        bench.load = 510 - 199
        assert feeder._want() == 0
        bench.load = 510 - 250
        assert feeder._want() == 200
        bench.load = 5
        assert feeder._want() == 200

    in_a_loop(main)


def test_a_quiet_feeder() -> None:
    async def main() -> None:
        consumer = FakeConsumer()
        bench = FeederBench(consumer)
        bench.feeder.pause()
        assert bench.feeder.quiet
        waiting = asyncio.create_task(bench.feeder.tick())
        await asyncio.sleep(0)
        assert not consumer.fetches
        bench.feeder.resume()
        await waiting
        assert not bench.feeder.quiet
        bench.load = 3
        await bench.feeder.tick()
        assert bench.empties == 1  # something runs: not empty

    in_a_loop(main)


# --- beats


def test_a_beat_carries_notes_and_keeps_them_when_it_fails() -> None:
    async def main() -> None:
        consumer, held = FakeConsumer(), [delivery()]
        notes: list[Any] = [Progress(held[0], b"{}")]
        pulses: list[int] = []
        beats: list[Beat] = []

        def take() -> list[Any]:
            taken, notes[:] = list(notes), []
            return taken

        leases = Leases(
            consumer,
            15.0,
            holding=lambda: held,
            notes=take,
            put_back=notes.extend,
            card=lambda: WorkerCard("a", "b"),
            on_beat=beats.append,
            pulse=lambda: pulses.append(1),
        )
        consumer.beaten = [BrokerUnavailable("gone")]
        with pytest.raises(BrokerUnavailable):
            await leases.tick()
        assert len(notes) == 1
        assert not pulses
        assert await leases.tick() == 1.0
        assert not notes
        assert len(pulses) == len(beats) == 1
        held.clear()
        assert await leases.tick() == 5.0
        leases._on_beat = lambda beat: held.append(delivery())
        assert await leases.tick() == 1.0  # it came while the beat was under way

    in_a_loop(main)


def test_who_was_given_an_order_asks_for_the_next_one_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000.0]
    monkeypatch.setattr(leases_module, "monotonic", lambda: clock[0])

    async def main() -> None:
        consumer = FakeConsumer()
        leases = Leases(
            consumer,
            15.0,
            holding=list,
            notes=list,
            put_back=lambda notes: None,
            card=lambda: WorkerCard("a", "b"),
            on_beat=lambda beat: None,
            pulse=lambda: None,
        )
        consumer.beaten = [Beat(), Beat(commands=[Command("c", "dump")])]
        assert await leases.tick() == 5.0
        assert await leases.tick() == 1.0
        clock[0] += leases_module.ATTENTIVE_S - 0.1
        assert await leases.tick() == 1.0
        clock[0] += 0.2
        assert await leases.tick() == 5.0

    in_a_loop(main)


# --- maintenance


def test_maintenance_says_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    answers = [Maintained(promoted=1, reclaimed=2, expired=3, dropped=4, more=True), Maintained()]

    class Keeper:
        async def maintain(self, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
            return answers.pop(0)

    async def main() -> None:
        maintenance = Maintenance(Keeper(), ["default"], 4.0)  # type: ignore[arg-type]
        assert await maintenance.tick() == 0.0
        assert 0.8 <= await maintenance.tick() <= 1.0

    caplog.set_level(logging.INFO)
    in_a_loop(main)
    assert [record.getMessage().partition(" ")[0] for record in caplog.records] == ["2", "3", "4"]


def test_maintenance_says_once_that_it_has_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    waits_s = [4.0, 3.0, 0.0, 0.0, 4.0, 3.0]
    left = list(waits_s)

    class Keeper:
        async def maintain(self, queues: Sequence[str], limit: int, lease_s: float) -> Maintained:
            return Maintained(waiting_s=left.pop(0))

    async def main() -> None:
        maintenance = Maintenance(Keeper(), ["default"], 4.0)  # type: ignore[arg-type]
        for _ in waits_s:
            await maintenance.tick()

    caplog.set_level(logging.INFO)
    in_a_loop(main)
    assert [record.getMessage() for record in caplog.records] == [
        "nothing is taken back from lost workers for 4 s: nobody was here to see them die"
    ] * 2
