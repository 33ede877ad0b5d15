"""Background tasks for Python: a file on one machine, Redis under a fleet, by changing one URL.

    from penstock import Penstock

    app = Penstock("shop", broker="redis://localhost:6379/0")

    @app.task
    def send_welcome_email(user_id: int, address: str) -> None: ...

    send_welcome_email.delay(1, "a@b.c")

The names load on first use, so that ``penstock --help`` and a worker's guard stay small.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as typing's, which takes a megabyte of each guard
if TYPE_CHECKING:
    from penstock.app import Penstock as Penstock
    from penstock.core.arguments import INJECTED as INJECTED
    from penstock.core.lifecycle import JobState as JobState
    from penstock.core.retry import Reject as Reject
    from penstock.core.retry import Retry as Retry
    from penstock.core.retry import RetryLater as RetryLater
    from penstock.core.spec import DeliveryName as DeliveryName
    from penstock.core.spec import LaneName as LaneName
    from penstock.embedded import EmbeddedWorker as EmbeddedWorker
    from penstock.errors import BrokerError as BrokerError
    from penstock.errors import BrokerMisconfigured as BrokerMisconfigured
    from penstock.errors import BrokerRejected as BrokerRejected
    from penstock.errors import BrokerUnavailable as BrokerUnavailable
    from penstock.errors import ConfigError as ConfigError
    from penstock.errors import InvalidArguments as InvalidArguments
    from penstock.errors import JobCancelled as JobCancelled
    from penstock.errors import JobError as JobError
    from penstock.errors import JobExpired as JobExpired
    from penstock.errors import JobFailed as JobFailed
    from penstock.errors import JobNotFound as JobNotFound
    from penstock.errors import LeaseLost as LeaseLost
    from penstock.errors import PayloadTooLarge as PayloadTooLarge
    from penstock.errors import PenstockError as PenstockError
    from penstock.errors import ResultTimeout as ResultTimeout
    from penstock.errors import UnknownTask as UnknownTask
    from penstock.handle import JobHandle as JobHandle
    from penstock.handle import JobProgress as JobProgress
    from penstock.listing import JobInfo as JobInfo
    from penstock.listing import ListedState as ListedState
    from penstock.listing import WorkerInfo as WorkerInfo
    from penstock.ports.inspector import QueueCounts as QueueCounts
    from penstock.runtime.hooks import FailedJob as FailedJob
    from penstock.runtime.onion import Call as Call
    from penstock.runtime.onion import Middleware as Middleware
    from penstock.runtime.resources import Resource as Resource
    from penstock.runtime.resources import ScopeName as ScopeName
    from penstock.runtime.run import CurrentJob as CurrentJob
    from penstock.runtime.run import current_job as current_job
    from penstock.task import SendOptions as SendOptions
    from penstock.task import Task as Task

__version__ = "0.1.0"

_ROOMS = {
    "Penstock": "penstock.app",
    "INJECTED": "penstock.core.arguments",
    "JobState": "penstock.core.lifecycle",
    "Reject": "penstock.core.retry",
    "Retry": "penstock.core.retry",
    "RetryLater": "penstock.core.retry",
    "DeliveryName": "penstock.core.spec",
    "LaneName": "penstock.core.spec",
    "EmbeddedWorker": "penstock.embedded",
    "JobHandle": "penstock.handle",
    "JobProgress": "penstock.handle",
    "JobInfo": "penstock.listing",
    "ListedState": "penstock.listing",
    "WorkerInfo": "penstock.listing",
    "QueueCounts": "penstock.ports.inspector",
    "FailedJob": "penstock.runtime.hooks",
    "Call": "penstock.runtime.onion",
    "Middleware": "penstock.runtime.onion",
    "Resource": "penstock.runtime.resources",
    "ScopeName": "penstock.runtime.resources",
    "CurrentJob": "penstock.runtime.run",
    "current_job": "penstock.runtime.run",
    "SendOptions": "penstock.task",
    "Task": "penstock.task",
} | dict.fromkeys(
    (
        "BrokerError",
        "BrokerMisconfigured",
        "BrokerRejected",
        "BrokerUnavailable",
        "ConfigError",
        "InvalidArguments",
        "JobCancelled",
        "JobError",
        "JobExpired",
        "JobFailed",
        "JobNotFound",
        "LeaseLost",
        "PayloadTooLarge",
        "PenstockError",
        "ResultTimeout",
        "UnknownTask",
    ),
    "penstock.errors",
)

# A literal, since mypy reads no other; a test compares it with the table above.
__all__ = [
    "INJECTED",
    "BrokerError",
    "BrokerMisconfigured",
    "BrokerRejected",
    "BrokerUnavailable",
    "Call",
    "ConfigError",
    "CurrentJob",
    "DeliveryName",
    "EmbeddedWorker",
    "FailedJob",
    "InvalidArguments",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobHandle",
    "JobInfo",
    "JobNotFound",
    "JobProgress",
    "JobState",
    "LaneName",
    "LeaseLost",
    "ListedState",
    "Middleware",
    "PayloadTooLarge",
    "Penstock",
    "PenstockError",
    "QueueCounts",
    "Reject",
    "Resource",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "ScopeName",
    "SendOptions",
    "Task",
    "UnknownTask",
    "WorkerInfo",
    "__version__",
    "current_job",
]


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    value = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Those that have not been loaded yet too, for completion."""
    return sorted({*globals(), *__all__})
