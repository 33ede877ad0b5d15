"""What becomes of a delivery before any code of its task runs: a run, or a settlement at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from penstock.core.codec import Undecodable, decode_envelope
from penstock.core.job import Delivery, JobError
from penstock.core.settlement import Cause, Dead, Quarantine, Settlement
from penstock.core.spec import TaskSpec
from penstock.errors import ConfigError, InvalidArguments
from penstock.runtime.outcome import unknown
from penstock.runtime.run import Home, Run, run_of

log: logging.Logger = logging.getLogger("penstock.worker")


class Admission:
    """Decodes deliveries, and decides about those that cannot be run here.

    Args:
        registry: The tasks by name.
        max_crashes: So many crashes make a job poison.
        home: What this process offers its runs.
        on_unknown: Told of each job whose task is not registered.
    """

    def __init__(
        self,
        registry: Mapping[str, TaskSpec],
        max_crashes: int,
        home: Home,
        on_unknown: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._max_crashes = max_crashes
        self._home = home
        self._on_unknown = on_unknown

    def prepare(self, delivery: Delivery, mono_now: float) -> Run | Settlement:
        """A run of this delivery, or what becomes of it without one."""
        try:
            envelope = decode_envelope(delivery.body)
        except Undecodable as error:
            log.error("job %s is quarantined: %s", delivery.id, error)
            return Quarantine(delivery, str(error))
        spec = self._registry.get(envelope.task)
        if spec is None:
            self._on_unknown(envelope.task)
            return unknown(delivery, envelope.task)
        if spec.at_most_once and delivery.crashes:
            return lost(delivery, spec.name, self._child_end(delivery))
        if delivery.crashes >= self._max_crashes:
            how = f"lost with its worker or child process {delivery.crashes} time(s)"
            if end := self._child_end(delivery):
                how = f"its child process {end}; {how}"
            log.error("job %s of %s is poison and in the dead set: %s", delivery.id, spec.name, how)
            return Dead(delivery, JobError("Poison", how), Cause.POISON)
        try:
            return run_of(delivery, envelope, spec, self._home, mono_now)
        except (InvalidArguments, ConfigError, TypeError) as error:
            log.error("job %s does not fit its task; it is in the dead set: %s", delivery.id, error)
            return Dead(delivery, JobError(type(error).__name__, str(error)), Cause.ARGUMENTS, spent=False)
        except Exception as error:
            # Whatever else a body can do to a decoder: the delivery must not stay leased to a worker without it.
            log.exception("job %s is quarantined: its arguments could not be read", delivery.id)
            return Quarantine(delivery, f"arguments: {type(error).__name__}")

    def _child_end(self, delivery: Delivery) -> str | None:
        """How the child process that ran it ended; None where another worker had it, or no child did."""
        return None if self._home.child_ends is None else self._home.child_ends.take(delivery.id)


def lost(delivery: Delivery, task: str, child_end: str | None = None) -> Settlement:
    """An at-most-once job that had begun is never begun again."""
    how = f"its child process {child_end}" if child_end else "its worker was lost or stopped"
    log.error("job %s of %s had started when %s; it runs at most once, so it is in the dead set",
              delivery.id, task, how)  # fmt: skip
    error = JobError("WorkerLost", f"{how} after it had started; it runs at most once")
    return Dead(delivery, error, Cause.LOST)
