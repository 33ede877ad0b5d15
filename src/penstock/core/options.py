"""Durations, moments and the options of a call: checked once, where they come in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.errors import ConfigError

# Durations beyond this are a mistake in the unit; it also keeps every moment within what a broker's clock can hold.
MAX_DURATION_S: Final = 100 * 365 * 86_400.0


def seconds(what: str, value: float | timedelta) -> float:
    """A duration in seconds.

    Args:
        what: What it is called where it was given, for the message.
        value: Seconds, or a timedelta; not negative.

    Raises:
        ConfigError: It is neither, negative, not finite, or above 100 years.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{what}: seconds (a number) or a timedelta, not {type(value).__name__}")
    if not 0 <= value <= MAX_DURATION_S:  # no comparison holds for NaN
        raise ConfigError(f"{what}: {value!r} is not a duration from 0 s to 100 years")
    return float(value)


def is_text(value: object) -> bool:
    """Whether it is a string that JSON can carry: one without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def moment(what: str, value: datetime) -> float:
    """A moment in seconds since the epoch.

    Raises:
        ConfigError: It is not a datetime, or a naive one.
    """
    if not isinstance(value, datetime):
        raise ConfigError(f"{what}: an aware datetime, not {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ConfigError(f"{what}: {value!r} names no time zone; use e.g. datetime.now(UTC)")
    return value.timestamp()


def utc(moment_at: float) -> datetime | None:
    """Seconds since the epoch as a moment in UTC; None for 0, the unknown, and for what no calendar has."""
    if not moment_at:
        return None
    try:
        return datetime.fromtimestamp(moment_at, UTC)
    except (OverflowError, ValueError, OSError):  # a hostile body may carry any number
        return None


def priority(value: int) -> int:
    """A priority, 0 to 9.

    Raises:
        ConfigError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise ConfigError(f"priority={value!r}: a whole number from 0 to 9; higher runs first")
    return value
