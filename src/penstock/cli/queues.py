"""``penstock queues``: how many jobs stand where."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from penstock.cli.asking import Opened, ask
from penstock.cli.tables import print_json, print_table
from penstock.cli.target import Target
from penstock.cli.words import words

# Of QueueCounts' fields, in their order.
_HEADS: Final = (
    *("queue", "ready", "scheduled", "running", "dead", "quarantined"),
    *("enqueued", "succeeded", "failed", "lost", "paused"),
)


@click.command()
@words
@click.option("--json", "as_json", is_flag=True, help="As JSON: the fields of QueueCounts.")
@click.pass_obj
def command(target: Target, /, as_json: bool) -> None:
    """How many jobs stand where, a line for each queue."""
    ask(target, lambda opened: _show(opened, as_json))


async def _show(opened: Opened, as_json: bool) -> None:
    queues = await opened.inspector.queues()
    if as_json:
        print_json(list(queues))
    elif not queues:
        print("no queue has held a job yet")
    else:
        print_table(_HEADS, [tuple(msgspec.structs.asdict(counts).values()) for counts in queues])
