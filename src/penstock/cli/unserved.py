"""Says of queues that somebody names that nobody knows them: it may be a slip of the pen."""

from __future__ import annotations

from collections.abc import Sequence

import click

from penstock.cli.asking import Opened
from penstock.cli.guessing import near


async def tell_unknown(opened: Opened, names: Sequence[str], own: Sequence[str] = ()) -> None:
    """A line on stderr for each queue without a worker that never held a job.

    Args:
        opened: The broker.
        names: The queues that were named.
        own: Those of the application's tasks, where one is named: they are known.
    """
    if not names:
        return
    queues = await opened.inspector.queues()
    # One that was only ever paused may have been a slip of the pen then.
    known = dict.fromkeys([*(each.queue for each in queues if each.enqueued_total), *own])
    if not known.keys() >= set(names):
        known |= dict.fromkeys(name for card in await opened.inspector.workers() for name in card.queues)
    for name in names:
        if name not in known:
            click.echo(f"{name}: no job and no worker knows this queue{near(name, known)}", err=True)
