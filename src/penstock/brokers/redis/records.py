"""A job's record, as it is read from what ``records.lua`` answers."""

from __future__ import annotations

from typing import Any

from penstock.core.codec import decode_error
from penstock.core.job import JobRecord
from penstock.core.lifecycle import JobState


def read_record(id: str, queue: str, raw: list[Any] | None) -> JobRecord | None:
    """What is known of one job."""
    if raw is None:
        return None
    if raw[0] == b"o":
        return read_outcome(id, queue, raw[1])
    state, body, notes, error, progress, moment, claim, consumer, asked, _ = raw
    attempt, crashes, _, _, _, _, expires_at, priority, _ = notes.split()
    record = JobRecord(
        id=id,
        queue=queue,
        state=JobState(state.decode()),
        body=body,
        priority=int(claim[:1] or priority),
        attempt=int(attempt),
        crashes=int(crashes),
        token=int(claim[1:] or 0),
        expires_at=float(expires_at),
        consumer=consumer.decode(),
        cancel_requested=asked != b"",
        progress=progress or None,
    )
    if record.state is JobState.SCHEDULED:
        record.due_at = float(moment)
    elif moment:
        record.ended_at = float(moment)
    if error:
        cause, _, encoded = error.partition(b"\n")
        record.cause = cause.decode()
        record.error = decode_error(encoded)
    return record


def read_outcome(id: str, queue: str, packed: bytes) -> JobRecord:
    """A job that has ended, from its outcome as it is stored."""
    head, _, result = packed.partition(b"\n")
    state, ended_at, _, attempt, crashes, priority, token = head.decode().split()
    return JobRecord(
        id=id,
        queue=queue,
        state=JobState(state),
        priority=int(priority),
        attempt=int(attempt),
        crashes=int(crashes),
        token=int(token),
        ended_at=float(ended_at),
        # A first byte tells a result that is empty from none.
        result=result[1:] if result else None,
    )
