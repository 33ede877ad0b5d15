"""``penstock dead``: what failed for good, or could not be read."""

from __future__ import annotations

import click

from penstock.cli.asking import ask
from penstock.cli.filters import filters
from penstock.cli.jobs import DEAD, show
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.listing import Filter


@click.command()
@words
@filters
@click.option("--limit", type=click.IntRange(min=0), help="At most so many; 0: all [50, with --json all].")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@click.pass_obj
def command(target: Target, /, chosen: Filter, limit: int | None, as_json: bool) -> None:
    """What failed for good or could not be read. `penstock job ID` tells more, `penstock retry ID` runs it again."""
    ask(target, lambda opened: show(opened, chosen, DEAD, limit, as_json))
