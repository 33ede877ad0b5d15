"""A worker's claim on queues."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.brokers.redis import settling
from penstock.brokers.redis.fleet import beat_command, leave_commands, read_orders
from penstock.brokers.redis.keys import QUEUES
from penstock.brokers.redis.scripts import BEAT, FETCH, JOIN, LEAVE, PEEK, Arg, Command
from penstock.brokers.redis.url import ANSWER_S
from penstock.core.job import Delivery
from penstock.core.lifecycle import KEEP_EXPIRED_S
from penstock.core.settlement import Settlement
from penstock.errors import BrokerError, ConfigError
from penstock.ports.broker import Answer, Beat, Fetched, Note, Progress, Started, WorkerCard

if TYPE_CHECKING:
    from penstock.brokers.redis.broker import RedisBroker

_STEP_JOBS: Final = 200
# Nobody waits longer than this for a wake token: the stored state is the truth.
_LOOK_S: Final = 1.0


class _Wish(NamedTuple):
    """What to claim from one queue: up to ``limit`` jobs, of which so many suspects, and one larger one alone."""

    queue: str
    limit: int
    max_bytes: int
    alone: bool
    suspects: int


class RedisConsumer:
    """A random incarnation id with a lease on each of its queues.

    Fetch, settle and beat may overlap, so each has a connection of its own: a fetch blocks its own for a second.
    """

    def __init__(
        self,
        broker: RedisBroker,
        id: str,
        queues: tuple[str, ...],
        card: WorkerCard,
        *,
        window: int,
        lease_s: float,
    ) -> None:
        if len(queues) > QUEUES:
            raise ConfigError(f"a worker can take {QUEUES} queues on Redis, not {len(queues)}")
        self.id = id
        self._broker = broker
        self._queues = queues
        self._window = window
        self._lease_s = lease_s
        self._keys = {queue: broker.keys(queue) for queue in queues}
        self._names = {queue: (*keys.all, keys.held(id)) for queue, keys in self._keys.items()}
        self._fetching = broker.link()
        self._settling = broker.link()
        self._beating = broker.link()
        self._fetches = 0
        # The newest token that arrived from each queue, and the queues whose last reply did not.
        self._newest = dict.fromkeys(queues, -1)
        self._unsure: set[str] = set()
        self._card = card
        # Whether the last look found nothing, and when it said that the next job is due.
        self._idle = False
        self._passed_by_suspects = False
        self._due_mono: float | None = None
        self._closed = False

    async def join(self, *, new: bool = False) -> None:
        """Takes a lease on every queue; also after it was over."""
        args = (self._broker.clock_shift_s, self.id, self._lease_s, int(new))
        commands = [JOIN.call(names, args) for names in self._names.values()]
        await self._beating.call([*commands, self._heard()])

    def _heard(self, answers: Sequence[Answer] = ()) -> Command:
        return beat_command(
            self._broker.fleet,
            self.id,
            self._queues,
            self._card,
            shift_s=self._broker.clock_shift_s,
            lease_s=self._lease_s,
            answers=answers,
        )

    def _is_closed(self) -> BrokerError:
        return BrokerError(f"consumer {self.id} is closed; it gave back what it held")

    async def fetch(
        self,
        limit: int,
        max_bytes: int,
        wait_s: float,
        suspects: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Fetched:
        if self._closed:
            raise self._is_closed()
        end_mono = time.monotonic() + wait_s
        queues = self._queues if order is None else [self._queues[place] for place in order]
        most_suspects = limit if suspects is None else suspects
        while True:
            left_s = end_mono - time.monotonic()
            if suspects != 0 and self._passed_by_suspects:
                # The last look would not have told of them.
                self._idle = False
            # After a look that found nothing the next thing to do is to wait: what came since has left a wake token.
            pause_s = self._pause_s(left_s) if self._idle and left_s > 0 else None
            fetched = await self._round(queues, limit, max_bytes, pause_s, most_suspects)
            self._idle = not fetched.deliveries
            self._passed_by_suspects = suspects == 0
            self._due_mono = None if fetched.next_due_s is None else time.monotonic() + fetched.next_due_s
            if fetched.deliveries or time.monotonic() >= end_mono:
                return fetched

    def _pause_s(self, left_s: float) -> float:
        """How long to wait for a wake token: nobody waits past the next due moment."""
        due_s = _LOOK_S if self._due_mono is None else self._due_mono - time.monotonic()
        # To wait 0 would be to wait for ever.
        return max(0.001, round(min(left_s, due_s, _LOOK_S), 3))

    async def _round(
        self, queues: Sequence[str], limit: int, max_bytes: int, pause_s: float | None, suspects: int
    ) -> Fetched:
        """Goes through ``queues`` in their order until the limits are reached; waits before it, where told to.

        The first queue is claimed from in the same exchange that asks the others whether they have anything. A later
        one whose last reply was lost is claimed from in any case, if only to give back what that carried: it is held
        here, so neither a look nor another consumer finds it.
        """
        self._idle = False
        before = self._newest.copy()
        try:
            return await self._go_through(queues, limit, max_bytes, pause_s, suspects)
        except BaseException:
            # What came before the failure never reaches the caller either.
            self._unsure.update(queue for queue in queues if self._newest[queue] != before[queue])
            self._newest = before
            raise

    async def _go_through(
        self, queues: Sequence[str], limit: int, max_bytes: int, pause_s: float | None, suspects: int
    ) -> Fetched:
        deliveries: list[Delivery] = []
        dues: list[float] = []
        others: list[bytes | None] = [None]
        for place, queue in enumerate(queues):
            if place and others[place] is None and queue not in self._unsure:
                continue
            while len(deliveries) < limit or (place and queue in self._unsure):
                room = min(limit - len(deliveries), _STEP_JOBS)
                first = place == 0 and not deliveries
                got, due_s, full, peeked = await self._claim(
                    _Wish(queue, room, max_bytes, not deliveries, suspects),
                    pause_s,
                    queues[1:] if first else (),
                )
                pause_s = None
                if first:
                    others += [due if ready else None for ready, due in peeked]
                    dues += [float(due) for ready, due in peeked if due and not ready]
                deliveries += got
                suspects -= sum(each.suspect for each in got)
                max_bytes -= sum(len(each.body) for each in got)
                if due_s is not None:
                    dues.append(due_s)
                if full:
                    limit = len(deliveries)
                if len(got) < room:
                    break
        return Fetched(deliveries, min(dues, default=None))

    async def _claim(
        self,
        wish: _Wish,
        pause_s: float | None,
        others: Sequence[str],
    ) -> tuple[list[Delivery], float | None, bool, list[Any]]:
        """Claims from one queue; says what its script said, and what the other queues said when asked."""
        queue = wish.queue
        while True:
            commands = [self._claim_command(wish)]
            look = (self._broker.clock_shift_s, self.id, self._lease_s)
            commands += [PEEK.call(self._names[other], look) for other in others]
            if pause_s is not None:
                # The claim stands behind the pop on the same connection: the server runs it the moment the pop
                # returns.
                wakes = [self._keys[each].wake for each in self._queues]
                commands.insert(0, Command((b"BLPOP", *wakes, pause_s)))
            sure = queue not in self._unsure
            self._unsure.add(queue)
            replies = await self._fetching.call(commands, ANSWER_S + (pause_s or 0.0))
            reply, *peeked = replies[0 if pause_s is None else 1 :]
            if len(reply) != 1:
                break
            if sure:
                self._unsure.discard(queue)
            if self._closed:
                raise self._is_closed()
            if reply[0] == b"late":
                raise BrokerError(f"consumer {self.id}: another one uses this id")
            # Its lease was over and its jobs were reclaimed: it goes on under its id.
            await self.join()
            pause_s = None
        self._unsure.discard(queue)
        return *self._deliveries(queue, reply), peeked

    def _claim_command(self, wish: _Wish) -> Command:
        self._fetches += 1
        queue = wish.queue
        known = (self._newest[queue] + 1) * QUEUES - 1 if queue in self._unsure else b""
        args: list[Arg] = [
            self._broker.clock_shift_s,
            self.id,
            self._fetches,
            self._lease_s,
            wish.limit,
            wish.max_bytes,
        ]
        args += [known, QUEUES, self._queues.index(queue), KEEP_EXPIRED_S, int(wish.alone), wish.suspects]
        return FETCH.call(self._names[queue], args)

    def _deliveries(self, queue: str, reply: list[Any]) -> tuple[list[Delivery], float | None, bool]:
        token, due = int(reply[0]), reply[1]
        ids: list[bytes] = reply[2]
        bodies: list[bytes] = reply[3]
        digits: bytes = reply[4]
        noted: list[Any] = reply[5]
        tokens = range(token, token + len(ids) * QUEUES, QUEUES)
        deliveries = [
            Delivery(id.decode(), queue, body, token)
            for id, body, token in zip(ids, bodies, tokens, strict=True)
        ]
        # Most jobs have no priority and no notes.
        if digits.strip(b"0"):
            for delivery, digit in zip(deliveries, digits, strict=True):
                delivery.priority = digit - 48
        for at in range(0, len(noted), 2):
            place: int = noted[at]
            _read_notes(deliveries[place], noted[at + 1])
        if deliveries:
            self._newest[queue] = deliveries[-1].token // QUEUES
        return deliveries, float(due) if due else None, reply[6] == 1

    async def settle(self, settlements: Sequence[Settlement], number: int) -> Sequence[Delivery]:
        # What is of a queue that this consumer does not have cannot be held by it.
        lost = [each.delivery for each in settlements if each.delivery.queue not in self._names]
        parts = [part for part in settling.parts(settlements) if part.queue in self._names]
        shift_s = self._broker.clock_shift_s
        commands = [
            settling.command(self._keys[part.queue], self._names[part.queue], part, self.id, number, shift_s)
            for part in parts
        ]
        replies = await self._settling.call(commands) if commands else []
        for part, reply in zip(parts, replies, strict=True):
            lost += [part.delivery(place) for place in reply if isinstance(place, int)]
        return lost

    async def beat(
        self,
        lease_s: float,
        notes: Sequence[Note] = (),
        holding: Sequence[Delivery] = (),
        card: WorkerCard | None = None,
    ) -> Beat:
        if self._closed:
            raise self._is_closed()
        self._lease_s = lease_s
        shift_s = self._broker.clock_shift_s
        commands: list[Command] = []
        for queue, names in self._names.items():
            commands.append(BEAT.call(names, [shift_s, self.id, lease_s, *_notes_of(queue, notes, holding)]))
        answers = [note for note in notes if isinstance(note, Answer)]
        if card is not None:
            self._card = card
        commands.append(self._heard(answers))
        *replies, orders = await self._beating.call(commands)
        lost = frozenset(int(claim[1:]) for reply in replies for claim in reply[0])
        cancelled = frozenset(int(claim[1:]) for reply in replies for claim in reply[1])
        # What names a queue that is not this consumer's cannot be held by it.
        lost |= {each.token for each in _named(notes, holding) if each.queue not in self._names}
        return Beat(lost, cancelled, read_orders(orders))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            # A fetch under way is over: what it may still claim is given back below, or refused.
            await self._fetching.close()
            try:
                await self._leave()
            finally:
                await self._settling.close()
                await self._beating.close()

    async def _leave(self) -> None:
        left = list(self._names.values())
        while left:
            args = (self._broker.clock_shift_s, self.id, _STEP_JOBS)
            rests = await self._settling.call([LEAVE.call(names, args) for names in left])
            left = [names for names, rest in zip(left, rests, strict=True) if rest > 0]
        await self._settling.call(leave_commands(self._broker.fleet, self.id))


def _named(notes: Sequence[Note], holding: Sequence[Delivery]) -> list[Delivery]:
    return [*holding, *(note.delivery for note in notes if not isinstance(note, Answer))]


def _notes_of(queue: str, notes: Sequence[Note], holding: Sequence[Delivery]) -> list[Arg]:
    """The part of ``beat.lua``'s arguments that tells of one queue's deliveries."""
    started = [note.delivery for note in notes if isinstance(note, Started) and note.delivery.queue == queue]
    progressed = [note for note in notes if isinstance(note, Progress) and note.delivery.queue == queue]
    held = [each for each in holding if each.queue == queue]
    args: list[Arg] = [len(started)]
    for each in started:
        args += (each.id, settling.claim(each))
    args.append(len(progressed))
    for note in progressed:
        args += (note.delivery.id, settling.claim(note.delivery), note.data)
    args.append(len(held))
    for each in held:
        args += (each.id, settling.claim(each))
    return args


def _read_notes(delivery: Delivery, packed: bytes) -> None:
    notes = packed.split()
    delivery.attempt, delivery.crashes, delivery.streak = int(notes[0]), int(notes[1]), int(notes[2])
    delivery.suspect = notes[3] == b"1"
    delivery.retried_at = float(notes[5])
