"""``penstock -A tasks worker``: its command line, and its help. ``quick.py`` reads the same without click."""

from __future__ import annotations

from typing import Any

import click

from penstock.cli.completing import complete
from penstock.cli.target import Target
from penstock.cli.words import words


def _in_one(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> str | None:
    """As others have it: ``-Q mail -Q default`` is ``-Q mail,default``."""
    return ",".join(value) if value else None


# Numbers are checked with the settings, which may come from elsewhere too.
@click.command()
@words
@click.argument("application", required=False)
@click.option(
    "-Q",
    "--queues",
    multiple=True,
    callback=_in_one,
    metavar="NAMES",
    shell_complete=complete("queues", several=True),
    help="Queues in strict order: mail,default; or with weights: mail=3,default=1. Again for more.",
)
@click.option("-c", "--concurrency", metavar="N", help="Jobs running at once in one process [10].")
@click.option("--processes", metavar="N", help="Worker processes [1].")
@click.option("--grace", metavar="SECONDS", help="For running jobs when it stops [25].")
@click.option(
    "--max-jobs-per-process", metavar="N", help="Replace a process that has done so many [no limit]."
)
@click.option("--max-memory-mb", metavar="MB", help="Replace a process that has grown so large [no limit].")
@click.option("--burst", is_flag=True, help="Stop when nothing is ready.")
@click.option("--reload", is_flag=True, help="Restart when a .py file changes (penstock[reload]).")
@click.option("--reload-dir", "reload_dirs", multiple=True, metavar="FOLDER",
              help="Watch it in place of the application's folder.")  # fmt: skip
@click.option(
    "--guard/--no-guard", default=None, help="A process keeps the lease while code holds the GIL [on]."
)
@click.pass_obj
def command(target: Target, /, application: str | None, **given: Any) -> int:
    """Run jobs until told to stop: penstock -A tasks worker, or penstock worker tasks:app.

    SIGTERM and SIGINT drain, a second one stops at once; SIGTSTP takes nothing new; SIGUSR1 prints every stack;
    SIGHUP restarts the worker processes of --processes one by one.
    """
    from penstock.cli.running import run

    if application is not None:
        if target.reference not in {None, application}:
            raise click.UsageError(f"two applications are named: -A {target.reference} and {application}")
        target.reference = application
    target.given |= given
    return run(target)
