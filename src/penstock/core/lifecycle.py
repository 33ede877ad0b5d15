"""The states of a job and the transitions between them.

A job is *scheduled* while it is not due (an ETA, a countdown, a wait between attempts) and *ready* when a worker may
claim it. A claim makes it *running*: the broker cannot see whether the worker has begun, only that it holds the job.
From there it goes back (a retry, a release, a lost worker) or ends. *Succeeded*, *cancelled* and *expired* are kept as
long as the result's time says and then forgotten; *failed* is the dead set, *quarantined* holds what no worker could
decode, and both are kept until an operator acts on them or their time is up.

Every broker moves jobs along these arrows and no others; the contract's state machine holds each of them to it.
`docs/state-machine.md` draws the same table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"


_S = JobState

TRANSITIONS: Final[dict[tuple[JobState, JobState], str]] = {
    (_S.SCHEDULED, _S.READY): "its time has come",
    (_S.SCHEDULED, _S.CANCELLED): "cancelled while it waited",
    (_S.SCHEDULED, _S.EXPIRED): "its expiry passed while it waited",
    (_S.READY, _S.RUNNING): "claimed by a worker",
    (_S.READY, _S.CANCELLED): "cancelled while it waited",
    (_S.READY, _S.EXPIRED): "its expiry passed before a worker had time",
    (_S.RUNNING, _S.READY): "released, or reclaimed from a lost worker",
    (_S.RUNNING, _S.SCHEDULED): "an attempt failed and another follows, or the job asked to run later",
    (_S.RUNNING, _S.SUCCEEDED): "it returned",
    (_S.RUNNING, _S.FAILED): "attempts used up, rejected, poison, or a result that cannot be stored",
    (_S.RUNNING, _S.CANCELLED): "cancelled while it ran",
    (_S.RUNNING, _S.QUARANTINED): "its body could not be decoded",
    (_S.FAILED, _S.READY): "an operator retried it",
    (_S.QUARANTINED, _S.READY): "an operator retried it",
    (_S.SCHEDULED, _S.SCHEDULED): "an operator moved its moment",
}

# How long a broker keeps what has ended and names no time of its own; dead and quarantined jobs, whichever is less.
KEEP_EXPIRED_S: Final = 3600.0
KEEP_DEAD_S: Final = 90 * 86_400.0
KEEP_DEAD_JOBS: Final = 100_000
# How long the number of a producer's last call, and of a consumer's last settle, is remembered.
KEEP_NUMBER_S: Final = 3600.0

ENDED: Final = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.EXPIRED, _S.QUARANTINED})


def allowed(before: JobState, after: JobState) -> bool:
    """Whether a job may go from ``before`` to ``after`` in one step."""
    return (before, after) in TRANSITIONS
