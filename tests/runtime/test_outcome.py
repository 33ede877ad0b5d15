"""From how a run ended to its settlement."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Iterator

import pytest

from penstock.core.retry import Reject, Retry, RetryLater
from penstock.core.settlement import Again, Cancelled, Cause, Dead, Defer, Done, Release, Settlement
from penstock.core.spec import TaskSpec
from penstock.runtime.lanes import acall, call
from penstock.runtime.outcome import as_data, failed, not_begun, succeeded, unknown
from penstock.runtime.resources import Resource, ResourcePool
from penstock.runtime.run import Ask, CurrentJob, Run
from tests.runtime.bench import delivery, run_of, spec_of


def work() -> int:
    return 1


SPEC = spec_of(work, retry=Retry(attempts=3, base=1, jitter=0), timeout=5)


def asked(why: Ask, spec: TaskSpec = SPEC, *, noticed: bool = True) -> Run:
    run = run_of(spec)
    run.ask = why
    if noticed:
        assert CurrentJob(run).cancelled()
    return run


def error_of(settlement: Settlement) -> str:
    assert isinstance(settlement, Again | Dead)
    return settlement.error.type


def test_a_run_that_did_not_begin() -> None:
    assert isinstance(not_begun(asked(Ask.CANCEL)), Cancelled)
    assert isinstance(not_begun(asked(Ask.STOP)), Release)


def test_a_result() -> None:

    done = succeeded(run_of(SPEC), 5)
    assert isinstance(done, Done)
    assert (done.result, done.ttl_s) == (b"5", 3600.0)
    none = succeeded(run_of(SPEC), None)
    assert isinstance(none, Done)
    assert (none.result, none.ttl_s) == (None, 60.0)
    short = succeeded(run_of(spec_of(work, result_ttl=7)), None)
    assert isinstance(short, Done)
    assert short.ttl_s == 7.0
    nothing = succeeded(run_of(spec_of(work, result_ttl=0)), object())
    assert isinstance(nothing, Done)
    assert nothing.ttl_s == 0.0


def test_a_result_that_cannot_be_stored() -> None:
    for value in (object(), float("nan"), "x" * 2_000_000):
        dead = succeeded(run_of(SPEC), value)
        assert isinstance(dead, Dead)
        assert dead.cause is Cause.RESULT


def test_a_result_of_one_that_was_asked_to_end() -> None:
    assert isinstance(succeeded(asked(Ask.CANCEL), 1), Cancelled)
    assert isinstance(succeeded(asked(Ask.CANCEL, noticed=False), 1), Done)
    assert error_of(succeeded(asked(Ask.TIMEOUT), 1)) == "TimedOut"
    assert isinstance(succeeded(asked(Ask.TIMEOUT, noticed=False), 1), Done)
    assert isinstance(succeeded(asked(Ask.STOP), 1), Done)
    assert isinstance(succeeded(asked(Ask.LOST), 1), Done)


def test_cancelled_coroutines() -> None:
    cancelled = asyncio.CancelledError()
    assert isinstance(failed(asked(Ask.CANCEL, noticed=False), cancelled), Cancelled)
    assert isinstance(failed(asked(Ask.STOP, noticed=False), cancelled), Release)
    assert isinstance(failed(asked(Ask.LOST, noticed=False), cancelled), Release)
    assert error_of(failed(asked(Ask.TIMEOUT, noticed=False), cancelled)) == "TimedOut"
    assert error_of(failed(run_of(SPEC), cancelled)) == "PenstockError"


def test_errors_of_one_that_was_asked_to_end() -> None:
    assert error_of(failed(asked(Ask.TIMEOUT), ValueError("x"))) == "TimedOut"
    assert error_of(failed(asked(Ask.TIMEOUT, noticed=False), ValueError("x"))) == "ValueError"


def test_a_timeout_says_that_it_is_one() -> None:
    dead = failed(asked(Ask.TIMEOUT, spec_of(work, retry=False, timeout=5)), asyncio.CancelledError())
    assert isinstance(dead, Dead)
    assert dead.cause is Cause.TIMEOUT
    assert dead.error.message == "work ran longer than its timeout of 5 s"


def test_retries_and_their_end() -> None:
    for attempt, wait_s in ((0, 1.0), (1, 2.0)):
        again = failed(run_of(SPEC, attempt=attempt), ValueError("x"))
        assert isinstance(again, Again)
        assert again.delay_s == wait_s
    dead = failed(run_of(SPEC, attempt=2), ValueError("x"))
    assert isinstance(dead, Dead)
    assert (dead.cause, dead.spent) == (Cause.ERROR, True)


@pytest.mark.parametrize(
    ("retry", "error", "dies"),
    [
        (Retry(on=(OSError,)), ValueError("x"), True),
        (Retry(on=(OSError,)), ConnectionError("x"), False),
        (Retry(never=(ConnectionError,)), ConnectionError("x"), True),
        (Retry(), SystemExit(1), True),
        (Retry(on=(BaseException,)), SystemExit(1), False),
        (Retry(within=5, base=10), ValueError("x"), True),
        (Retry(within=600, base=10), ValueError("x"), False),
        (Retry(delay=lambda runs, error: 1 / 0), ValueError("x"), True),
    ],
)
def test_which_errors_are_retried(retry: Retry, error: BaseException, dies: bool) -> None:
    settlement = failed(run_of(spec_of(work, retry=retry), at=time.time()), error)
    assert isinstance(settlement, Dead if dies else Again)


def test_within_counts_from_an_operators_retry() -> None:
    spec = spec_of(work, retry=Retry(within=600, base=1))
    assert isinstance(failed(run_of(spec, at=time.time() - 5_000), ValueError("x")), Dead)
    again = run_of(spec, at=time.time() - 5_000, retried_at=time.time() - 5)
    assert isinstance(failed(again, ValueError("x")), Again)


def test_delay_in_place_of_the_formula() -> None:
    spec = spec_of(work, retry=Retry(delay=lambda runs, error: runs * 100.0))
    again = failed(run_of(spec, attempt=1), ValueError("x"))
    assert isinstance(again, Again)
    assert again.delay_s == 200.0


def test_what_a_job_asks_for() -> None:
    later = failed(run_of(SPEC), RetryLater(30, "the shop is closed"))
    assert isinstance(later, Defer)
    assert (later.delay_s, later.reason) == (30.0, "the shop is closed")
    dead = failed(run_of(SPEC), Reject("why"))
    assert isinstance(dead, Dead)
    assert (dead.cause, dead.error.message) == (Cause.REJECTED, "why")


@pytest.mark.parametrize(
    ("wait_s", "words"), [(5, "5.0 s"), (600, "10 min"), (7_200, "2.0 h"), (216_000, "60.0 h")]
)
def test_the_log_says_when_it_runs_again(caplog: pytest.LogCaptureFixture, wait_s: float, words: str) -> None:
    spec = spec_of(work, retry=Retry(base=wait_s, jitter=0))
    failed(run_of(spec), ValueError("secret text"))
    failed(run_of(spec, attempt=3), ValueError("secret text"))
    first, later = (record.getMessage() for record in caplog.records)
    assert f"It runs again in {words} and up to 24 times more; to stop it: penstock cancel default:" in first
    assert later.endswith("h") or "It runs again in" in later
    assert "secret" not in first + later


def _call(run: Run, pool: ResourcePool) -> Settlement:
    """As a thread of the lane does it: the context, which knows the running job, is the job's own."""
    return contextvars.Context().run(call, run, pool)


