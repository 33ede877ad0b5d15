"""How settlements become calls of ``settle.lua``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from penstock.brokers.redis.keys import QueueKeys
from penstock.brokers.redis.scripts import SETTLE, Arg, Command
from penstock.core.codec import encode_error
from penstock.core.job import DEFERRED, Delivery, JobError
from penstock.core.settlement import Again, Cancelled, Dead, Defer, Done, Quarantine, Release, Settlement

# A slice is one script call, during which the server does nothing else.
SLICE_JOBS: Final = 200


_Other = Again | Defer | Dead | Quarantine | Cancelled | Release


class Part(NamedTuple):
    """Up to a slice of one queue's settlements: Done that keep nothing, Done that keep a result, and the others."""

    queue: str
    slice: int
    plain: list[Delivery]
    kept: list[Done]
    others: list[_Other]

    def delivery(self, place: int) -> Delivery:
        """The delivery at a place that the script named."""
        if place < len(self.plain):
            return self.plain[place]
        place -= len(self.plain)
        if place < len(self.kept):
            return self.kept[place].delivery
        return self.others[place - len(self.kept)].delivery


def parts(settlements: Sequence[Settlement]) -> list[Part]:
    """Cuts a call by queue and size; the same settlements are always cut the same way."""
    queues: dict[str, list[Settlement]] = {}
    for settlement in settlements:
        queue = settlement.delivery.queue
        if queue in queues:
            queues[queue].append(settlement)
        else:
            queues[queue] = [settlement]
    return [part for queue, of_queue in queues.items() for part in _of_queue(queue, of_queue)]


def _of_queue(queue: str, settlements: list[Settlement]) -> Iterator[Part]:
    for number, slice_ in enumerate(_slices(settlements)):
        plain: list[Delivery] = []
        kept: list[Done] = []
        others: list[_Other] = []
        for each in slice_:
            if not isinstance(each, Done):
                others.append(each)
            elif each.ttl_s > 0:
                kept.append(each)
            else:
                plain.append(each.delivery)
        yield Part(queue, number, plain, kept, others)


def _slices(settlements: list[Settlement]) -> list[list[Settlement]]:
    """Releases to the front come last, and the last of them first, so that they stand there in the call's order."""
    if len(settlements) <= SLICE_JOBS:
        return [settlements]
    front: list[Settlement] = []
    rest: list[Settlement] = []
    for each in settlements:
        (front if type(each) is Release and each.front else rest).append(each)
    return [*_cut(rest), *reversed(_cut(front))]


def _cut(settlements: list[Settlement]) -> list[list[Settlement]]:
    return [settlements[start : start + SLICE_JOBS] for start in range(0, len(settlements), SLICE_JOBS)]


def claim(delivery: Delivery) -> str:
    """A claim as it is stored: the priority, then the token."""
    return f"{delivery.priority}{delivery.token}"


def command(
    keys: QueueKeys, names: tuple[bytes, ...], part: Part, consumer: str, number: int, shift_s: float
) -> Command:
    """The call that carries out one part."""
    plain, kept = part.plain, part.kept
    args: list[Arg] = [shift_s, consumer, number, part.slice, len(plain), len(kept)]
    args += [delivery.id for delivery in plain]
    args += [f"{delivery.priority}{delivery.token}" for delivery in plain]
    args += [each.delivery.id for each in kept]
    args += [claim(each.delivery) for each in kept]
    for each in kept:
        args += (each.ttl_s, 1, each.result) if each.result is not None else (each.ttl_s, 0, b"")
    for other in part.others:
        _add(args, other)
    outcomes = tuple(keys.outcome(each.delivery.id) for each in kept)
    return SETTLE.call(names + outcomes, args)


def _add(args: list[Arg], settlement: _Other) -> None:
    delivery = settlement.delivery
    who = (delivery.id, claim(delivery))
    match settlement:
        case Again(delay_s=delay_s, error=error):
            args += (b"A", *who, delay_s, encode_error(error))
        case Defer(delay_s=delay_s, reason=reason, streak=streak):
            args += (b"F", *who, delay_s, encode_error(JobError(DEFERRED, reason)), streak)
        case Dead(error=error, cause=cause, spent=spent):
            args += (b"X", *who, encode_error(error), cause.value, int(spent))
        case Quarantine(reason=reason):
            args += (b"Q", *who, encode_error(JobError("Quarantined", reason)))
        case Cancelled(ttl_s=ttl_s):
            args += (b"C", *who, ttl_s)
        case Release(front=front, crashed=crashed):
            args += (b"R", *who, int(front), int(crashed))
