"""``penstock purge``: jobs are deleted without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from penstock.cli.acting import PASSES, Action, carry_out, choosing
from penstock.cli.asking import Opened
from penstock.cli.target import Target
from penstock.core.job import JobRecord
from penstock.core.lifecycle import JobState
from penstock.listing import Filter
from penstock.ports.inspector import Deleting

_HELD_BY_NOBODY: Final = frozenset(JobState) - {JobState.RUNNING}


@click.command()
@choosing
@click.pass_obj
def command(
    target: Target, /, ids: tuple[str, ...], chosen: Filter, dry_run: bool, yes: bool, as_json: bool
) -> int:
    """Delete jobs without a trace, by their ids or a filter: those that wait, or with --state others.

    On a filter it asks first; without a terminal it wants --yes.
    """
    states = (JobState.SCHEDULED, JobState.READY)
    action = Action("purge", "purged", states, _HELD_BY_NOBODY, _purge, PASSES, wants_yes=True)
    return carry_out(target, action, ids, chosen, dry_run=dry_run, yes=yes, as_json=as_json)


async def _purge(opened: Opened, records: Sequence[JobRecord]) -> Sequence[str]:
    return await opened.inspector.change([record.id for record in records], Deleting())
