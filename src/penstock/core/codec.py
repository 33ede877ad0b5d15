"""The envelope: how a call is written in a job's body. JSON, so that redis-cli, psql and other languages read it.

    {"v":1,"task":"tasks.send","args":[1,"a@b.c"],"at":1763820000.5}

Optional: ``kwargs`` (object), ``headers`` (object of strings), ``tags`` (array), ``group`` (a tenant), ``retry`` (the
numbers of a policy), ``timeout_s``, ``ttl_s`` (how long the result is kept). Unknown fields are ignored, so that a
newer producer may write to an older worker; a greater ``v`` is not understood and quarantined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.core.job import JobError
from penstock.errors import PenstockError

VERSION: Final = 1
# Arguments stay undecoded until the task is known: its annotations say what they become.
NO_ARGS: Final = msgspec.Raw(b"[]")
NO_KWARGS: Final = msgspec.Raw(b"{}")
_REASON_LENGTH: Final = 300


class Undecodable(PenstockError):
    """A body is not an envelope that this version can read; the text says why, without quoting the body."""


class Envelope(msgspec.Struct, omit_defaults=True, gc=False):
    """What a producer wrote. See the module's text for each field."""

    v: int
    task: str
    args: msgspec.Raw = NO_ARGS
    kwargs: msgspec.Raw = NO_KWARGS
    at: float = 0.0
    headers: dict[str, str] = {}
    tags: list[str] = []
    group: str | None = None
    retry: dict[str, float | int | None] | None = None
    timeout_s: float | None = None
    ttl_s: float | None = None


_decoder = msgspec.json.Decoder(Envelope)
encode_envelope: Callable[[Envelope], bytes] = msgspec.json.Encoder().encode


def decode_envelope(body: bytes) -> Envelope:
    """The call that ``body`` carries.

    Raises:
        Undecodable: It is not JSON, not an envelope, or of a newer version.
    """
    try:
        envelope = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"{type(error).__name__}: {error}"[:_REASON_LENGTH]) from error
    if envelope.v != VERSION:
        raise Undecodable(f"envelope version {envelope.v}; this Penstock reads {VERSION}"[:_REASON_LENGTH])
    return envelope


_error_encoder = msgspec.json.Encoder()
_error_decoder = msgspec.json.Decoder(JobError)


def encode_error(error: JobError) -> bytes:
    """An error as a broker stores it."""
    return _error_encoder.encode(error)


def decode_error(data: bytes) -> JobError:
    """An error as it was stored; one that cannot be read is shown as it stands."""
    try:
        return _error_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        return JobError("Unreadable", f"{error}: {data[:200]!r}")
