from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.options import MAX_DURATION_S, moment, priority, seconds
from penstock.errors import ConfigError


@given(st.floats(0, MAX_DURATION_S) | st.integers(0, int(MAX_DURATION_S)))
def test_seconds_are_taken_as_they_are(value: float) -> None:
    assert seconds("x", value) == value
    assert isinstance(seconds("x", value), float)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(seconds=MAX_DURATION_S)))
def test_timedeltas_become_seconds(value: timedelta) -> None:
    assert seconds("x", value) == value.total_seconds()


@pytest.mark.parametrize(
    "wrong",
    [
        -1,
        -0.001,
        float("nan"),
        float("inf"),
        -float("inf"),
        MAX_DURATION_S * 1.01,
        pytest.param(10**400, id="huge"),
        timedelta(seconds=-1),
        timedelta(days=40_000),
        True,
        False,
        "5",
        None,
        b"5",
        datetime.now(UTC),
    ],
)
def test_what_is_no_duration_is_refused_with_its_name(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="countdown"):
        seconds("countdown", wrong)


def test_moments_are_aware() -> None:
    assert moment("eta", datetime(1970, 1, 2, tzinfo=UTC)) == 86_400.0
    assert moment("eta", datetime(1970, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))) == 86_400.0
    for wrong in (datetime(2020, 1, 1), 5.0, "2020-01-01T00:00:00Z", None):  # noqa: DTZ001 - what is refused
        with pytest.raises(ConfigError, match="eta"):
            moment("eta", wrong)  # type: ignore[arg-type]


def test_priorities_are_whole_numbers_from_0_to_9() -> None:
    assert [priority(value) for value in range(10)] == list(range(10))
    for wrong in (-1, 10, 1.0, True, "1", None):
        with pytest.raises(ConfigError, match="0 to 9"):
            priority(wrong)  # type: ignore[arg-type]
