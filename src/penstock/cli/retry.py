"""``penstock retry``: dead and quarantined jobs run again, scheduled ones run now; also in another queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from penstock.cli.acting import Action, carry_out, choosing
from penstock.cli.asking import Opened
from penstock.cli.completing import complete
from penstock.cli.target import Target
from penstock.cli.unserved import tell_unknown
from penstock.core.job import Job, JobRecord, Origin, check_queue_name
from penstock.core.lifecycle import JobState
from penstock.ids import new_id
from penstock.listing import Filter
from penstock.ports.inspector import Deleting, Retried

_DEAD: Final = (JobState.FAILED, JobState.QUARANTINED)
_HERE: Final = frozenset({*_DEAD, JobState.SCHEDULED})
_ELSEWHERE: Final = _HERE | {JobState.READY}


@click.command()
@choosing
@click.option(
    "--to",
    metavar="QUEUE",
    shell_complete=complete("queues"),
    help="Run them in another queue, with that queue's name in their id.",
)
@click.pass_obj
def command(
    target: Target,
    /,
    ids: tuple[str, ...],
    chosen: Filter,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    to: str | None,
) -> int:
    """Run dead and quarantined jobs again, by their ids or a filter; with --state scheduled, waiting ones now."""
    if to is None:
        action = Action("retry", "retried", _DEAD, _HERE, _retry)
    else:
        move = _Move(check_queue_name(to))
        action = Action("retry", "moved", _DEAD, _ELSEWHERE, move.act)
    return carry_out(target, action, ids, chosen, dry_run=dry_run, yes=yes, as_json=as_json)


async def _retry(opened: Opened, records: Sequence[JobRecord]) -> Sequence[str]:
    return await opened.inspector.change([record.id for record in records], Retried())


class _Move:
    """Enqueues jobs under another queue's name, then deletes them here.

    Repeated after it was cut short in between, it adds nothing, because the new id is taken by then.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._producer = new_id()
        self._calls = 0

    async def act(self, opened: Opened, records: Sequence[JobRecord]) -> Sequence[str]:
        """Moves them; returns the ids of those that were moved."""
        if not self._calls:
            await tell_unknown(opened, [self._queue])
        moving = {self._id(record): record for record in records if record.queue != self._queue}
        self._calls += 1
        answers = await opened.broker.enqueue(
            [self._job(id, record) for id, record in moving.items()], Origin(self._producer, self._calls)
        )
        stored = [
            moving[answer.id]
            for answer in answers
            if answer.added or await self._is_copy(opened, answer.id, moving[answer.id])
        ]
        deleted = set(await opened.inspector.change([record.id for record in stored], Deleting()))
        await self._take_back(opened, [record for record in stored if record.id not in deleted])
        return [record.id for record in stored if record.id in deleted]

    def _id(self, record: JobRecord) -> str:
        return f"{self._queue}:{record.id.partition(':')[2]}"

    def _job(self, id: str, record: JobRecord) -> Job:
        # As in its own queue: what is dead runs though its time was over, what waits keeps its expiry.
        expires_at = None if record.state in _DEAD else record.expires_at or None
        return Job(id, self._queue, record.body, record.priority, expires_at=expires_at, unique=True)

    async def _is_copy(self, opened: Opened, id: str, record: JobRecord) -> bool:
        """Whether what holds the new id is the copy of an earlier try."""
        there = await opened.inspector.get(id)
        if there is not None and there.body == record.body:
            return True
        click.echo(f"{record.id}: another job is {id} already; left where it is", err=True)
        return False

    async def _take_back(self, opened: Opened, claimed: Sequence[JobRecord]) -> None:
        """A worker took them meanwhile: the copies go again, where no worker has those too."""
        gone = set(await opened.inspector.change([self._id(record) for record in claimed], Deleting()))
        for record in claimed:
            both = "" if self._id(record) in gone else f", and as {self._id(record)} too"
            click.echo(f"{record.id}: a worker took it meanwhile; it runs there{both}", err=True)
