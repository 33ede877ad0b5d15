"""Where things stand in Redis. A queue's keys share a hash tag, so that one script may touch all of them in a Cluster.

``lua/_queue.lua`` says what each key holds.
"""

from __future__ import annotations

import re
from typing import Final

from penstock.errors import ConfigError

# In the order in which _queue.lua reads them.
_NAMES: Final = (
    "jobs",
    "notes",
    "errors",
    "progress",
    "due",
    "expiry",
    "stale",
    "dead",
    "odd",
    "asked",
    "leases",
    "totals",
    "wake",
    "watched",
    "witness",
    "ends",
    "ended",
    *(f"r{priority}" for priority in range(10)),
    "suspects",
)
# Those of enqueue.lua, before the ready lists.
_ENQUEUE_NAMES: Final = ("jobs", "notes", "due", "expiry", "stale", "totals", "wake", "ends")


QUEUES: Final = 256
"""Queues that a consumer can take. A token is the queue's count of claims times this, plus the queue's place among the
consumer's: no consumer sees the same one from two queues."""


def first_token(claims: int) -> int:
    """The least token of this count of claims, whichever place the queue has among its consumer's."""
    return claims * QUEUES


class QueueKeys:
    """The keys of one queue."""

    def __init__(self, namespace: str, queue: str) -> None:
        # The 0 is the partition: there is one so far, and ids and tags need not change when there are more.
        self.prefix: bytes = f"{{{namespace}:{queue}:0}}:".encode()
        self.all: tuple[bytes, ...] = tuple(self.prefix + name.encode() for name in _NAMES)
        self.enqueue: tuple[bytes, ...] = tuple(self.prefix + name.encode() for name in _ENQUEUE_NAMES)
        self.ready: tuple[bytes, ...] = self.all[17:27]
        self.suspects: bytes = self.named("suspects")
        self.wake: bytes = self.named("wake")
        self.leases: bytes = self.named("leases")
        self.totals: bytes = self.named("totals")
        # Scripts that act for no consumer name one's key all the same, so that places do not shift.
        self.nobody: tuple[bytes, ...] = (*self.all, self.held("-"))

    def named(self, name: str) -> bytes:
        """The key of this name."""
        return self.prefix + name.encode()

    def held(self, consumer: str) -> bytes:
        """What a consumer holds, and what its last calls were answered."""
        return self.prefix + f"k:{consumer}".encode()

    def outcome(self, id: str) -> bytes:
        """How a job ended; it goes by itself when its time is up."""
        return self.prefix + f"o:{id}".encode()

    def producer(self, producer: str) -> bytes:
        """The number of a producer's last call."""
        return self.prefix + f"p:{producer}".encode()


class FleetKeys:
    """What belongs to no queue: which queues there are, and the workers."""

    def __init__(self, namespace: str) -> None:
        if not re.fullmatch(r"[^{}\s]+", namespace):
            raise ConfigError(
                f"namespace {namespace!r}: on Redis it stands in a hash tag: no braces and no spaces"
            )
        self._prefix = f"{{{namespace}:~workers:0}}:"
        self.queues: bytes = f"{{{namespace}:~queues:0}}:names".encode()
        self.cards: bytes = f"{self._prefix}cards".encode()
        self.seen: bytes = f"{self._prefix}seen".encode()
        # Where those who wait for a job's end hear of it: a channel, not a key.
        self.inbox: str = f"{namespace}:inbox:"

    def orders(self, worker: str) -> bytes:
        """Commands to a worker that it has not answered."""
        return f"{self._prefix}orders:{worker}".encode()

    def answer(self, command: str) -> bytes:
        """A worker's answer to a command."""
        return f"{self._prefix}answer:{command}".encode()
