"""The blocking producer, on the driver's synchronous connection: one round trip a call, and no thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.retry import Retry

from penstock.brokers import Address
from penstock.brokers.redis import enqueueing
from penstock.brokers.redis.errors import translated
from penstock.brokers.redis.keys import FleetKeys, QueueKeys
from penstock.brokers.redis.scripts import EXTEND, Command
from penstock.brokers.redis.url import ANSWER_S, CONNECT_S, connection_options
from penstock.core.job import Enqueued, Job, Origin
from penstock.errors import BrokerUnavailable

# After so long without a call a connection is looked at before it is used again: that costs a call of the system.
_QUIET_S: Final = 0.5


T = TypeVar("T")
Parts = Sequence[tuple[int, enqueueing.Slice]]


def _read(parts: Parts, replies: Sequence[Any]) -> list[Enqueued]:
    """What became of the jobs of each slice."""
    answered: list[Enqueued] = []
    for (_, part), reply in zip(parts, replies, strict=True):
        answered += enqueueing.answers(part, reply)
    return answered


class RedisBlocking:
    """Belongs to one thread at a time; connects on first use and again after a failure."""

    def __init__(self, address: Address) -> None:
        self._shown = address.shown()
        self._namespace = address.namespace
        self._fleet = FleetKeys(address.namespace)
        encrypted, self._options = connection_options(address)
        # The driver's synchronous side carries no types.
        self._kind: Any = SSLConnection if encrypted else Connection
        self._options |= {
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": CONNECT_S,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "socket_keepalive": True,
            "protocol": 2,
        }
        self._connection: Any = self._kind(**self._options)
        self.answer_s = self._answer_s = ANSWER_S
        self._used_mono = 0.0
        # What was sent and whose replies are not all read. An interrupt may come anywhere, also between the two halves
        # of a call, and the next call must not read what was meant for the one before.
        self._unread: Sequence[Command] | None = None
        self._queues: dict[str, QueueKeys] = {}
        self._registered: set[str] = set()

    def enqueue(self, jobs: Sequence[Job], origin: Origin) -> Sequence[Enqueued]:
        if not jobs:
            return []
        answered: list[Enqueued | None] = [None] * len(jobs)
        for queue, places in enqueueing.by_queue(jobs).items():
            if places is None:
                return self._enqueue(queue, jobs, origin)
            of_queue = self._enqueue(queue, [jobs[place] for place in places], origin)
            for place, answer in zip(places, of_queue, strict=True):
                answered[place] = answer
        return [answer for answer in answered if answer is not None]

    def begin(self, jobs: Sequence[Job], origin: Origin) -> Callable[[], Sequence[Enqueued]]:
        queues = enqueueing.by_queue(jobs) if jobs else {}
        queue, places = next(iter(queues.items())) if len(queues) == 1 else ("", [0])
        rounds = list(enqueueing.rounds(enqueueing.slices(jobs))) if places is None else []
        if len(rounds) != 1 or queue not in self._registered:
            answers = self.enqueue(jobs, origin)
            return lambda: answers
        [parts] = rounds
        commands = self._commands(queue, parts, origin)
        self._guarded(self._send, commands)
        return lambda: self._finish(queue, jobs, origin, lambda: self._answers(queue, parts, commands))

    def _enqueue(self, queue: str, jobs: Sequence[Job], origin: Origin) -> list[Enqueued]:
        return self._finish(queue, jobs, origin, lambda: self._enqueue_rounds(queue, jobs, origin))

    def _finish(
        self, queue: str, jobs: Sequence[Job], origin: Origin, first: Callable[[], list[Enqueued]]
    ) -> list[Enqueued]:
        try:
            return first()
        except BrokerUnavailable as error:
            if enqueueing.GAP not in str(error):
                raise
            # The server forgot the script between two slices. What it has taken it will not take again.
            return self._enqueue_rounds(queue, jobs, origin)

    def _enqueue_rounds(self, queue: str, jobs: Sequence[Job], origin: Origin) -> list[Enqueued]:
        answered: list[Enqueued] = []
        for parts in enqueueing.rounds(enqueueing.slices(jobs)):
            commands = self._commands(queue, parts, origin)
            if queue in self._registered:
                self._guarded(self._send, commands)
                answered += self._answers(queue, parts, commands)
            else:
                answered += _read(parts, self._first_call(queue, commands))
        return answered

    def _commands(self, queue: str, parts: Parts, origin: Origin) -> list[Command]:
        keys = self._keys(queue)
        return [enqueueing.command(keys, number, part, origin, 0.0) for number, part in parts]

    def _answers(self, queue: str, parts: Parts, commands: Sequence[Command]) -> list[Enqueued]:
        replies = self._replies(commands)
        if any(reply[0] == 1 for reply in replies):
            # The server has lost its data since this queue was made known, or is new.
            self._registered.discard(queue)
            self._first_call(queue, [])
        return _read(parts, replies)

    def _first_call(self, queue: str, commands: list[Command]) -> list[Any]:
        """A call that also makes the queue known to those who list them."""
        replies = self._call([Command((b"SADD", self._fleet.queues, queue)), *commands])
        self._registered.add(queue)
        return replies[1:]

    def _keys(self, queue: str) -> QueueKeys:
        keys = self._queues.get(queue)
        if keys is None:
            keys = self._queues[queue] = QueueKeys(self._namespace, queue)
        return keys

    def extend(self, consumer_id: str, queues: Sequence[str], lease_s: float) -> bool:
        if not queues:
            return False
        commands: list[Command] = []
        for queue in queues:
            keys = self._keys(queue)
            names = (*keys.all, keys.held(consumer_id))
            commands.append(EXTEND.call(names, (0.0, consumer_id, lease_s)))
        return any(self._call(commands))

    def _call(self, commands: Sequence[Command]) -> list[Any]:
        """Sends ``commands`` in one go and returns their replies, in order; see ``Link.call``."""
        self._guarded(self._send, commands)
        return self._replies(commands)

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        """What the server says to ``commands``, which were sent."""
        replies = self._guarded(self._receive, commands)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, driver.NoScriptError)]
        if unknown:
            whole = [commands[at].whole() for at in unknown]
            self._guarded(self._send, whole)
            for at, reply in zip(unknown, self._guarded(self._receive, whole), strict=True):
                replies[at] = reply
        for reply in replies:
            if isinstance(reply, driver.ResponseError):
                error = translated(reply, self._shown)
                if isinstance(error, BrokerUnavailable):
                    # A server that was demoted or is loading: the address may lead to another one by now.
                    self._drop()
                raise error
        return replies

    def _set_deadlines(self) -> None:
        self._answer_s = self.answer_s
        self._connection.socket_timeout = self._connection.socket_connect_timeout = self.answer_s
        self._connection.update_current_socket_timeout(self.answer_s)

    def _guarded(self, half: Callable[[Sequence[Command]], T], commands: Sequence[Command]) -> T:
        """Sends or receives; a connection on which that failed is not used again, or its answers would be others'."""
        try:
            return half(commands)
        except BaseException as broken:
            self._drop()
            if isinstance(broken, (driver.RedisError, OSError)):
                raise translated(broken, self._shown) from None
            raise

    def _send(self, commands: Sequence[Command]) -> None:
        connection = self._connection
        if self._answer_s != self.answer_s:
            self._set_deadlines()
        if self._unread is not None:
            self._drop()
        now_mono = time.monotonic()
        if now_mono - self._used_mono > _QUIET_S and connection.is_connected and self._has_hung_up():
            connection.disconnect()
        self._used_mono = now_mono
        packed = (
            commands[0].packed() if len(commands) == 1 else b"".join([each.packed() for each in commands])
        )
        self._unread = commands
        connection.send_packed_command([packed], check_health=False)

    def _receive(self, commands: Sequence[Command]) -> list[Any]:
        if self._unread is not commands:
            raise driver.ConnectionError("the connection was closed before the answer was read")
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(self._connection.read_response())
            except driver.ResponseError as error:
                replies.append(error)
        self._unread = None
        return replies

    def _drop(self) -> None:
        self._connection.disconnect()
        self._unread = None

    def _has_hung_up(self) -> bool:
        """Whether the server has ended the connection: it was restarted, or does not keep quiet ones."""
        try:
            return bool(self._connection.can_read(0))
        except (driver.ConnectionError, OSError):
            return True

    def close(self) -> None:
        self._drop()

    def abandon(self) -> None:
        # The parent uses the same socket: our copy of its descriptor is closed without shutting the connection down.
        self._drop()
        self._connection, self._answer_s = self._kind(**self._options), ANSWER_S
