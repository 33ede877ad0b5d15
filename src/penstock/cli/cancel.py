"""``penstock cancel``: jobs that wait end at once, jobs that run are asked to."""

from __future__ import annotations

from collections.abc import Sequence

import click

from penstock.cli.acting import PASSES, Action, carry_out, choosing
from penstock.cli.asking import Opened
from penstock.cli.target import Target
from penstock.core.job import JobRecord
from penstock.core.lifecycle import JobState
from penstock.listing import Filter
from penstock.ports.inspector import Cancelling


@click.command()
@choosing
@click.pass_obj
def command(
    target: Target, /, ids: tuple[str, ...], chosen: Filter, dry_run: bool, yes: bool, as_json: bool
) -> int:
    """Cancel jobs, by their ids or a filter: those that wait end at once, those that run are asked to."""
    states = (JobState.SCHEDULED, JobState.READY, JobState.RUNNING)
    action = Action(
        "cancel", "cancelled", states, frozenset(states), _cancel, PASSES, _asked, asks_running=True
    )
    return carry_out(target, action, ids, chosen, dry_run=dry_run, yes=yes, as_json=as_json)


async def _cancel(opened: Opened, records: Sequence[JobRecord]) -> Sequence[str]:
    return await opened.inspector.change([record.id for record in records], Cancelling())


def _asked(record: JobRecord) -> bool:
    return record.cancel_requested
