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
            return lost(delivery, spec.name)
        if delivery.crashes >= self._max_crashes:
            log.error("job %s of %s is poison: its worker was lost %d times while it ran; it is in the dead set",
                      delivery.id, spec.name, delivery.crashes)  # fmt: skip
            return Dead(
                delivery, JobError("Poison", f"lost with its worker {delivery.crashes} times"), Cause.POISON
            )
        try:
            return run_of(delivery, envelope, spec, self._home, mono_now)
        except (InvalidArguments, ConfigError, TypeError) as error:
            log.error("job %s does not fit its task; it is in the dead set: %s", delivery.id, error)
            return Dead(delivery, JobError(type(error).__name__, str(error)), Cause.ARGUMENTS, spent=False)
        except Exception as error:
            # Whatever else a body can do to a decoder: the delivery must not stay leased to a worker without it.
            log.exception("job %s is quarantined: its arguments could not be read", delivery.id)
            return Quarantine(delivery, f"arguments: {type(error).__name__}")


def lost(delivery: Delivery, task: str) -> Settlement:
    """An at-most-once job that had begun is never begun again."""
    log.error("job %s of %s had started when its worker was lost or stopped; it runs at most once, so it is in the "
              "dead set", delivery.id, task)  # fmt: skip
    error = JobError(
        "WorkerLost", "its worker was lost or stopped after it had started; it runs at most once"
    )
    return Dead(delivery, error, Cause.LOST)
