"""From how a run ended to the settlement that the broker carries out. No I/O: log lines and a value."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
import traceback
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final

from penstock.core.job import Delivery, JobError, plain_text
from penstock.core.retry import Reject, RetryLater
from penstock.core.settlement import (
    UNKNOWN_TASK,
    Again,
    Cancelled,
    Cause,
    Dead,
    Defer,
    Done,
    Release,
    Settlement,
)
from penstock.core.spec import NONE_TTL_S, ResultRefused
from penstock.errors import LeaseLost, PenstockError
from penstock.runtime.run import Ask, Run

log: logging.Logger = logging.getLogger("penstock.worker")

_MESSAGE_LENGTH: Final = 2_000
_NAME_LENGTH: Final = 300
_TRACEBACK_LENGTH: Final = 16_000
_OWN_FILES: Final = tuple(str(Path(__file__).parents[1] / room) + os.sep for room in ("runtime", "compat"))
UNKNOWN_FIRST_WAIT_S: Final = 10.0
UNKNOWN_LONGEST_WAIT_S: Final = 300.0
UNKNOWN_FOR_S: Final = 86_400.0


class TimedOut(PenstockError, TimeoutError):
    """A run exceeded its task's timeout. It counts as an attempt like any error and is retried like one."""


def not_begun(run: Run) -> Settlement:
    """The settlement of a run that was asked to end before it began."""
    return Cancelled(run.delivery) if run.ask is Ask.CANCEL else Release(run.delivery)


def succeeded(run: Run, value: object) -> Settlement:
    """The settlement of a run that returned ``value``."""
    if run.ask is Ask.CANCEL and run.noticed:
        return Cancelled(run.delivery)
    if run.ask is Ask.TIMEOUT and run.noticed:
        return failed(run, _timed_out(run))
    ttl_s = run.result_ttl_s
    if ttl_s <= 0:
        return Done(run.delivery)
    try:
        raw = run.spec.encode_result(value, run.home.max_result)
    except ResultRefused as error:
        log.error("job %s of %s: its result cannot be stored (%s); see: %s job %s", run.delivery.id,
                  run.spec.name, error, run.home.shell, run.delivery.id)  # fmt: skip
        return Dead(run.delivery, JobError("ResultRefused", str(error)[:_MESSAGE_LENGTH]), Cause.RESULT)
    return Done(run.delivery, raw, min(ttl_s, NONE_TTL_S) if raw is None else ttl_s)


def failed(run: Run, error: BaseException) -> Settlement:
    """The settlement of a run that ended in ``error``."""
    delivery = run.delivery
    asked = run.ask
    trim(error)
    if isinstance(error, asyncio.CancelledError | LeaseLost) and asked is not None:
        if asked is Ask.CANCEL:
            return Cancelled(delivery)
        if asked is Ask.STOP or asked is Ask.LOST:
            return Release(delivery)
        error = _timed_out(run)
    elif isinstance(error, asyncio.CancelledError):
        # Cancelled by its own code; as an Exception it is retried like any other error.
        error = PenstockError("the coroutine was cancelled by its own code").with_traceback(
            error.__traceback__
        )
    elif asked is Ask.TIMEOUT and run.noticed:
        error = _timed_out(run)
    if run.home.keep_errors:
        run.error = error
    match error:
        case RetryLater():
            return Defer(delivery, error.delay_s, plain_text(str(error))[:_MESSAGE_LENGTH])
        case Reject():
            log.warning(
                "job %s of %s was rejected by its task; it is in the dead set", delivery.id, run.spec.name
            )
            return Dead(delivery, as_data(error), Cause.REJECTED)
        case _:
            return _again_or_dead(run, error)


def trim(error: BaseException) -> None:
    """Takes the frames of the worker out of its traceback, where others follow: the reader wants the task's."""
    for each in (error, error.__context__):  # the job's own error, where closing its resources failed too
        if each is not None:
            each.__traceback__ = _others(each.__traceback__)


