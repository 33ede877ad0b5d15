"""A task as a worker knows it: the function and how it is to be run. Options are checked when the task is declared."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from penstock.core.arguments import Arguments, Decoder, encode, has_nonfinite, told, type_name
from penstock.core.job import check_queue_name
from penstock.core.options import is_text, seconds
from penstock.core.options import priority as check_priority
from penstock.core.retry import Retry
from penstock.errors import ConfigError

# How long the bare state of a job that returned None is kept: long enough to be seen by whoever waits for it.
NONE_TTL_S: Final = 60.0

_E = TypeVar("_E", bound=StrEnum)

_CELERY_OPTIONS: Final = {
    "bind": "nothing: use penstock.current_job() inside the task",
    "max_retries": "retry=Retry(attempts=N + 1)",
    "default_retry_delay": "retry=Retry(base=SECONDS)",
    "autoretry_for": "retry=Retry(on=(...,))",
    "dont_autoretry_for": "retry=Retry(never=(...,))",
    "retry_backoff": "retry=Retry(base=SECONDS)",
    "retry_backoff_max": "retry=Retry(cap=SECONDS)",
    "retry_jitter": "retry=Retry(jitter=0.15)",
    "retry_kwargs": "retry=Retry(...)",
    "acks_late": 'nothing: late is the default; delivery="at_most_once" is the other way',
    "acks_on_failure_or_timeout": "nothing: a failed job is retried, then kept in the dead set",
    "reject_on_worker_lost": "nothing: a lost job always comes back",
    "ignore_result": "result_ttl=0",
    "result_expires": "result_ttl=SECONDS",
    "store_errors_even_if_ignored": "nothing: errors are kept with the job",
    "time_limit": "timeout=SECONDS",
    "soft_time_limit": "timeout=SECONDS",
    "rate_limit": "nothing yet",
    "serializer": "nothing: bodies are JSON",
    "compression": "nothing",
    "track_started": "nothing: job.status() knows running",
    "send_events": "nothing",
    "base": "nothing",
    "throws": "retry=Retry(never=(...,))",
    "countdown": "task.options(countdown=SECONDS)",
    "eta": "task.options(eta=DATETIME)",
    "task_id": "task.options(job_id=ID)",
    "shared": "nothing",
}


TASK_OPTIONS: Final = (
    "name",
    "queue",
    "lane",
    "retry",
    "timeout",
    "expires",
    "priority",
    "result_ttl",
    "delivery",
    "tags",
)


class Lane(StrEnum):
    """How a job is run."""

    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"


# What a checker takes for the words of these enumerations, which are written as plain strings.
LaneName: TypeAlias = Literal["loop", "thread", "process"]
"""How a job is run, as ``lane=`` of a task takes it."""


class DeliveryMode(StrEnum):
    """Which way a job errs when its worker is lost: twice, or not at all."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


DeliveryName: TypeAlias = Literal["at_least_once", "at_most_once"]
"""Which way a job errs when its worker is lost, as ``delivery=`` of a task takes it."""


class ResultRefused(Exception):
    """A task's result cannot be written as JSON, or not be read as what the task says that it returns.

    The text says why, without quoting the value.
    """


@dataclass(slots=True, eq=False)
class TaskSpec:
    """One registered task.

    Attributes:
        name: ``module.function`` or the name that was given.
        function: The user's own function.
        lane: Where it runs.
        is_async: It is a coroutine function.
        queue: The queue that it names, or None for the application's default.
        retry: When it runs again.
        timeout_s: Seconds that one run may take; None for no bound.
        expires_s: Seconds after which a job that was not started is dropped; None for never.
        priority: 0 to 9.
        result_ttl_s: Seconds that a result is kept; 0 stores nothing.
        at_most_once: A started job is never run again.
        tags: Given to each of its jobs.
    """

    name: str
    function: Callable[..., Any]
    lane: Lane
    is_async: bool
    arguments: Arguments
    queue: str | None = None
    retry: Retry = field(default_factory=Retry)
    timeout_s: float | None = None
    expires_s: float | None = None
    priority: int = 0
    result_ttl_s: float = 3600.0
    at_most_once: bool = False
    tags: tuple[str, ...] = ()
    _result_decoder: Decoder | None = None

    def encode_result(self, value: Any, most: int) -> bytes | None:
        """``value`` as JSON of at most ``most`` bytes; None stays None, a bare state.

        Raises:
            ResultRefused: It cannot be written, or is larger.
        """
        if value is None:
            return None
        try:
            raw = encode(value)
            if b"null" in raw and has_nonfinite(value):
                raise ResultRefused("a float that is not finite (NaN or infinity)")
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise ResultRefused(f"{type(value).__name__}: {type(error).__name__}: {error}") from error
        if len(raw) > most:
            raise ResultRefused(
                f"{len(raw):,} bytes, above max_body={most:,}; store it elsewhere and return its key"
            )
        return raw

    def decode_result(self, raw: bytes | None) -> Any:
        """A stored result as the type that the function says it returns.

        Raises:
            ResultRefused: It is something else.
        """
        if raw is None:
            return None
        kind = self.arguments.result_kind
        try:
            if self._result_decoder is None:
                self._result_decoder = Decoder(kind)
            return self._result_decoder.decode(raw)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            raise ResultRefused(f"no {type_name(kind)}: {told(error)}") from None