def test_the_log_shows_the_tasks_frames_alone(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ValueError("x")

    async def abroken() -> None:
        broken()

    for function in (broken, abroken):
        run = run_of(spec_of(function, retry=False))
        pool = ResourcePool()
        settlement = asyncio.run(acall(run, pool)) if function is abroken else _call(run, pool)
        assert isinstance(settlement, Dead)
        assert settlement.error.traceback.splitlines()[1].startswith(f'  File "{__file__}"')
    assert caplog.text.count("Traceback (most recent call last):") == 2
    assert "lanes.py" not in caplog.text


def test_the_log_shows_both_errors_where_closing_failed_too(caplog: pytest.LogCaptureFixture) -> None:
    def resource() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise RuntimeError("closing")

    made = Resource(resource, "job")

    def broken() -> None:
        made.get()
        raise ValueError("job")

    _call(run_of(spec_of(broken, retry=False)), ResourcePool())
    assert "ValueError: job" in caplog.text
    assert "RuntimeError: closing" in caplog.text
    for text in caplog.text.split("Traceback (most recent call last):\n")[1:]:
        assert "penstock/runtime/" not in text.splitlines()[0]


def test_an_error_of_penstocks_own_keeps_its_frames(caplog: pytest.LogCaptureFixture) -> None:
    try:
        CurrentJob(run_of(SPEC)).progress(float("nan"))
    except ValueError as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # the test's
        failed(run_of(SPEC), error)
    assert "in progress" in caplog.text


def test_an_error_as_data() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def inner() -> None:
        raise ValueError("v" * 5_000)

    try:
        inner()
    except ValueError as error:
        data = as_data(error)
    assert data.type == "ValueError"
    assert len(data.message) == 2_000
    assert len(data.traceback) <= 16_000
    assert "in inner" in as_data(_raised()).traceback
    assert as_data(Mute()).message == "(its text cannot be made: RuntimeError)"


def _raised() -> BaseException:
    def inner() -> None:
        raise ValueError("x")

    try:
        inner()
    except ValueError as error:
        return error
    raise AssertionError


def test_unknown_tasks_wait_for_a_day() -> None:
    waits: list[float] = []
    streak = 0
    while isinstance(settlement := unknown(delivery("x", streak=streak), "x"), Defer):
        waits.append(settlement.delay_s)
        assert settlement.streak == streak + 1
        streak = settlement.streak
    assert waits[:7] == [10, 20, 40, 80, 160, 300, 300]
    assert 86_400 <= sum(waits) <= 86_400 + 300
    assert isinstance(settlement, Dead)
    assert (settlement.cause, settlement.spent) == (Cause.UNKNOWN_TASK, False)


def test_numbers_of_a_call_and_code_of_its_task() -> None:
    spec = spec_of(work, retry=Retry(attempts=9, on=(OSError,), delay=lambda runs, error: 77.0))
    body = b'{"v":1,"task":"work","retry":%s,"timeout_s":3,"ttl_s":4}'
    plain = run_of(spec, body=body % b'{"attempts":2}')
    assert (plain.retry.attempts, plain.retry.on, plain.timeout_s, plain.result_ttl_s) == (
        2,
        (OSError,),
        3.0,
        4.0,
    )
    assert plain.retry.delay is not None
    formula = run_of(spec, body=body % b'{"base":5}')
    assert formula.retry.delay is None
    assert formula.retry.wait_s(1, OSError(), 0.0) == 5.0


def test_the_logger_of_a_rejected_job(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        failed(run_of(SPEC), Reject("secret"))
    assert "was rejected by its task" in caplog.text
    assert "secret" not in caplog.records[0].getMessage()