def _others(frames: TracebackType | None) -> TracebackType | None:
    """Without the worker's own frames that stand before others, on top and between middleware."""
    kept: list[TracebackType] = []
    own: list[TracebackType] = []
    while frames is not None:
        if frames.tb_frame.f_code.co_filename.startswith(_OWN_FILES):
            own.append(frames)
        else:
            own.clear()
            kept.append(frames)
        frames = frames.tb_next
    kept += own  # the error is Penstock's, or began there
    for before, after in pairwise(kept):
        if before.tb_next is not after:
            before.tb_next = after
    return kept[0] if kept else None


def _again_or_dead(run: Run, error: BaseException) -> Settlement:
    delivery, retry = run.delivery, run.retry
    runs = delivery.attempt + 1
    kind = type(error).__name__
    try:
        wait_s = retry.next_wait_s(runs, error, _age_s(run), random.random())
    except Exception:
        log.exception(
            "job %s of %s: Retry(delay=...) failed; the job goes to the dead set", delivery.id, run.spec.name
        )
        wait_s = None
    if wait_s is None:
        log.error("job %s of %s failed for good: %s in attempt %d of %d; "
                  "see: %s job %s; again: %s retry %s",
                  delivery.id, run.spec.name, kind, runs, retry.attempts, run.home.shell, delivery.id,
                  run.home.shell, delivery.id,
                  exc_info=error)  # fmt: skip
        cause = Cause.TIMEOUT if isinstance(error, TimedOut) else Cause.ERROR
        return Dead(delivery, as_data(error), cause)
    if delivery.attempt == 0:
        log.warning("job %s of %s failed: %s in attempt 1 of %d. It runs again in %s and up to %d times more; "
                    "to stop it: %s cancel %s, or retry=False on its task",
                    delivery.id, run.spec.name, kind, retry.attempts, _words(wait_s), retry.attempts - 1,
                    run.home.shell, delivery.id,
                    exc_info=error)  # fmt: skip
    else:
        log.warning("job %s of %s failed: %s in attempt %d of %d. It runs again in %s",
                    delivery.id, run.spec.name, kind, runs, retry.attempts, _words(wait_s))  # fmt: skip
    return Again(delivery, wait_s, as_data(error))


def _age_s(run: Run) -> float:
    """Seconds since the job was enqueued, or since an operator retried it."""
    return time.time() - (run.delivery.retried_at or run.envelope.at)


def _timed_out(run: Run) -> TimedOut:
    return TimedOut(f"{run.spec.name} ran longer than its timeout of {run.timeout_s:g} s")


def as_data(error: BaseException) -> JobError:
    """An error as it is stored: its type's name, its text and its traceback, each bounded."""
    text = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception as failure:
        message = f"(its text cannot be made: {type(failure).__name__})"
    return JobError(
        plain_text(type(error).__qualname__),
        plain_text(message[:_MESSAGE_LENGTH]),
        plain_text(text[-_TRACEBACK_LENGTH:]),
    )


def unknown(delivery: Delivery, name: str) -> Settlement:
    """A task that this worker does not know waits for one that does, 10 s doubling to 5 min, for a day in all."""
    name = plain_text(name[:_NAME_LENGTH])
    streak = delivery.streak
    waited_s = (
        sum(_unknown_wait_s(n) for n in range(min(streak, 6))) + max(0, streak - 6) * UNKNOWN_LONGEST_WAIT_S
    )
    if waited_s >= UNKNOWN_FOR_S:
        error = JobError("UnknownTask", f"no worker knew {name} for {UNKNOWN_FOR_S / 3600:g} hours")
        return Dead(delivery, error, Cause.UNKNOWN_TASK, spent=False)
    return Defer(delivery, _unknown_wait_s(streak), f"{UNKNOWN_TASK}{name}", streak + 1)


def _unknown_wait_s(streak: int) -> float:
    return min(UNKNOWN_FIRST_WAIT_S * 2.0 ** min(streak, 10), UNKNOWN_LONGEST_WAIT_S)


def _words(wait_s: float) -> str:
    if wait_s < 120:
        return f"{wait_s:.1f} s"
    return f"{wait_s / 60:.0f} min" if wait_s < 7200 else f"{wait_s / 3600:.1f} h"
