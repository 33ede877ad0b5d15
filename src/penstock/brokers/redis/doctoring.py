"""What ``penstock doctor`` is told of a Redis server: versions, clock, what it keeps, what we may do."""

from __future__ import annotations

import time

from redis.exceptions import OutOfMemoryError, ResponseError

from penstock.brokers.redis.broker import RedisBroker
from penstock.brokers.redis.scripts import Command
from penstock.ports.inspector import Facts

# What the scripts do, on a key that is gone at once.
_MAY_WRITE = b"redis.call('SET', KEYS[1], '', 'PX', 1) return redis.call('DEL', KEYS[1])"


async def examine(broker: RedisBroker) -> Facts:
    """Asks the server; what it refuses to tell is left out, what it refuses to do is a problem."""
    link = broker.link()
    key = f"{{{broker.address.namespace}}}:doctor".encode()
    try:
        wall_before = time.time()
        (now,) = await link.call([Command((b"TIME",))])
        wall_middle = (wall_before + time.time()) / 2
        told, may_write = await link.ask([Command((b"INFO",)), Command((b"EVAL", _MAY_WRITE, 1, key))])
    finally:
        await link.close()
    info = {} if isinstance(told, ResponseError) else _read(told)
    problems = [_refused(may_write)] if isinstance(may_write, ResponseError) else []
    return Facts(
        _server(info),
        int(now[0]) + int(now[1]) / 1e6 - wall_middle,
        [
            ("permissions", _permissions(may_write)),
            *((shown, info[name]) for shown, name in _SHOWN.items() if info.get(name)),
        ],
        problems,
    )


def _permissions(answer: object) -> str:
    if not isinstance(answer, ResponseError):
        return "may run scripts and write"
    return "not known: its memory is full" if _is_full(answer) else "not enough"


def _refused(error: ResponseError) -> str:
    """What a refused write means, and what to do."""
    if _is_full(error):
        return (
            "its memory is full (maxmemory), so it takes no new jobs: raise maxmemory, or let go of jobs (penstock "
            "queues counts them, penstock purge deletes them; a lower result_ttl keeps results for less long)"
        )
    return f"this user may not write: {error}"


def _is_full(error: ResponseError) -> bool:
    # Out of a script, an older server's answer has the words and not the type.
    return isinstance(error, OutOfMemoryError) or "used memory > 'maxmemory'" in str(error)


_SHOWN = {
    "role": "role",
    "memory used": "used_memory_human",
    "memory limit": "maxmemory_human",
    "when full": "maxmemory_policy",
    "append-only file": "aof_enabled",
    "clients": "connected_clients",
}


def _read(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _server(info: dict[str, str]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    mode = info.get("redis_mode", "standalone")
    return f"Redis {info.get('redis_version', '(tells no version)')}" + (
        "" if mode == "standalone" else f", {mode}"
    )
