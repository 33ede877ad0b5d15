"""Looking at what is stored, and acting on it from outside of a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from penstock.brokers.redis.keys import FleetKeys, QueueKeys, first_token
from penstock.brokers.redis.link import Link
from penstock.brokers.redis.records import read_record
from penstock.brokers.redis.scripts import CHANGE, COUNTS, PAGE, PAUSE, RECORDS, Arg, Command, Script
from penstock.core.job import JobRecord, check_queue_name, queue_of
from penstock.core.lifecycle import ENDED, JobState
from penstock.ports.inspector import Cancelling, Change, Page, QueueCounts, Retried

# What one script call looks at or changes: a long script stops everybody.
_STEP_JOBS: Final = 200
_SETS: Final = {JobState.SCHEDULED: "due", JobState.FAILED: "dead", JobState.QUARANTINED: "odd"}


class Watched(NamedTuple):
    """A job that somebody waits for, and the least token under which it can end from now on.

    The least token tells its end from that of a former job of the same id, which may be heard of late.
    """

    record: JobRecord | None
    least_token: int


class Inspection:
    """The calls of those who look into queues."""

    def __init__(self, fleet: FleetKeys, link: Link, keys: Callable[[str], QueueKeys]) -> None:
        self._fleet = fleet
        self._link = link
        self._keys = keys
        # Who had a lease on a queue when last asked: most often still right, and the scripts say where it is not.
        self._consumers: dict[str, list[bytes]] = {}

    async def queues(self, shift_s: float) -> list[QueueCounts]:
        """See ``Inspector.queues``."""
        (names,) = await self._link.call([Command((b"SMEMBERS", self._fleet.queues))])
        queues = sorted(name.decode() for name in names)
        replies = await self._link.call(
            [COUNTS.call(self._keys(queue).nobody, (shift_s,)) for queue in queues]
        )
        # Redis knows no booleans.
        told: list[list[Any]] = [[*reply[:-1], reply[-1] == 1] for reply in replies]
        counts = [QueueCounts(queue, *reply) for queue, reply in zip(queues, told, strict=True)]
        return [each for each in counts if each.enqueued_total or each.paused]

    async def pause(self, queues: Sequence[str], paused: bool, shift_s: float) -> list[str]:
        """See ``Inspector.pause`` and ``Inspector.resume``; the queues of which that is news."""
        named = [check_queue_name(name) for name in dict.fromkeys(queues)]
        if not named:
            return []
        if paused:
            # Whatever this process remembers: a queue may be paused before it has ever held a job.
            await self._link.call([Command((b"SADD", self._fleet.queues, *named))])
        args = (shift_s, int(paused))
        replies = await self._link.call([PAUSE.call(self._keys(queue).nobody, args) for queue in named])
        return [queue for queue, changed in zip(named, replies, strict=True) if changed == 1]

    async def records(self, queue: str, ids: Sequence[str], shift_s: float) -> list[JobRecord | None]:
        """What is known of jobs of one queue."""
        reply = await self._located(RECORDS, queue, ids, (shift_s, ""))
        return [read_record(id, queue, raw) for id, raw in zip(ids, reply, strict=True)]

    async def watch(self, id: str, inbox: str, shift_s: float) -> Watched:
        """What is known of a job; unless it has ended, the inbox will hear of its end."""
        queue = queue_of(id)
        (raw,) = await self._located(RECORDS, queue, [id], (shift_s, inbox))
        record = read_record(id, queue, raw)
        if record is None or record.state in ENDED:
            return Watched(record, 0)
        # A job that does not run yet ends under a claim that is still to be drawn.
        return Watched(record, record.token or first_token(int(raw[9]) + 1))

    async def change(self, ids: Sequence[str], change: Change, shift_s: float) -> list[str]:
        """See ``Inspector.change``."""
        verb = (
            "retry"
            if isinstance(change, Retried)
            else "cancel"
            if isinstance(change, Cancelling)
            else "delete"
        )
        keep_s = change.ttl_s if isinstance(change, Cancelling) else 0.0
        queues: dict[str, list[str]] = {}
        for id in ids:
            queues.setdefault(queue_of(id), []).append(id)
        applied: set[str] = set()
        for queue, of_queue in queues.items():
            for start in range(0, len(of_queue), _STEP_JOBS):
                part = of_queue[start : start + _STEP_JOBS]
                reply = await self._located(CHANGE, queue, part, (shift_s, verb, keep_s))
                applied.update(id.decode() for id in reply[1])
        return [id for id in dict.fromkeys(ids) if id in applied]

    async def _located(
        self, script: Script, queue: str, ids: Sequence[str], args: tuple[Arg, ...]
    ) -> list[Any]:
        """Calls a script that must be told who may hold the jobs; it names those who were not told."""
        keys = self._keys(queue)
        outcomes = tuple(keys.outcome(id) for id in ids)
        while True:
            consumers = self._consumers.get(queue, [])
            claims = tuple(keys.held(consumer.decode()) for consumer in consumers)
            names = (*keys.nobody, *outcomes, *claims)
            reply: list[Any] = (
                await self._link.call([script.call(names, (*args, len(ids), *ids, *consumers))])
            )[0]
            if not (reply and reply[0] == b"consumers"):
                return reply
            self._consumers[queue] = reply[1:]

    async def scan(self, queue: str, state: JobState, cursor: str | None, limit: int, shift_s: float) -> Page:
        """See ``Inspector.scan``."""
        limit = min(limit, _STEP_JOBS)
        if state is JobState.READY:
            ids, after = await self._ready(queue, cursor, limit)
        elif state is JobState.RUNNING:
            ids, after = await self._running(queue, cursor, limit)
        elif state in _SETS:
            ids, after = await self._sorted(self._keys(queue).named(_SETS[state]), cursor, limit)
        else:
            return Page([], None)
        # An entry may be there twice where its job was taken anew; and a job may have moved since.
        unique = list(dict.fromkeys(ids))
        found = await self.records(queue, unique, shift_s) if unique else []
        return Page([record for record in found if record is not None and record.state is state], after)

    async def _sorted(self, key: bytes, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        score, _, id = (cursor or " ").partition(" ")
        (flat,) = await self._link.call([PAGE.call((key,), (score, id, limit))])
        ids = [each.decode() for each in flat[::2]]
        return ids, f"{flat[-1].decode()} {ids[-1]}" if len(ids) == limit else None

    async def _ready(self, queue: str, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        keys = self._keys(queue)
        lines = (*keys.ready, keys.suspects)
        number, _, at = (cursor or f"{len(lines) - 1} 0").partition(" ")
        line, start = int(number), int(at)
        ids: list[str] = []
        while line >= 0:
            wanted = limit - len(ids)
            (entries,) = await self._link.call([Command((b"LRANGE", lines[line], start, start + wanted - 1))])
            ids += [entry.decode().partition(" ")[0] for entry in entries]
            if len(entries) == wanted:
                return ids, f"{line} {start + wanted}"
            line, start = line - 1, 0
        return ids, None

    async def _running(self, queue: str, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        keys = self._keys(queue)
        after_consumer, _, after_id = (cursor or " ").partition(" ")
        (consumers,) = await self._link.call([Command((b"ZRANGE", keys.leases, 0, -1))])
        ids: list[str] = []
        for consumer in sorted(each.decode() for each in consumers):
            if consumer < after_consumer:
                continue
            # No more than a consumer's window.
            (held,) = await self._link.call([Command((b"HKEYS", keys.held(consumer)))])
            floor = after_id if consumer == after_consumer else ""
            for id in sorted(each.decode() for each in held if b":" in each):
                if id > floor:
                    ids.append(id)
                    if len(ids) == limit:
                        return ids, f"{consumer} {id}"
        return ids, None
