from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.retry import Reject, Retry, RetryLater, describe
from penstock.errors import ConfigError

ERROR = ValueError("no")


def waits(retry: Retry, uniform: float = 0.0) -> list[float]:
    return [retry.wait_s(runs, ERROR, uniform) for runs in range(1, retry.attempts)]


def test_the_default_waits_double_up_to_the_cap_and_take_about_three_weeks() -> None:
    got = waits(Retry())
    assert got[:5] == [2.0, 4.0, 8.0, 16.0, 32.0]
    assert got[-1] == 216_000.0
    assert len(got) == 24
    assert 19 < sum(got) / 86_400 < 23


def test_jitter_adds_at_most_its_share() -> None:
    retry = Retry(jitter=0.5, base=10, cap=15)
    assert waits(retry, 0.0)[:3] == [10.0, 15.0, 15.0]
    assert waits(retry, 0.5)[:3] == [12.5, 18.75, 18.75]
    assert Retry(jitter=0).wait_s(3, ERROR, 0.999) == 8.0


@given(
    runs=st.integers(1, 10**9),
    base=st.floats(0, 1e6),
    cap=st.floats(0, 1e7),
    jitter=st.floats(0, 1),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_negative_nor_above_the_cap_and_its_jitter(
    runs: int, base: float, cap: float, jitter: float, uniform: float
) -> None:
    retry = Retry(base=base, cap=cap, jitter=jitter)
    wait = retry.wait_s(runs, ERROR, uniform)
    assert 0 <= wait <= cap * (1 + jitter)
    if runs > 1:
        assert retry.wait_s(runs - 1, ERROR, 0.0) <= retry.wait_s(runs, ERROR, 0.0)


def test_attempts_count_runs_the_first_included() -> None:
    retry = Retry(attempts=3, base=1, jitter=0)
    assert [retry.next_wait_s(runs, ERROR, 0.0, 0.0) for runs in (1, 2, 3, 4)] == [1.0, 2.0, None, None]
    assert Retry(attempts=1).next_wait_s(1, ERROR, 0.0, 0.0) is None


def test_only_the_named_errors_are_retried() -> None:
    retry = Retry(on=(OSError, ValueError), never=(FileNotFoundError,))
    assert retry.retries(ValueError())
    assert retry.retries(ConnectionError())
    assert not retry.retries(FileNotFoundError())
    assert not retry.retries(KeyError())
    assert retry.next_wait_s(1, KeyError(), 0.0, 0.0) is None
    assert not Retry().retries(KeyboardInterrupt())


def test_one_error_type_needs_no_tuple() -> None:
    retry = Retry(on=OSError, never=TimeoutError)
    assert retry.on == (OSError,)
    assert retry.never == (TimeoutError,)


def test_no_attempt_begins_after_within() -> None:
    retry = Retry(base=10, jitter=0, within=timedelta(minutes=1))
    assert retry.within == 60.0
    assert retry.next_wait_s(1, ERROR, 50.0, 0.0) == 10.0
    assert retry.next_wait_s(1, ERROR, 50.1, 0.0) is None


def test_a_delay_function_replaces_the_formula() -> None:
    seen: list[tuple[int, BaseException]] = []

    def delay(runs: int, error: BaseException) -> float | timedelta:
        seen.append((runs, error))
        return timedelta(seconds=7) if runs > 1 else 3

    retry = Retry(delay=delay, base=100, cap=1)
    assert retry.wait_s(1, ERROR, 0.9) == 3.0
    assert retry.wait_s(2, ERROR, 0.9) == 7.0
    assert seen == [(1, ERROR), (2, ERROR)]
    with pytest.raises(ConfigError, match=r"Retry\(delay=\.\.\.\)"):
        Retry(delay=lambda _runs, _error: -1.0).wait_s(1, ERROR, 0.0)


def test_durations_may_be_timedeltas() -> None:
    retry = Retry(base=timedelta(seconds=5), cap=timedelta(minutes=1))
    assert (retry.base, retry.cap) == (5.0, 60.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": -1},
        {"attempts": True},
        {"attempts": 2.5},
        {"attempts": "3"},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": float("nan")},
        {"base": -1},
        {"base": "1"},
        {"cap": float("inf")},
        {"within": -5},
        {"on": (1,)},
        {"on": ("ValueError",)},
        {"on": (int,)},
        {"never": [ValueError]},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"Retry\({next(iter(wrong))}"):
        Retry(**wrong)


def test_the_short_spellings() -> None:
    assert Retry.of(5).attempts == 5
    assert Retry.of(False).attempts == 1
    assert Retry.of(True) == Retry()
    policy = Retry(attempts=7)
    assert Retry.of(policy) is policy
    for wrong in (0, -3, "5", None, 2.5):
        with pytest.raises(ConfigError):
            Retry.of(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy",
    [
        Retry(),
        Retry(attempts=4, base=2.0, jitter=0.15),
        Retry(attempts=3, base=1, cap=9, jitter=0, within=100),
    ],
)
def test_all_numbers_of_a_policy_travel_in_a_job_also_those_that_are_the_default(policy: Retry) -> None:
    own = Retry(attempts=3, base=600, cap=700, jitter=0.5, within=800)
    assert replace(own, **describe(policy)) == policy


@pytest.mark.parametrize(("value", "attempts"), [(7, 7), (25, 25), (True, 25), (False, 1)])
def test_a_number_of_attempts_travels_alone(value: int, attempts: int) -> None:
    assert describe(value) == {"attempts": attempts}


@pytest.mark.parametrize("code", [{"on": (OSError,)}, {"never": (OSError,)}, {"delay": lambda *_: 1}])
def test_code_does_not_travel(code: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="do not travel"):
        describe(Retry(**code))


def test_retry_later_says_when() -> None:
    assert RetryLater(60).delay_s == 60.0
    assert str(RetryLater(timedelta(minutes=2))) == "run again in 120 s"
    assert str(RetryLater(1, "the API asks us to wait")) == "the API asks us to wait"
    with pytest.raises(ConfigError, match="RetryLater"):
        RetryLater(-1)
    assert str(Reject("bad address")) == "bad address"
