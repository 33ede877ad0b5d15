"""How a worker process runs, as the command line and the application's settings have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.core.queue_list import QueueList
from penstock.ids import new_id
from penstock.runtime.limits import NO_LIMITS, Limits


@dataclass(slots=True, kw_only=True)
class WorkerSettings:
    """How a worker process runs.

    Attributes:
        queues: Fetched from in this strict order, unless they have weights.
        weights: Of the queues, in their order: how often each is the first of a fetch, in proportion to the others'.
        concurrency: Jobs running at once over all lanes.
        lease_s: How long the broker waits for a silent worker.
        grace_s: How long running jobs have when the worker stops.
        max_crashes: So many losses with their worker make a job poison.
        max_result: Bytes of the largest result that is stored.
        burst: Stop when nothing is ready and nothing runs.
        supervised: A supervisor started it and passes signals on.
        strict: Refuse to start where the broker's settings are warned about.
        limits: When this process, or a child of it, is to be replaced; of this process only where a supervisor started
            it.
        app_reference: How a child process finds the application: ``module:attribute``.
        command_line: Settings that were given there, for the application in child processes.
        broker_source: Where the broker's URL came from, for what is said where nobody answers there.
    """

    queues: Sequence[str]
    weights: Sequence[int] | None = None
    concurrency: int = 10
    lease_s: float = 15.0
    grace_s: float = 25.0
    max_crashes: int = 3
    max_result: int = 1_048_576
    burst: bool = False
    supervised: bool = False
    strict: bool = False
    limits: Limits = NO_LIMITS
    app_name: str = ""
    app_reference: str = ""
    command_line: Mapping[str, Any] = field(default_factory=dict[str, Any])
    broker_source: str = ""
    consumer_id: str = field(default_factory=new_id)
    version: str = ""

    @property
    def queue_list(self) -> QueueList:
        """The queues with their weights, as they are shown."""
        return QueueList(self.queues, self.weights)
