from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.codec import (
    NO_ARGS,
    NO_KWARGS,
    VERSION,
    Envelope,
    Undecodable,
    decode_envelope,
    decode_error,
    encode_envelope,
    encode_error,
)
from penstock.core.job import JobError

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
    max_leaves=12,
)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_the_body_is_the_documented_json() -> None:
    envelope = Envelope(1, "tasks.send", raw([1, "a@b.c"]), at=1763820000.5)
    assert encode_envelope(envelope) == b'{"v":1,"task":"tasks.send","args":[1, "a@b.c"],"at":1763820000.5}'


def test_the_smallest_body() -> None:
    envelope = decode_envelope(b'{"v":1,"task":"t"}')
    assert envelope == Envelope(1, "t")
    assert (
        (bytes(envelope.args), bytes(envelope.kwargs)) == (bytes(NO_ARGS), bytes(NO_KWARGS)) == (b"[]", b"{}")
    )
    assert (envelope.at, envelope.headers, envelope.tags, envelope.group) == (0.0, {}, [], None)


@given(
    args=st.lists(_json, max_size=4),
    kwargs=st.dictionaries(st.text(), _json, max_size=3),
    task=st.text(min_size=1),
    headers=st.dictionaries(st.text(), st.text(), max_size=3),
    tags=st.lists(st.text(), max_size=3),
    group=st.none() | st.text(),
    at=st.floats(0, 1e11),
)
def test_what_is_written_reads_back(
    args: list[object],
    kwargs: dict[str, object],
    task: str,
    headers: dict[str, str],
    tags: list[str],
    group: str | None,
    at: float,
) -> None:
    written = Envelope(
        VERSION,
        task,
        raw(args),
        raw(kwargs),
        at,
        headers,
        tags,
        group,
        {"attempts": 3, "within": None},
        5.0,
        60.0,
    )
    read = decode_envelope(encode_envelope(written))
    assert (json.loads(bytes(read.args)), json.loads(bytes(read.kwargs))) == (args, kwargs)
    assert (read.task, read.headers, read.tags, read.group, read.at) == (task, headers, tags, group, at)
    assert (read.retry, read.timeout_s, read.ttl_s) == ({"attempts": 3, "within": None}, 5.0, 60.0)


def test_a_newer_producers_fields_are_ignored() -> None:
    assert decode_envelope(b'{"v":1,"task":"t","later":{"a":[1]},"args":[]}').task == "t"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\xff\xfe",
        b"hello",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"v":1}',
        b'{"task":"t"}',
        b'{"v":"1","task":"t"}',
        b'{"v":1,"task":7}',
        b'{"v":1,"task":"t"',
        b'{"v":1,"task":"t"} trailing',
        b'{"v":1,"task":"t","headers":{"a":1}}',
        b'{"v":1,"task":"t","tags":"a"}',
        b'{"v":1,"task":"t","at":"now"}',
        b'{"v":1,"task":"\xff\xfe"}',
        b'{"v":' + b"9" * 400 + b',"task":"t"}',
        b"[" * 100_000,
        b'{"v":1,"task":"t","args":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_envelope_is_undecodable(body: bytes) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_envelope(body)
    assert 0 < len(str(caught.value)) <= 300


@pytest.mark.parametrize("version", [0, 2, -1, 99])
def test_another_version_is_undecodable(version: int) -> None:
    with pytest.raises(Undecodable, match=f"envelope version {version}; this Penstock reads 1"):
        decode_envelope(json.dumps({"v": version, "task": "t"}).encode())


@given(st.binary())
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with contextlib.suppress(Undecodable):
        assert decode_envelope(body).v == VERSION


@given(st.text(), st.text(), st.text())
def test_errors_read_back(kind: str, message: str, traceback: str) -> None:
    error = JobError(kind, message, traceback)
    assert decode_error(encode_error(error)) == error


@pytest.mark.parametrize(
    "data", [b"", b"x" * 500, b"[]", b'{"type":1}', b'{"message":"no type"}', b'{"type":"\xff"}']
)
def test_an_unreadable_error_is_shown_as_it_stands(data: bytes) -> None:
    error = decode_error(data)
    assert error.type == "Unreadable"
    assert repr(data[:200]) in error.message
