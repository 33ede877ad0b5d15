"""A job, a delivery of it, and what is seen of it from outside.

Three counters that must not be mixed: the *token* (delivery number: it rises at every claim and reclaim, is never
reset, and is the fence), the *attempt* (runs that ended in an error; what the user sees) and *crashes* (losses of a
job that had started).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.core.lifecycle import JobState
from penstock.errors import ConfigError

MAX_PRIORITY: Final = 9

# A queue's name stands in keys, in ids (before the first colon) and on command lines.
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}\Z")
_JOB_NAME = re.compile(r"[\x21-\x7e]{1,200}\Z")


class Job(msgspec.Struct, gc=False):
    """One call of a task, on its way to a broker.

    Attributes:
        id: Unique in its queue, which it names: ``mail:0193...``.
        queue: The line in which it waits.
        body: The encoded envelope; a broker stores it and never looks inside.
        priority: 0 to 9; higher runs first.
        delay_s: Seconds from the broker's now until it is due; 0 for at once.
        due_at: Instead of ``delay_s``: the moment it is due, seconds since the epoch.
        expires_s: Seconds from the broker's now after which it is no longer started.
        expires_at: Instead of ``expires_s``: that moment, seconds since the epoch.
        unique: The id was chosen by the user: a job of this id that is still stored is left as it is.
    """

    id: str
    queue: str
    body: bytes
    priority: int = 0
    delay_s: float = 0.0
    due_at: float | None = None
    expires_s: float | None = None
    expires_at: float | None = None
    unique: bool = False


class Enqueued(NamedTuple):
    """A broker's answer for one job: stored now, or (``added`` false) a job of this id was stored already."""

    id: str
    added: bool


class Origin(NamedTuple):
    """Who enqueues, and its how-manieth call this is.

    A producer has one call under way at a time and repeats an unanswered one with its number; the broker keeps the
    last number of each producer and queue for an hour and answers a repeated call as it did the first time.
    """

    producer: str
    number: int


class Delivery(msgspec.Struct, gc=False):
    """One claim of a job by a consumer.

    Attributes:
        id: The job's id.
        queue: Its queue.
        body: The envelope as it was stored.
        token: The delivery's number, the fence against settles that come too late. It rises with every claim and
            reclaim of an id, also when the id was forgotten and taken anew, and no consumer sees the same one twice.
        attempt: Runs that ended in an error so far.
        crashes: How often it was lost with its worker after it had started.
        streak: How often in a row it was deferred as unknown; written by ``Defer``.
        suspect: It was reclaimed from a lost worker: mark it started before running it, and run one such at a time.
        priority: 0 to 9.
        retried_at: When an operator last retried it, seconds since the epoch; 0 for never.
    """

    id: str
    queue: str
    body: bytes
    token: int
    attempt: int = 0
    crashes: int = 0
    streak: int = 0
    suspect: bool = False
    priority: int = 0
    retried_at: float = 0.0


# The type of the record's error of a job that was put off without an error.
DEFERRED: Final = "Deferred"


class JobError(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as data: never a class to look up, never code to import."""

    type: str
    message: str = ""
    traceback: str = ""


def plain_text(text: str) -> str:
    """``text`` as every codec can write it: a lone surrogate (a file name's undecodable byte) becomes ``?``."""
    return text.encode("utf-8", "replace").decode()


class JobRecord(msgspec.Struct, omit_defaults=True):
    """What a broker knows of one job. Moments are seconds since the epoch by the broker's clock; 0 is unknown.

    ``consumer`` and ``cancel_requested`` are of the present run. Once a job has succeeded, was cancelled or expired,
    its body, error and progress need not be kept.
    """

    id: str
    queue: str
    state: JobState
    body: bytes = b""
    priority: int = 0
    attempt: int = 0
    crashes: int = 0
    token: int = 0
    due_at: float = 0.0
    expires_at: float = 0.0
    ended_at: float = 0.0
    consumer: str = ""
    cancel_requested: bool = False
    cause: str = ""
    error: JobError | None = None
    result: bytes | None = None
    progress: bytes | None = None


def check_job_name(name: str) -> str:
    """``name``, where it can be the user's own part of a job's id.

    Raises:
        ConfigError: It cannot.
    """
    if not isinstance(name, str) or not _JOB_NAME.match(name):
        raise ConfigError(f"job_id {name!r}: use 1 to 200 visible ASCII characters without spaces")
    return name


def queue_of(id: str) -> str:
    """The queue that a job's id names.

    Raises:
        ConfigError: The id carries no queue.
    """
    queue, colon, name = id.partition(":")
    if not (colon and name and _QUEUE_NAME.match(queue)):
        raise ConfigError(f"{id!r} is not a job's id: expected QUEUE:NAME, e.g. mail:0193...")
    return queue


def check_queue_name(name: str) -> str:
    """``name``, where it can be a queue's name.

    Raises:
        ConfigError: It cannot.
    """
    return _check_name("queue name", name)


def check_queue_names(names: Iterable[str]) -> list[str]:
    """``names``, each once, where all can be queues' names.

    Raises:
        ConfigError: Some cannot; it tells all of those.
    """
    once = list(dict.fromkeys(names))
    _check_names("queue name", once)
    return once


def check_namespace(name: str) -> str:
    """``name``, where it can be a namespace's; the rule is that of a queue's name.

    Raises:
        ConfigError: It cannot.
    """
    return _check_name("namespace", name)


def _check_name(what: str, name: str) -> str:
    _check_names(what, [name])
    return name


def _check_names(what: str, names: Sequence[str]) -> None:
    wrong = [name for name in names if not isinstance(name, str) or not _QUEUE_NAME.match(name)]
    if wrong:
        several = "s" if len(wrong) > 1 else ""
        raise ConfigError(
            f"{what}{several} {', '.join(map(repr, wrong))}: use letters, digits, '_', '-' and '.', at most 128 of them"
        )


def uuid7(milliseconds: int, random: int) -> str:
    """A UUIDv7 as 32 hex digits (RFC 9562, section 5.7), so that ids are ordered in an index.

    Args:
        milliseconds: Since the epoch; 48 bits of it are used.
        random: At least 74 random bits.
    """
    return (
        f"{milliseconds & 0xFFFF_FFFF_FFFF:012x}7{random & 0xFFF:03x}"
        f"{0x8000_0000_0000_0000 | (random >> 12) & 0x3FFF_FFFF_FFFF_FFFF:016x}"
    )
