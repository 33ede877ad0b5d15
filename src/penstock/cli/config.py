"""``penstock config``: every setting, its value and where it came from."""

from __future__ import annotations

import click

from penstock.cli.tables import print_json, print_table
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.settings import Setting


@click.command()
@words
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def command(target: Target, /, as_json: bool) -> None:
    """Every setting, its value and where it came from: command line, environment, file, code, default."""
    settings = target.settings().all()
    rows = [
        {"name": s.name, "value": _shown(target, s), "source": s.source, "meaning": s.meaning}
        for s in settings
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(["setting", "value", "from", "meaning"], [tuple(map(str, row.values())) for row in rows])


def _shown(target: Target, setting: Setting) -> object:
    """A broker's URL without its password, a file's with its full path."""
    return target.address().shown() if setting.name == "broker_url" else setting.value
