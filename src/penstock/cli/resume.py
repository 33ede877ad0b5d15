"""``penstock resume``: workers take jobs of these queues again."""

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
    """Resume queues that were paused: workers take their jobs again."""
    verb = Verb("resume", "resumed", "not paused", False, _resume)
    carry_out(target, verb, names, more, everything=everything, dry_run=dry_run, as_json=as_json)


async def _resume(opened: Opened, queues: Sequence[str]) -> Sequence[str]:
    return await opened.inspector.resume(queues)
