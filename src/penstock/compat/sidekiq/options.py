"""The options of a class task and of one call of it, and how Sidekiq's way of saying them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict

from penstock.app import Penstock
from penstock.core.options import MAX_DURATION_S, seconds
from penstock.core.options import moment as check_moment
from penstock.core.retry import Retry
from penstock.core.spec import TASK_OPTIONS, DeliveryName, LaneName, refuse_option
from penstock.errors import ConfigError

Interval = float | timedelta
When = datetime | float

_RETRIES: Final = 25
# With the longest wait between two of them, a hundred retries take 250 days; more than this is a slip of the pen.
_MOST_RETRIES: Final = 1_000_000
# Below, a number is meant as seconds from now; above, as milliseconds. From 2001 to 5138.
_FIRST_TIMESTAMP: Final = 1_000_000_000
_LAST_TIMESTAMP: Final = 100_000_000_000

CLASS_OPTIONS: Final = ("app", *TASK_OPTIONS)
_SET_OPTIONS: Final = {
    "queue": "queue",
    "priority": "priority",
    "expires": "expires",
    "job_id": "job_id",
    "headers": "headers",
    "tags": "tags",
    "retry": "retry",
    "wait": "countdown",
    "wait_until": "eta",
}

_SIDEKIQ_OPTIONS: Final = {
    "backtrace": "nothing: the traceback of the last error is kept with the job",
    "dead": "nothing: a job that failed for good is kept in the dead set",
    "pool": "app=, the Penstock that it belongs to",
    "retry_for": "retry=Retry(within=SECONDS)",
    "retry_queue": "nothing: a job is retried in its own queue",
    "log_level": "nothing: set the level of the logger penstock.worker",
    "expires_in": "expires=SECONDS",
    "expiry": "expires=SECONDS",
    "unique_for": "set(job_id=ID), unique while the job is stored",
    "unique_until": "set(job_id=ID), unique while the job is stored",
    "lock": "set(job_id=ID), unique while the job is stored",
    "encrypt": "nothing",
    "profile": "nothing",
    "sync": "perform_inline(...)",
    "jid": "set(job_id=ID)",
    "at": "perform_at(WHEN, ...)",
    "countdown": "set(wait=SECONDS) or perform_in(SECONDS, ...)",
    "eta": "set(wait_until=WHEN) or perform_at(WHEN, ...)",
    "batch_size": "nothing: perform_bulk goes in slices by itself",
}
SIDEKIQ_ATTRIBUTES: Final = {
    "sidekiq_options": "the options stand in the class line: class {name}(Job, app=app, queue=..., retry=...)",
    "sidekiq_retry_in": "the wait is retry=Retry(attempts=..., delay=FUNCTION) in the class line",
    "sidekiq_retries_exhausted": 'a function that hears of every dead job is @app.on("job_failed")',
}


class JobOptions(TypedDict, total=False):
    """What stands in the class line. All but ``name`` are inherited by subclasses.

    Attributes:
        app: The application that it belongs to.
        name: Instead of ``module.ClassName``.
        queue: The line in which its jobs wait; by default the application's.
        retry: Sidekiq's count of retries after the first run: 5 is six runs at most, ``True`` (the default) 26,
            ``False`` and 0 one. A ``Retry`` is taken as it is, its ``attempts`` counting the first run.
        lane: ``"loop"``, ``"thread"`` or ``"process"``; by default the first for
            ``async def perform`` and the second for ``def``.
        timeout: Seconds (or a timedelta) for one run.
        expires: Seconds (or a timedelta) after which it is no longer started.
        priority: 0 to 9; higher runs first.
        result_ttl: Seconds (or a timedelta) that a result is kept; 0 keeps nothing.
        delivery: ``"at_least_once"`` or ``"at_most_once"``.
        tags: Words to find its jobs by.
    """

    app: Penstock
    name: str
    queue: str | None
    retry: Retry | int | bool
    lane: LaneName | None
    timeout: float | timedelta | None
    expires: float | timedelta | None
    priority: int
    result_ttl: float | timedelta
    delivery: DeliveryName
    tags: Sequence[str]


class SetOptions(TypedDict, total=False):
    """What one call says otherwise than its class.

    Attributes:
        queue: Another queue.
        priority: 0 to 9; higher runs first.
        expires: Seconds, a timedelta or an aware moment after which it is no longer started.
        job_id: An id of your own, unique in its queue while the job is stored.
        headers: Strings that travel with the job.
        tags: Words to find it by.
        retry: As in the class line; of a ``Retry`` only the numbers travel with a job.
        wait: Seconds (or a timedelta) until it is due, as ``perform_in`` takes them.
        wait_until: When it is due, as ``perform_at`` takes it.
    """

    queue: str
    priority: int
    expires: float | timedelta | datetime
    job_id: str
    headers: Mapping[str, str]
    tags: Sequence[str]
    retry: Retry | int | bool
    wait: Interval
    wait_until: When


def refuse(where: str, option: str, known: Iterable[str]) -> None:
    """Raises for an option that does not exist, with Penstock's own name where Sidekiq has one."""
    if option in known:
        return
    if option in _SIDEKIQ_OPTIONS:
        raise ConfigError(f"{where}: no option {option!r}; here that is {_SIDEKIQ_OPTIONS[option]}")
    refuse_option(where, option, known)


