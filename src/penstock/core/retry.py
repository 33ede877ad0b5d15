"""When a failed job runs again: a pure decision from the policy, the attempt and the error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from penstock.core.options import seconds
from penstock.errors import ConfigError

# Above 2^60 the doubling is far beyond every cap; the bound keeps the power a float.
_MAX_DOUBLINGS: Final = 60
# What ``except`` takes, without tuples in tuples.
ErrorTypes: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
_NUMBERS: Final = ("attempts", "base", "cap", "jitter", "within")


class Reject(Exception):
    """Raised by a task: the job goes straight to the dead set, with this text."""


class RetryLater(Exception):
    """Raised by a task: run the job again after ``delay`` (seconds or a timedelta) without spending an attempt."""

    def __init__(self, delay: float | timedelta, reason: str = "") -> None:
        self.delay_s: float = seconds("RetryLater", delay)
        super().__init__(reason or f"run again in {self.delay_s:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and when a failed job runs again.

    The wait after run n is min(cap, base * 2^(n-1)), plus up to ``jitter`` of itself: 24 waits, about three weeks, by
    default.

    Attributes:
        attempts: Runs, the first included.
        base: The first wait, in seconds (or a timedelta).
        cap: The longest wait, in seconds (or a timedelta).
        jitter: The largest share of the wait that is added at random, 0 to 1.
        on: The error types that are retried: one, or a tuple of them.
        never: Error types that are not, though ``on`` names them: one, or a tuple of them.
        within: Seconds (or a timedelta) from the enqueueing, after which no further attempt is begun.
        delay: ``delay(n, error)`` gives the wait after run n, in seconds or a timedelta, in place of the formula.

    Raises:
        ConfigError: A value makes no sense.
    """

    attempts: int = 25
    base: float | timedelta = 2.0
    cap: float | timedelta = 216_000.0
    jitter: float = 0.15
    on: ErrorTypes = (Exception,)
    never: ErrorTypes = ()
    within: float | timedelta | None = None
    delay: Callable[[int, BaseException], float | timedelta] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise ConfigError(f"Retry(attempts={self.attempts!r}): a whole number of runs, at least 1")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"Retry(jitter={self.jitter!r}): a share from 0 to 1")
        for name in ("base", "cap", "within"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, seconds(f"Retry({name}=...)", value))
        for name in ("on", "never"):
            given: Any = getattr(self, name)
            kinds: list[Any] = list(given) if isinstance(given, tuple) else [given]  # pyright: ignore[reportUnknownArgumentType]
            if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
                raise ConfigError(f"Retry({name}=...): an exception type, or a tuple of them")
            object.__setattr__(self, name, tuple(kinds))

    @classmethod
    def of(cls, value: Retry | int | bool) -> Retry:
        """The policy that ``retry=value`` means: ``5`` five attempts, ``False`` one, ``True`` the default."""
        if isinstance(value, Retry):
            return value
        if value is True:
            return cls()
        if value is False:
            return cls(attempts=1)
        if isinstance(value, int):
            return cls(attempts=value)
        raise ConfigError(f"retry={value!r}: use a Retry, a number of attempts, or False")

    def retries(self, error: BaseException) -> bool:
        """Whether this kind of error is retried."""
        return isinstance(error, self.on) and not isinstance(error, self.never)

    def wait_s(self, runs: int, error: BaseException, uniform: float) -> float:
        """Seconds to wait after run ``runs`` (1 for the first); ``uniform`` in [0, 1) is the jitter's chance."""
        if self.delay is not None:
            return seconds("Retry(delay=...)", self.delay(runs, error))
        base, cap = float(self.base), float(self.cap)  # type: ignore[arg-type]  # made floats at construction
        wait = min(cap, base * 2.0 ** min(runs - 1, _MAX_DOUBLINGS))
        return wait * (1.0 + self.jitter * uniform)

    def next_wait_s(self, runs: int, error: BaseException, age_s: float, uniform: float) -> float | None:
        """Seconds until the next attempt after ``runs`` of them, or None where no further one follows.

        Args:
            runs: How many runs ended in an error, this one included.
            error: The error that ended this run.
            age_s: Seconds since the job was enqueued.
            uniform: A random number in [0, 1), the jitter's chance.
        """
        if runs >= self.attempts or not self.retries(error):
            return None
        wait = self.wait_s(runs, error, uniform)
        if self.within is not None and age_s + wait > float(self.within):  # type: ignore[arg-type]  # as above
            return None
        return wait


def describe(value: Retry | int | bool) -> dict[str, Any]:
    """What ``options(retry=value)`` puts into a job: numbers only.

    A ``Retry`` says all of its numbers, so that none of the task's is left; a number of attempts says nothing else.

    Raises:
        ConfigError: It names error types or a function; those are code and stay with the task.
    """
    retry = Retry.of(value)
    if retry.on != (Exception,) or retry.never or retry.delay is not None:
        raise ConfigError(
            "options(retry=...): on, never and delay are code and do not travel with a job; "
            "give them to @app.task(retry=...)"
        )
    names = _NUMBERS if isinstance(value, Retry) else _NUMBERS[:1]
    return {name: getattr(retry, name) for name in names}
