"""Parts of the runtime without a broker: deliveries, runs, and lanes that a test steers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

import msgspec

from penstock.core.codec import Envelope, decode_envelope, encode_envelope
from penstock.core.job import Delivery
from penstock.core.settlement import Settlement
from penstock.core.spec import TaskSpec, declare
from penstock.ports.broker import Beat, Fetched, Note, WorkerCard
from penstock.runtime import run
from penstock.runtime.run import Home, Run

_tokens = itertools.count(1)


def spec_of(function: Callable[..., Any], **options: Any) -> TaskSpec:
    """A registered task of this name."""
    return declare(function, name=function.__name__, **options)


def delivery(task: str = "work", *args: Any, body: bytes | None = None, **fields: Any) -> Delivery:
    """A delivery of a call."""
    token = next(_tokens)
    if body is None:
        body = encode_envelope(
            Envelope(1, task, msgspec.Raw(msgspec.json.encode(args)), at=fields.pop("at", 0.0))
        )
    return Delivery(f"default:{token}", "default", body, token, **fields)


def run_of(spec: TaskSpec, *args: Any, **fields: Any) -> Run:
    """A run of a call, as the executor would make it."""
    told = fields.pop("told", None)
    made = delivery(spec.name, *args, **fields)
    home = Home(
        1_048_576,
        "penstock",
        lambda delivery, data: None if told is None else told.append((delivery.token, data)),
    )
    return run.run_of(made, decode_envelope(made.body), spec, home, monotonic())


class FakeLane:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.waiting: list[Run] = []
        self.asked: list[Run] = []
        self.stopped = self.closed = False

    @property
    def busy(self) -> bool:
        return bool(self.waiting)

    def submit(self, runs: Iterable[Run]) -> None:
        self.waiting.extend(runs)

    def ask(self, run: Run) -> None:
        self.asked.append(run)

    def recall(self, mono_before: float) -> list[Run]:
        back = [run for run in self.waiting if run.mono_taken <= mono_before and not run.mono_started]
        self.waiting = [run for run in self.waiting if run not in back]
        return back

    def stopping(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self.closed = True


class FakeConsumer:
    """Answers what a test puts in; an exception is raised in place of an answer."""

    id = "consumer"

    def __init__(self) -> None:
        self.fetches: list[tuple[int, float]] = []
        self.fetched: list[Fetched | Exception] = []
        self.orders: list[Sequence[int] | None] = []
        self.settles: list[tuple[int, list[Settlement]]] = []
        self.answers: list[Sequence[Delivery] | Exception] = []
        self.beats: list[tuple[list[Note], list[Delivery]]] = []
        self.beaten: list[Beat | Exception] = []

    async def fetch(
        self,
        limit: int,
        max_bytes: int,
        wait_s: float,
        suspects: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Fetched:
        self.fetches.append((limit, wait_s))
        self.orders.append(order)
        return _answer(self.fetched, Fetched([]))

    async def settle(self, settlements: Sequence[Settlement], number: int) -> Sequence[Delivery]:
        self.settles.append((number, list(settlements)))
        return _answer(self.answers, [])

    async def beat(
        self,
        lease_s: float,
        notes: Sequence[Note] = (),
        holding: Sequence[Delivery] = (),
        card: WorkerCard | None = None,
    ) -> Beat:
        self.beats.append((list(notes), list(holding)))
        return _answer(self.beaten, Beat())

    async def close(self) -> None:
        raise NotImplementedError


def _answer(prepared: list[Any], otherwise: Any) -> Any:
    answer = prepared.pop(0) if prepared else otherwise
    if isinstance(answer, Exception):
        raise answer
    return answer
