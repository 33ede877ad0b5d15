"""What a server's settings mean for the jobs on it, found when a broker is opened.

Sources: redis.io on eviction policies, on persistence (appendfsync), and on INFO; fields are those of Redis 6.2 to 8
and of Valkey, which says its own version beside the one of Redis that it is compatible with.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

from penstock.brokers.redis.link import Link
from penstock.brokers.redis.scripts import Command
from penstock.errors import BrokerMisconfigured

_OLDEST: Final = (6, 2)
_MOST_OFFSET_S: Final = 1.0


async def check_server(link: Link, shown: str) -> list[str]:
    """Warnings on the server's settings, a line each.

    Args:
        link: A connection to it.
        shown: Its address, without user and password.

    Raises:
        BrokerMisconfigured: It is too old, or would drop jobs when its memory is full.
        BrokerUnavailable: It does not answer, or is still loading.
    """
    sent_at = time.time()
    # EXISTS is refused while a server loads its data; INFO is not.
    replies = await link.call(
        [
            Command((b"TIME",)),
            Command((b"EXISTS", b"penstock")),
        ]
    )
    round_trip_s = time.time() - sent_at
    clock = int(replies[0][0]) + int(replies[0][1]) / 1e6
    info, save, fsync = await link.ask(
        [
            Command((b"INFO",)),
            Command((b"CONFIG", b"GET", b"save")),
            Command((b"CONFIG", b"GET", b"appendfsync")),
        ]
    )
    warnings: list[str] = []
    if isinstance(info, bytes):
        facts = _facts(info)
        _refuse(facts, shown)
        warnings += _of_facts(facts, shown, _setting(save), _setting(fsync))
    else:
        warnings.append(
            f"{shown}: this user may not call INFO, so version, eviction and persistence were not checked"
        )
    offset_s = clock - (sent_at + round_trip_s / 2)
    if abs(offset_s) > _MOST_OFFSET_S + round_trip_s / 2:
        warnings.append(
            f"{shown}: its clock is {abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} this machine's; "
            "delays and expiries follow the server's"
        )
    return warnings


def _facts(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def _setting(reply: Any) -> str | None:
    """A setting's value; None where CONFIG was refused or does not know it."""
    return None if isinstance(reply, Exception) or not reply else reply[1].decode()


def _refuse(facts: Mapping[str, str], shown: str) -> None:
    version = facts.get("redis_version", "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST:
        raise BrokerMisconfigured(
            f"{shown}: Redis {version} is too old; Penstock needs 6.2 or later, or Valkey"
        )
    policy = facts.get("maxmemory_policy", "noeviction")
    if int(facts.get("maxmemory", "0")) > 0 and policy != "noeviction":
        raise BrokerMisconfigured(
            f"{shown}: it would drop jobs when its memory is full (maxmemory-policy {policy}); "
            "set maxmemory-policy noeviction, or use a server of its own for jobs"
        )


def _of_facts(facts: Mapping[str, str], shown: str, save: str | None, fsync: str | None) -> list[str]:
    warnings: list[str] = []
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"{shown}: maxmemory-policy is {policy}; as soon as maxmemory is set it drops jobs: use noeviction"
        )
    if facts.get("aof_enabled") == "1":
        if fsync is None:
            warnings.append(f"{shown}: CONFIG is not allowed here, so appendfsync was not checked")
        elif fsync != "always":
            warnings.append(
                f"{shown}: appendfsync is {fsync}: a crash of the server can lose about the last 2 s of acknowledged "
                "jobs; appendfsync always loses none"
            )
    elif save is None:
        warnings.append(
            f"{shown}: no append-only file, and CONFIG is not allowed here, so snapshots were not checked: a restart "
            "of the server loses at least the jobs since the last one"
        )
    elif save == "":
        warnings.append(
            f"{shown}: it keeps nothing on disk: a restart of the server loses all jobs; set appendonly yes"
        )
    else:
        warnings.append(
            f"{shown}: it keeps snapshots only (save {save}): a restart of the server loses the jobs since the last "
            "one; set appendonly yes"
        )
    if facts.get("redis_mode") == "cluster":
        warnings.append(f"{shown}: it is part of a Cluster, which this Penstock does not support yet")
    return warnings
