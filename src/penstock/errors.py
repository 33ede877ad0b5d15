"""The error tree, by cause.

No driver's exception leaves Penstock; a message says what happened, to what, and what to do.
"""

from __future__ import annotations

import builtins


class PenstockError(Exception):
    """The root of every error that Penstock raises."""


class ConfigError(PenstockError):
    """A setting, a declaration or a use that cannot work, found before any job is touched."""


class BrokerError(PenstockError):
    """The broker did not do what was asked."""


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker could not be reached, or did not answer in time. Whether the call took effect may be unknown."""


class BrokerRejected(BrokerError):
    """The broker answered, and refused: out of memory, no permission, disk full, read-only."""


class BrokerMisconfigured(BrokerError, ConfigError):
    """The broker is set up in a way that loses jobs, so Penstock does not use it."""


class InvalidArguments(PenstockError, TypeError):
    """The arguments do not fit the task's signature, or cannot be written as JSON."""


class PayloadTooLarge(PenstockError, ValueError):
    """A job's body is above ``max_body``."""


class UnknownTask(PenstockError, LookupError):
    """No task of this name is registered with this application."""


class LeaseLost(PenstockError):
    """The job belongs to another worker now, since this one's lease was over; what this run did is not recorded.

    Raised inside the job by ``current_job().progress()``, once the worker has heard of it with a beat: so a thread
    which nobody can stop ends by itself. Let it end the run. A coroutine is cancelled and a child process killed,
    and outside the job nobody is told: its result is that of the other run.
    """


class JobError(PenstockError):
    """What became of a job is not the result that was asked for."""


class JobNotFound(JobError, LookupError):
    """No job of this id is stored: it never was, or it ended and its state was let go."""


class JobFailed(JobError):
    """The job is in the dead set. The remote error is data, never a class looked up by name.

    Attributes:
        cause: Why it is dead: ``error``, ``rejected``, ``poison``, ``timeout``, ``result``, ``arguments``,
            ``unknown_task`` or ``lost``.
        error_type: The remote error's type name, e.g. ``"ValueError"``.
        error_message: The remote error's text.
        remote_traceback: The remote traceback as text, empty where none was kept.
    """

    def __init__(
        self, message: str, *, cause: str, error_type: str, error_message: str, remote_traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.error_type = error_type
        self.error_message = error_message
        self.remote_traceback = remote_traceback


class JobCancelled(JobError):
    """The job was cancelled before it succeeded."""


class JobExpired(JobError):
    """The job was not started before its expiry."""


class ResultTimeout(JobError, builtins.TimeoutError):
    """The job has not ended in the time given; the message says where it stands."""
