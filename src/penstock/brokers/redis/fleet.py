"""Workers as they are seen from outside: their cards, orders to them, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Final

import msgspec

from penstock.brokers.redis.keys import FleetKeys, QueueKeys
from penstock.brokers.redis.link import Link
from penstock.brokers.redis.scripts import ORDER, WORKER, Command
from penstock.ports import broker as port
from penstock.ports.broker import WorkerCard

# A worker that was not heard of is forgotten after so long.
_KEEP_LOST_S: Final = 3600.0

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(WorkerCard).decode


def beat_command(
    fleet: FleetKeys,
    consumer: str,
    queues: Sequence[str],
    card: WorkerCard,
    *,
    shift_s: float,
    lease_s: float,
    answers: Sequence[port.Answer] = (),
) -> Command:
    """The call with which a consumer says that it is there."""
    names = (
        fleet.cards,
        fleet.seen,
        fleet.orders(card.id),
        *(fleet.answer(each.command_id) for each in answers),
    )
    told = [part for each in answers for part in (each.command_id, each.text)]
    return WORKER.call(names, [shift_s, consumer, lease_s, _encode(card), " ".join(queues), *told])


def leave_commands(fleet: FleetKeys, *consumers: str) -> list[Command]:
    """The calls after which consumers are not listed any more."""
    return [Command((b"HDEL", fleet.cards, *consumers)), Command((b"HDEL", fleet.seen, *consumers))]


def read_orders(reply: Sequence[bytes]) -> list[port.Command]:
    """The orders that a worker was told."""
    return [
        port.Command(id.decode(), verb.decode()) for id, verb in zip(reply[::2], reply[1::2], strict=True)
    ]


class Fleet:
    """The calls of those who look at workers and give them orders."""

    def __init__(self, fleet: FleetKeys, link: Link, keys: Callable[[str], QueueKeys]) -> None:
        self._fleet = fleet
        self._link = link
        self._keys = keys

    async def workers(self, shift_s: float) -> list[WorkerCard]:
        """Those whose lease holds or who still hold jobs."""
        return sorted(
            (card for card, lives in (await self._seen(shift_s)).values() if lives), key=lambda card: card.id
        )

    async def prune(self, shift_s: float) -> None:
        """Forgets those who were not heard of for long; not at once, since a clock may go back."""
        (clock,) = await self._link.call([Command((b"TIME",))])
        oldest = int(clock[0]) + shift_s - _KEEP_LOST_S
        seen = await self._seen(shift_s)
        gone = [consumer for consumer, (card, lives) in seen.items() if not lives and card.seen_at < oldest]
        if gone:
            await self._link.call(leave_commands(self._fleet, *gone))

    async def _seen(self, shift_s: float) -> dict[str, tuple[WorkerCard, bool]]:
        """Each consumer's card, and whether it lives."""
        clock, cards, seen = await self._link.call(
            [
                Command((b"TIME",)),
                Command((b"HGETALL", self._fleet.cards)),
                Command((b"HGETALL", self._fleet.seen)),
            ]
        )
        now = int(clock[0]) + int(clock[1]) / 1e6 + shift_s
        moments = dict(zip(seen[::2], seen[1::2], strict=True))
        found: dict[str, tuple[WorkerCard, bool]] = {}
        for consumer, encoded in zip(cards[::2], cards[1::2], strict=True):
            card = _decode(encoded)
            seen_at, until_at, *queues = moments.get(consumer, b"0 0").decode().split()
            card.seen_at = float(seen_at)
            name = consumer.decode()
            # Heard of in the future: the clock was set back since, and this end of its lease is no longer true.
            heard = float(seen_at) <= now < float(until_at)
            found[name] = card, heard or await self._lives(name, queues, now)
        return found

    async def _lives(self, consumer: str, queues: Sequence[str], now: float) -> bool:
        """Whether a consumer that was not heard of has a lease on a queue (a fetch renews it too), or holds jobs."""
        commands: list[Command] = []
        for queue in queues:
            keys = self._keys(queue)
            commands.append(Command((b"ZSCORE", keys.leases, consumer)))
            commands.append(Command((b"HKEYS", keys.held(consumer))))
        replies = await self._link.call(commands) if commands else []
        leased = any(ends_at is not None and float(ends_at) > now for ends_at in replies[::2])
        return leased or any(b":" in field for fields in replies[1::2] for field in fields)

    async def command(self, worker_id: str, verb: str, expires_s: float, shift_s: float) -> str:
        """Stores an order; returns its id."""
        id = token_hex(8)
        await self._link.call([ORDER.call((self._fleet.orders(worker_id),), (shift_s, id, verb, expires_s))])
        return id

    async def answer(self, command_id: str) -> str | None:
        """What the worker answered, if it has."""
        (text,) = await self._link.call([Command((b"GET", self._fleet.answer(command_id)))])
        return text.decode() if text is not None else None