def declare(
    function: Callable[..., Any],
    *,
    name: str,
    queue: str | None = None,
    lane: str | None = None,
    retry: Retry | int | bool | None = None,
    timeout: float | timedelta | None = None,
    expires: float | timedelta | None = None,
    priority: int = 0,
    result_ttl: float | timedelta = 3600.0,
    delivery: str = "at_least_once",
    tags: Sequence[str] = (),
    unknown: Mapping[str, Any] | None = None,
) -> TaskSpec:
    """A checked task from the decorator's options; ``unknown`` holds those that the decorator does not have.

    Raises:
        ConfigError: An option cannot work; the text says what to write instead.
    """
    for option in unknown or {}:
        refuse_option(f"task {name}", option, TASK_OPTIONS)
    if not callable(function) or isinstance(function, type):
        raise ConfigError(f"task {name}: a function is needed, not {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"task {name}: a generator cannot be a task; return a list or enqueue jobs instead")
    is_async = inspect.iscoroutinefunction(function)
    mode = _choice(name, "delivery", delivery, DeliveryMode)
    if mode is DeliveryMode.AT_MOST_ONCE and retry is not None and Retry.of(retry).attempts > 1:
        raise ConfigError(f'task {name}: delivery="at_most_once" runs a job once; remove retry=')
    if mode is DeliveryMode.AT_MOST_ONCE:
        retry = False
    chosen = (
        _choice(name, "lane", lane, Lane) if lane is not None else (Lane.LOOP if is_async else Lane.THREAD)
    )
    if chosen is Lane.LOOP and not is_async:
        raise ConfigError(
            f'task {name}: lane="loop" is for async def; a plain function would stop all others'
        )
    if chosen is Lane.THREAD and is_async:
        raise ConfigError(f'task {name}: lane="thread" is for def; an async def runs in "loop" or "process"')
    return TaskSpec(
        name=name,
        function=function,
        lane=chosen,
        is_async=is_async,
        arguments=Arguments(function, name),
        queue=None if queue is None else check_queue_name(queue),
        retry=Retry() if retry is None else Retry.of(retry),
        timeout_s=_positive(name, "timeout", timeout),
        expires_s=_positive(name, "expires", expires),
        priority=check_priority(priority),
        result_ttl_s=seconds(f"task {name}: result_ttl", result_ttl),
        at_most_once=mode is DeliveryMode.AT_MOST_ONCE,
        tags=check_tags(tags),
    )


def refuse_option(where: str, option: str, known: Iterable[str]) -> None:
    """Raises the ``ConfigError`` for an option that does not exist, with Penstock's own name where there is one."""
    from difflib import get_close_matches  # only who made a mistake pays for it

    instead = _CELERY_OPTIONS.get(option)
    hint = f"; here that is {instead}" if instead else f"; there are {', '.join(sorted(known))}"
    near = get_close_matches(option, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near and not instead else hint
    raise ConfigError(f"{where}: no option {option!r}{hint}")


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """``tags`` as a tuple.

    Raises:
        ConfigError: They are not a sequence of short strings.
    """
    if isinstance(tags, str) or not all(is_text(tag) and 0 < len(tag) <= 100 for tag in tags):
        raise ConfigError(f"tags={tags!r}: a sequence of strings of 1 to 100 characters")
    return tuple(tags)


def _positive(name: str, option: str, value: float | timedelta | None) -> float | None:
    if value is None:
        return None
    given = seconds(f"task {name}: {option}", value)
    if given <= 0 or not math.isfinite(given):
        raise ConfigError(f"task {name}: {option} must be above 0 s")
    return given


def _choice(name: str, option: str, value: str, kinds: type[_E]) -> _E:
    try:
        return kinds(value)
    except ValueError:
        raise ConfigError(f"task {name}: {option}={value!r}; use one of {', '.join(kinds)}") from None


def queues_of(specs: Iterable[TaskSpec], default_queue: str) -> list[str]:
    """The queues of tasks, in the order of their declaration, and the default queue where none of them names it."""
    return list(dict.fromkeys([*(spec.queue or default_queue for spec in specs), default_queue]))
