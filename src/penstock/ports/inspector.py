"""What the command line, handles and pages ask of a broker's store. The worker uses none of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from penstock.core.job import JobRecord
from penstock.core.lifecycle import JobState
from penstock.ports.broker import WorkerCard


class QueueCounts(msgspec.Struct):
    """How many jobs of a queue stand in each state.

    The totals count since the queue began, and are never reset: ``failed_total`` what went to the dead set,
    ``lost_total`` what was reclaimed. A job that is due or expired and that no fetch or round of maintenance has seen
    since may still count as what it was. ``paused``: no worker takes jobs from it.
    """

    queue: str
    ready: int = 0
    scheduled: int = 0
    running: int = 0
    failed: int = 0
    quarantined: int = 0
    enqueued_total: int = 0
    succeeded_total: int = 0
    failed_total: int = 0
    lost_total: int = 0
    paused: bool = False


class Facts(NamedTuple):
    """What a broker's server says of itself, for ``penstock doctor``.

    Attributes:
        server: Its name and version.
        clock_ahead_s: How far its clock is ahead of this machine's.
        told: More about it, each a name and a value.
        problems: What must change, a line each.
    """

    server: str
    clock_ahead_s: float
    told: Sequence[tuple[str, str]]
    problems: Sequence[str]


class Page(NamedTuple):
    """Part of a scan. ``cursor`` goes on after it; None: that was all."""

    jobs: Sequence[JobRecord]
    cursor: str | None


class Retried(msgspec.Struct, frozen=True):
    """Dead, quarantined and scheduled jobs become ready, at the end of their line.

    The first two with their attempts and crashes reset and no expiry.
    """


class Cancelling(msgspec.Struct, frozen=True):
    """Waiting jobs become cancelled (kept ``ttl_s``); a running one is asked, and its worker settles it."""

    ttl_s: float = 3600.0


class Deleting(msgspec.Struct, frozen=True):
    """Jobs that no worker holds are removed without a trace, whatever their state."""


Change = Retried | Cancelling | Deleting


class Inspector(Protocol):
    """Looks at and acts on what is stored. Belongs to one event loop, like the broker it comes from."""

    async def queues(self) -> Sequence[QueueCounts]:
        """Every queue that has ever held a job or is paused, by name. O(1) a queue."""
        ...

    async def pause(self, queues: Sequence[str]) -> Sequence[str]:
        """From now on no fetch claims a job of these queues; returns those that were not paused before.

        The broker decides at the claim, so what a fetch has claimed before still arrives. All else goes on: jobs are
        enqueued, retried, settled, expire and become due, and running ones run. Lasts until ``resume``, as durably as
        a job is stored. A queue that never held a job can be paused too.

        Raises:
            ConfigError: A name cannot be a queue's; nothing is changed.
        """
        ...

    async def resume(self, queues: Sequence[str]) -> Sequence[str]:
        """Ends the pause of these queues and wakes who waits for their jobs; returns those that were paused.

        Raises:
            ConfigError: A name cannot be a queue's; nothing is changed.
        """
        ...

    async def get(self, id: str) -> JobRecord | None:
        """All that is known of one job; None where nothing is."""
        ...

    async def scan(self, queue: str, state: JobState, cursor: str | None, limit: int) -> Page:
        """A slice of a queue's jobs in one state, oldest first where the broker keeps an order.

        Reads at most ``limit`` jobs, whatever the backlog. Ended states other than ``failed`` and ``quarantined``
        are not listed. A job that moves meanwhile may be seen twice or not at all.
        """
        ...

    async def change(self, ids: Sequence[str], change: Change) -> Sequence[str]:
        """Applies ``change`` to each job that is in a state for it; returns the ids that it applied to."""
        ...

    async def wait(self, id: str, timeout_s: float) -> JobRecord | None:
        """The job's record once it has ended, or as it stands after ``timeout_s``; None where it is not stored.

        All waits of a process share one notification stream; the stored state is looked at again behind it at least
        once a second.
        """
        ...

    async def workers(self) -> Sequence[WorkerCard]:
        """Workers whose lease holds, and those whose jobs have not been reclaimed yet."""
        ...

    async def command(self, worker_id: str, verb: str, expires_s: float) -> str:
        """Stores an order to a worker; returns its id."""
        ...

    async def answer(self, command_id: str) -> str | None:
        """The worker's answer to a command, or None while there is none."""
        ...
