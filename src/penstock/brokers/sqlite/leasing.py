"""Leases of consumers, and the notes that come with a beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.brokers.sqlite import waking
from penstock.brokers.sqlite.database import Database
from penstock.brokers.sqlite.settling import Held, Steps, find_keys, give_back, held, settle, write
from penstock.brokers.sqlite.statements import statements
from penstock.core.job import Delivery
from penstock.core.lifecycle import KEEP_NUMBER_S
from penstock.core.settlement import Settlement
from penstock.ports.broker import Answer, Beat, Command, Note, Progress, Started, WorkerCard

_SQL: Final = statements("lease")
_SETTLE: Final = statements("settle")

_encoder: Final = msgspec.json.Encoder()
_tokens: Final = msgspec.json.Decoder(list[int])


class Member(msgspec.Struct):
    """A consumer as it introduces itself, and what it remembers: the keys of its deliveries' jobs by token."""

    id: str
    queues: Sequence[str]
    lease_s: float
    card: WorkerCard
    keys: dict[int, int] = {}


def renew(database: Database, now: float, member: Member) -> int:
    """Makes the lease end its ``lease_s`` from now, also one that was over or taken away; the consumer's key."""
    card = _encoder.encode(member.card)
    (key,) = database.one(_SQL["renew"], (database.namespace, member.id, now + member.lease_s, card))
    return int(key)


def join(database: Database, now: float, member: Member) -> int:
    """A new consumer; its key. Its queues are there from now on, so that it can wait for them."""
    for queue in member.queues:
        database.add_queue(queue)
    return renew(database, now, member)


def extend(database: Database, now: float, consumer: str, lease_s: float) -> bool:
    """See ``BlockingProducer.extend``."""
    database.execute(_SQL["extend"], (database.namespace, consumer, now + lease_s))
    return database.connection.changes() > 0


def settle_numbered(
    database: Database, now: float, member: Member, settlements: Sequence[Settlement], number: int
) -> frozenset[int]:
    """See ``Consumer.settle``; the tokens of what was lost."""
    row: Any = database.one(_SETTLE["last_call"], (database.namespace, member.id))
    if row is None:  # it was away for so long that it was forgotten
        card = _encoder.encode(member.card)
        row = (database.one(_SQL["keep"], (database.namespace, member.id, card))[0], None, None)
    key, last, answer = row
    if last == number:
        return frozenset(_tokens.decode(answer))
    lost = settle(database, now, key, settlements, member.keys)
    database.execute(_SETTLE["note_call"], (key, number, _encoder.encode(lost), now))
    return frozenset(lost)


def beat(
    database: Database, now: float, member: Member, notes: Sequence[Note], holding: Sequence[Delivery]
) -> Beat:
    """See ``Consumer.beat``."""
    key = renew(database, now, member)
    named = [*holding, *(note.delivery for note in notes if not isinstance(note, Answer))]
    found = find_keys(database, named, member.keys)
    still = held(database, key, found)
    lost = frozenset(
        delivery.token
        for delivery, job in zip(named, found, strict=True)
        if job not in still or still[job].token != delivery.token
    )
    jobs = {delivery.token: job for delivery, job in zip(named, found, strict=True)}
    for note in notes:
        _note(database, now, key, note, jobs)
    return Beat(
        lost,
        frozenset(token for (token,) in database.rows(_SQL["cancelling"], (key,))),
        [
            Command(id, verb)
            for id, verb in database.rows(_SQL["commands"], (database.namespace, member.card.id, now))
        ],
    )


def _note(database: Database, now: float, consumer: int, note: Note, jobs: Mapping[int, int]) -> None:
    match note:
        case Started(delivery=delivery):
            database.execute(_SQL["start"], (delivery.token, consumer, jobs[delivery.token]))
        case Progress(delivery=delivery, data=data):
            database.execute(_SQL["progress"], (delivery.token, consumer, jobs[delivery.token], data))
        case Answer(command_id=command, text=text):
            database.execute(_SQL["answer"], (database.namespace, command, text, now + KEEP_NUMBER_S))


def leave(database: Database, now: float, member: Member) -> None:
    """See ``Consumer.close``."""
    row = database.one(_SQL["key"], (database.namespace, member.id))
    if row is None:
        return
    (key,) = row
    steps = Steps()
    for name in member.queues:
        queue = database.add_queue(name)
        for job in [
            Held(job, token, queue, cancel_ttl_s)
            for job, token, cancel_ttl_s in database.rows(_SQL["holds"], (queue, key))
        ]:
            database.moved(queue).running -= 1
            give_back(database, now, job, steps, front=True, suspect=0)
    write(database, steps)
    waking.stop_waiting(database, key)
    database.execute(_SQL["end"], (key,))
