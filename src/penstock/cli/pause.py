"""``penstock pause``: jobs of these queues wait, and those that run go on."""

from __future__ import annotations

from collections.abc import Sequence

import click

from penstock.cli.asking import Opened
from penstock.cli.pausing import Verb, carry_out, naming
from penstock.cli.target import Target


@click.command()
@naming
@click.pass_obj
def command(
    target: Target,
    /,
    names: tuple[str, ...],
    more: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Pause queues: no worker takes a job of them any more, until they are resumed.

    Jobs that run go on, and new ones are still enqueued.
    """
    verb = Verb("pause", "paused", "paused already", True, _pause)
    carry_out(target, verb, names, more, everything=everything, dry_run=dry_run, as_json=as_json)


async def _pause(opened: Opened, queues: Sequence[str]) -> Sequence[str]:
    return await opened.inspector.pause(queues)
