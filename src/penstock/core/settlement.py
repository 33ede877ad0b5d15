"""What became of a delivery: one value, chosen by the executor, carried out by the broker in one step a queue.

Delays are seconds from the broker's now, not moments: the broker's clock decides what is due.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from penstock.core.job import Delivery, JobError

# What the reason of a job begins with that was deferred because its worker does not know its task; its name follows.
UNKNOWN_TASK: Final = "unknown task "


class Cause(StrEnum):
    """Why a job is dead."""

    ERROR = "error"
    REJECTED = "rejected"
    POISON = "poison"
    TIMEOUT = "timeout"
    RESULT = "result"
    ARGUMENTS = "arguments"
    UNKNOWN_TASK = "unknown_task"
    LOST = "lost"


class Done(msgspec.Struct, gc=False):
    """It returned. ``result`` is its encoded value, or None for a bare state; kept ``ttl_s``, 0 keeps nothing."""

    delivery: Delivery
    result: bytes | None = None
    ttl_s: float = 0.0


class Again(msgspec.Struct, gc=False):
    """The attempt failed and is spent; another follows after ``delay_s``."""

    delivery: Delivery
    delay_s: float
    error: JobError


class Defer(msgspec.Struct, gc=False):
    """It waits ``delay_s`` without spending an attempt. ``streak`` is what the next delivery shall carry."""

    delivery: Delivery
    delay_s: float
    reason: str
    streak: int = 0


class Dead(msgspec.Struct, gc=False):
    """It goes to the dead set. ``spent`` says whether this run was an attempt."""

    delivery: Delivery
    error: JobError
    cause: Cause
    spent: bool = True


class Quarantine(msgspec.Struct, gc=False):
    """Its body could not be decoded; it is kept as it is."""

    delivery: Delivery
    reason: str


class Cancelled(msgspec.Struct, gc=False):
    """It was cancelled while this worker held it; the state is kept ``ttl_s``."""

    delivery: Delivery
    ttl_s: float = 3600.0


class Release(msgspec.Struct, gc=False):
    """It goes back unspent, to the front of its line (or the end).

    ``crashed``: a child died while running it, so it comes back as a suspect with one more crash.
    """

    delivery: Delivery
    front: bool = True
    crashed: bool = False


Settlement = Done | Again | Defer | Dead | Quarantine | Cancelled | Release
