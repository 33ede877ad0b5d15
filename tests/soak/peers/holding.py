"""Whether a job is still anywhere in a broker, whichever library's: what it holds is looked through for the job's key.

Values are looked at as they stand, and with what a library may have packed inside: base64 (Celery) and zlib (RQ).
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from typing import Any

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
# Ids in the names of keys say nothing to a reader.
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}")
# Keys that remember what has run, or is said to have.
_RESULTS = re.compile(r"finished|:results|\.r\.|\.ended|:ends")


def unpacked(value: bytes) -> Iterator[bytes]:
    """A value, and whatever is packed in it."""
    yield value
    for found in _BASE64.findall(value):
        try:
            yield base64.b64decode(found)
        except binascii.Error:
            continue
    try:
        yield zlib.decompress(value)
    except zlib.error:
        return


def _elements(redis: Any, key: bytes, kind: bytes) -> Iterator[bytes]:
    match kind:
        case b"string":
            yield redis.get(key) or b""
        case b"list":
            yield from redis.lrange(key, 0, -1)
        case b"set":
            yield from redis.smembers(key)
        case b"zset":
            yield from redis.zrange(key, 0, -1)
        case b"hash":
            for field, value in redis.hgetall(key).items():
                yield field
                yield value
        case b"stream":
            yield from _outstanding(redis, key)
        case _:
            return


def _outstanding(redis: Any, key: bytes) -> Iterator[bytes]:
    """The entries of a stream that are still to be run: not given out, or not acknowledged. Others stay in it."""
    groups = redis.xinfo_groups(key)
    if not groups:
        yield from (b"".join(fields.values()) for _, fields in redis.xrange(key))
    for group in groups:
        pending = {each["message_id"] for each in redis.xpending_range(key, group["name"], "-", "+", 10_000)}
        last = _order(group["last-delivered-id"])
        for id, fields in redis.xrange(key):
            if id in pending or _order(id) > last:
                yield b"".join(fields.values())


def _order(id: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in id.split(b"-"))


def held(redis: Any, wanted: set[str]) -> dict[str, set[str]]:
    """Where each of these words is found, by the name of the key; a word that is nowhere is not in it."""
    found: dict[str, set[str]] = {}
    for key in redis.scan_iter("*"):
        name = _ID.sub("ID", key.decode(errors="replace"))
        if _RESULTS.search(name):
            continue
        for value in _elements(redis, key, redis.type(key)):
            for piece in unpacked(value):
                for word in wanted:
                    if word.encode() in piece:
                        found.setdefault(word, set()).add(name)
    return found


def sizes(redis: Any) -> dict[str, int]:
    """How many elements each key has, ids in names left out, for who wants to know more."""
    counted: dict[str, int] = {}
    size = {b"list": "llen", b"set": "scard", b"zset": "zcard", b"hash": "hlen", b"stream": "xlen"}
    for key in redis.scan_iter("*"):
        name, kind = _ID.sub("ID", key.decode(errors="replace")), redis.type(key)
        counted[name] = counted.get(name, 0) + (getattr(redis, size[kind])(key) if kind in size else 1)
    return counted
