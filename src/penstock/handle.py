"""A job as its caller holds it: where it stands, what came of it, and how to stop it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

import msgspec

from penstock.core.codec import Envelope, Undecodable, decode_envelope
from penstock.core.job import DEFERRED, JobRecord
from penstock.core.job import JobError as StoredError
from penstock.core.lifecycle import ENDED, JobState
from penstock.core.options import seconds
from penstock.core.settlement import UNKNOWN_TASK
from penstock.core.spec import ResultRefused
from penstock.errors import (
    BrokerError,
    BrokerUnavailable,
    ConfigError,
    JobCancelled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    PenstockError,
    ResultTimeout,
)
from penstock.ports.inspector import Cancelling, Inspector
from penstock.producer import pauses
from penstock.runtime.run import current

if TYPE_CHECKING:
    from penstock.app import Penstock
    from penstock.core.spec import TaskSpec

R_co = TypeVar("R_co", covariant=True)

# One look of a wait without end; what is waited for is looked at again behind it.
_LOOK_S: Final = 3600.0
# Who has waited for so long is told where the queue is paused.
_PAUSES_AFTER_S: Final = 0.1
# What the broker may take to answer, beyond the wait that it was asked for.
_ANSWER_S: Final = 0.5


class JobProgress(msgspec.Struct, frozen=True):
    """How far a job said it is.

    Attributes:
        done: How much is done.
        total: Of how much, None where the job did not say.
        note: Its words.
    """

    done: float
    total: float | None = None
    note: str = ""


_progress_decoder = msgspec.json.Decoder(JobProgress)


class JobHandle(Generic[R_co]):
    """One enqueued job.

    Attributes:
        id: The job's id, with its queue: ``mail:0193...``.
        added: False where a job of this ``job_id`` was stored already and this call added nothing.
    """

    __slots__ = ("_app", "_spec", "added", "id")

    def __init__(self, app: Penstock, id: str, spec: TaskSpec | None = None, added: bool = True) -> None:
        self._app = app
        self._spec = spec
        self.id: str = id
        self.added: bool = added

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # --- blocking

    def status(self) -> JobState:
        """Where the job stands.

        Raises:
            JobNotFound: Nothing is stored under this id (any more).
            PenstockError: Called on a running event loop; use ``astatus``.
        """
        self._not_on_a_loop("status", "astatus")
        return self._app.call(self.astatus())

    def result(self, timeout: float | timedelta | None = None, *, allow_wait: bool = False) -> R_co:
        """Waits for the job and returns what its task returned.

        Args:
            timeout: Seconds (or a timedelta) to wait at the most; None waits until it ends.
            allow_wait: Allows waiting inside a task. A pool whose slots all wait for jobs behind them never ends.

        Raises:
            JobFailed: It is in the dead set or quarantined; the remote error is in its attributes.
            JobCancelled: It was cancelled.
            JobExpired: It was not started in time.
            ResultTimeout: It has not ended in ``timeout``, or the broker was away; the text says where it stands.
            BrokerUnavailable: Without a ``timeout``: the broker has not answered for ``enqueue_timeout``.
            JobNotFound: Nothing is stored under this id (any more).
            JobError: It succeeded, and returned what its task's return annotation does not allow.
            ConfigError: Its task keeps no results (``result_ttl=0``), or ``timeout`` is no duration.
            PenstockError: Called on a running event loop, or inside a task without ``allow_wait``.
        """
        self._not_on_a_loop("result", "aresult")
        self._may_wait(allow_wait)
        return self._app.call(self._result(_timeout_s(timeout)))

    def cancel(self) -> bool:
        """Cancels the job: one that waits at once, one that runs is asked to end.

        Returns whether there was one to cancel; what became of it shows ``status()``.

        Raises:
            PenstockError: Called on a running event loop; use ``acancel``.
        """
        self._not_on_a_loop("cancel", "acancel")
        return self._app.call(self.acancel())

    def progress(self) -> JobProgress | None:
        """What the job last said with ``current_job().progress(...)``; None where it said nothing."""
        self._not_on_a_loop("progress", "aprogress")
        return self._app.call(self.aprogress())

    # --- async

    async def astatus(self) -> JobState:
        """``status`` for async callers."""
        return (await self._record()).state

    async def aresult(self, timeout: float | timedelta | None = None, *, allow_wait: bool = False) -> R_co:
        """``result`` for async callers."""
        self._may_wait(allow_wait)
        return await self._result(_timeout_s(timeout))

    async def acancel(self) -> bool:
        """``cancel`` for async callers."""
        inspector = await self._app.inspector()
        return bool(await inspector.change([self.id], Cancelling()))

    async def aprogress(self) -> JobProgress | None:
        """``progress`` for async callers."""
        data = (await self._record()).progress
        return None if data is None else _progress_decoder.decode(data)

    # --- inside

    def _not_on_a_loop(self, name: str, twin: str) -> None:
        if _on_a_loop():
            raise PenstockError(f"{name}() would stop the running event loop; use: await job.{twin}()")

    def _may_wait(self, allow_wait: bool) -> None:
        if self._spec is not None and self._spec.result_ttl_s <= 0:
            raise ConfigError(f"task {self._spec.name} keeps no results (result_ttl=0)")
        if not allow_wait and current.get(None) is not None:
            raise PenstockError(
                "result() inside a task: a pool whose slots all wait for jobs behind them never ends; "
                "enqueue what follows instead, or say result(allow_wait=True)"
            )

    def _gone(self) -> JobNotFound:
        return JobNotFound(
            f"no job {self.id} is stored: it ended and its state was let go (result_ttl), or it never was"
        )

    async def _record(self) -> JobRecord:
        record = await (await self._app.inspector()).get(self.id)
        if record is None:
            raise self._gone()
        return record

    async def _result(self, timeout_s: float | None) -> R_co:
        mono_until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            record = await self._waited(mono_until, timeout_s)
            if record is None:
                raise self._gone()
            if record.state in ENDED:
                return self._value(record)
            if mono_until is not None and time.monotonic() >= mono_until:
                hint = await self._hint(record, timeout_s or 0.0)
                raise ResultTimeout(
                    f"job {self.id} has not ended in {timeout_s:g} s: {self._stands(record)}{hint}"
                )

    async def _waited(self, mono_until: float | None, timeout_s: float | None) -> JobRecord | None:
        """Waits in the broker for the job's end; where the broker does not answer, looks again in a while.

        Returns after ``_LOOK_S`` at the latest, and as soon as a broker that was away answers again.
        """
        wait_s = _LOOK_S if mono_until is None else min(max(mono_until - time.monotonic(), 0.0), _LOOK_S)
        mono_patient, waits = mono_until, pauses()
        inspector: Inspector | None = None
        while True:
            try:
                async with asyncio.timeout(_answer_s(mono_patient)):
                    inspector = inspector or await self._app.inspector()
                    return await inspector.wait(self.id, wait_s)
            except (BrokerUnavailable, TimeoutError) as error:
                if mono_patient is None:
                    # Opening a broker has taken so long already.
                    patience_s = 0.0 if inspector is None else self._app.settings["enqueue_timeout"]
                    mono_patient = time.monotonic() + patience_s
                pause_s = next(waits)
                if time.monotonic() + pause_s >= mono_patient:
                    raise self._unanswered(error, timeout_s) from error
            await asyncio.sleep(pause_s)
            wait_s = 0.0

    def _unanswered(self, error: BrokerUnavailable | TimeoutError, timeout_s: float | None) -> Exception:
        """What to tell of a broker that did not answer; one that hangs has no words of its own."""
        words = str(error) or "it is silent"
        if timeout_s is None:
            return BrokerUnavailable(f"job {self.id}: the broker gives no answer: {words}")
        return ResultTimeout(f"job {self.id}: the broker gave no answer within {timeout_s:g} s: {words}")

    async def _hint(self, record: JobRecord, waited_s: float) -> str:
        """What to do where a job waits for a worker that does not exist, as most do, or for a pause to end."""
        if record.state not in (JobState.READY, JobState.SCHEDULED):
            return ""
        try:
            async with asyncio.timeout(_ANSWER_S):
                inspector = await self._app.inspector()
                workers = await inspector.workers()
                # All queues are counted for it, which is too much for who asks again and again.
                queues = await inspector.queues() if waited_s >= _PAUSES_AFTER_S else ()
        except (BrokerError, TimeoutError):  # a hint is not worth waiting for
            return ""
        hint = ""
        if any(each.paused for each in queues if each.queue == record.queue):
            hint = f"; queue {record.queue!r} is paused"
            if not self._app.in_process:  # where no command reaches it
                hint += f", resume it: penstock -A ... resume {record.queue}"
        if record.state is JobState.READY and not any(record.queue in card.queues for card in workers):
            hint += self._nobody(record.queue)
        return hint

    def _nobody(self, queue: str) -> str:
        if self._app.in_process:
            return (
                f"; no worker in this process serves queue {queue!r}, and no other can: memory:// is not "
                "shared, for a worker of its own use sqlite:// or redis://"
            )
        return f"; no worker serves queue {queue!r}, start one: penstock -A ... worker -Q {queue}"

    def _value(self, record: JobRecord) -> R_co:
        envelope = _envelope(record)
        spec = self._spec or (None if envelope is None else self._app.tasks.get(envelope.task))
        if record.state is JobState.SUCCEEDED:
            if spec is not None:
                return self._read(spec, record.result)
            return None if record.result is None else msgspec.json.decode(record.result)  # type: ignore[return-value]
        _raise_end(record)

    def _read(self, spec: TaskSpec, result: bytes | None) -> R_co:
        try:
            return spec.decode_result(result)  # type: ignore[no-any-return]  # typed by the annotation
        except ResultRefused as error:
            raise JobError(
                f"job {self.id} succeeded, but what {spec.name} returned is {error}; correct its return annotation or "
                f"what it returns (penstock job {self.id} shows it)"
            ) from None

    def _stands(self, record: JobRecord) -> str:
        envelope = _envelope(record)
        spec = self._spec or (None if envelope is None else self._app.tasks.get(envelope.task))
        most = None if spec is None else spec.retry.attempts
        if envelope is not None and envelope.retry is not None:
            most = int(envelope.retry.get("attempts") or most or 0)
        said = f"attempt {record.attempt + 1}" + (f" of {most}" if most else "")
        match record.state:
            case JobState.SCHEDULED:
                said += f" in {max(record.due_at - time.time(), 0):.0f} s"
            case JobState.RUNNING:
                said += " is running"
            case _:
                said += " waits for a worker"
        return said + (_last(record.error) if record.error else "")


def _last(error: StoredError) -> str:
    """What stands between the job and its end, in words."""
    if error.type != DEFERRED:
        return f", last error {error.type}"
    name = error.message.removeprefix(UNKNOWN_TASK)
    if name != error.message:
        return f"; the worker that took it knows no task {name}: start one whose application defines it"
    return f", put off by RetryLater: {error.message}"


def _timeout_s(timeout: float | timedelta | None) -> float | None:
    return None if timeout is None else seconds("result(timeout=...)", timeout)


def _answer_s(mono_until: float | None) -> float | None:
    """Seconds that one call to the broker may take: what is left, and a little for the answer itself."""
    return None if mono_until is None else max(mono_until - time.monotonic(), 0.0) + _ANSWER_S


def _on_a_loop() -> bool:
    return asyncio._get_running_loop() is not None


def _envelope(record: JobRecord) -> Envelope | None:
    try:
        return decode_envelope(record.body)
    except Undecodable:
        return None


def _raise_end(record: JobRecord) -> NoReturn:
    match record.state:
        case JobState.CANCELLED:
            raise JobCancelled(f"job {record.id} was cancelled")
        case JobState.EXPIRED:
            raise JobExpired(f"job {record.id} was not started before its expiry")
        case _:
            error = record.error
            kind, text = (error.type, error.message) if error else ("Unknown", "")
            raise JobFailed(
                f"job {record.id} failed ({record.cause or record.state}): {kind}: {text}",
                cause=record.cause or str(record.state),
                error_type=kind,
                error_message=text,
                remote_traceback=error.traceback if error else "",
            )


def untyped(app: Penstock, id: str) -> JobHandle[Any]:
    """A handle for an id from elsewhere."""
    return JobHandle(app, id)