def policy(where: str, retry: Retry | int | bool) -> Retry:
    """Sidekiq's count of retries as a policy.

    Raises:
        ConfigError: It is no such count.
    """
    return retry if isinstance(retry, Retry) else Retry(attempts=_runs(where, retry))


def _runs(where: str, retry: int | bool) -> int:
    if isinstance(retry, bool):
        return 1 + _RETRIES if retry else 1
    if not isinstance(retry, int) or not 0 <= retry <= _MOST_RETRIES:
        raise ConfigError(
            f"{where}: retry={retry!r}: a number of retries from 0 to {_MOST_RETRIES:,}, True, False or a Retry"
        )
    return 1 + retry


def _call_policy(retry: Retry | int | bool) -> Retry | int:
    """What one call says: a number of runs leaves the other numbers of its class as they are."""
    return retry if isinstance(retry, Retry) else _runs("set", retry)


def interval(value: Interval, what: str = "perform_in") -> float:
    """What ``perform_in`` takes, in seconds; one that is over is none, as in Sidekiq: the job is due at once.

    Raises:
        ConfigError: It is no duration, or a Unix timestamp.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and -MAX_DURATION_S <= value < 0:
        return 0.0
    interval_s = seconds(what, value)
    if interval_s >= _FIRST_TIMESTAMP:
        instead = "perform_at" if what == "perform_in" else "set(wait_until=...)"
        raise ConfigError(f"{what}: {value!r} s is a Unix timestamp; {instead} takes those")
    return interval_s


def moment(value: When, what: str = "perform_at") -> datetime:
    """What ``perform_at`` takes, as a datetime.

    Raises:
        ConfigError: It is neither a datetime nor a Unix timestamp in seconds.
    """
    if isinstance(value, datetime):
        check_moment(what, value)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(
            f"{what}: an aware datetime or a Unix timestamp in seconds, not {type(value).__name__}"
        )
    if value < _FIRST_TIMESTAMP:
        instead = "perform_in" if what == "perform_at" else "set(wait=...)"
        raise ConfigError(f"{what}: {value!r} is no Unix timestamp; {instead} takes seconds from now")
    if not value < _LAST_TIMESTAMP:  # no comparison holds for NaN
        raise ConfigError(f"{what}: {value!r} is no Unix timestamp in seconds")
    return datetime.fromtimestamp(value, UTC)


_SET_VALUES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "retry": _call_policy,
    "wait": lambda value: interval(value, "set(wait=...)"),
    "wait_until": lambda value: moment(value, "set(wait_until=...)"),
}


def call_options(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What ``set(...)`` was given, as ``Task.options`` takes it.

    Raises:
        ConfigError: An option does not exist, or its value makes no sense.
    """
    if given.get("wait") is not None and given.get("wait_until") is not None:
        raise ConfigError("set: wait and wait_until exclude each other")
    options: dict[str, Any] = {}
    for option, value in given.items():
        refuse(where, option, _SET_OPTIONS)
        read = _SET_VALUES.get(option)
        options[_SET_OPTIONS[option]] = read(value) if read is not None and value is not None else value
    return options
