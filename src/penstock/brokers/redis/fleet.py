"""Workers as they are seen from outside: their cards, orders to them, and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.brokers.redis.keys import FleetKeys
from penstock.brokers.redis.scripts import Command, Script
from penstock.ports import broker as port
from penstock.ports.broker import WorkerCard

WORKER: Final = Script("worker", prelude=False)

encode_card = msgspec.json.Encoder().encode
decode_card = msgspec.json.Decoder(WorkerCard).decode


def beat_command(
    fleet: FleetKeys,
    worker: str,
    shift_s: float,
    lease_s: float,
    card: WorkerCard | None,
    answers: Sequence[port.Answer],
) -> Command:
    """The call with which a worker says that it is there."""
    names = (fleet.cards, fleet.seen, fleet.commands(worker), *(fleet.answer(each.command_id) for each in answers))
    told = [part for each in answers for part in (each.command_id, each.text)]
    return WORKER.call(names, [shift_s, worker, lease_s, encode_card(card) if card is not None else b"", *told])


def read_orders(reply: Sequence[bytes]) -> list[port.Command]:
    """The orders that a worker was told."""
    return [port.Command(id.decode(), verb.decode()) for id, verb in zip(reply[::2], reply[1::2], strict=True)]
