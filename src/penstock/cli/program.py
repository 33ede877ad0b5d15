"""``penstock COMMAND``: the table of commands; each is a file beside this one, imported when it is run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

import click

from penstock import __version__
from penstock.cli.exits import Exit, ended
from penstock.cli.lines import one_line, prepare_streams
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.runtime.guard import Pulse

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: Final = {
    "worker": "Run jobs until told to stop.",
    "demo": "Watch a sign-up answer at once and its mail follow in the background.",
    "queues": "How many jobs stand where.",
    "jobs": "The jobs that wait, run or are dead.",
    "job": "All that is known of one job.",
    "dead": "What failed for good or could not be read.",
    "workers": "Who runs jobs; orders to one of them.",
    "enqueue": "Enqueue a task by its name.",
    "retry": "Run dead and quarantined jobs again.",
    "cancel": "Cancel jobs that wait or run.",
    "purge": "Delete jobs without a trace.",
    "pause": "Keep workers from taking jobs of a queue.",
    "resume": "Let workers take a paused queue's jobs again.",
    "doctor": "Check the broker; say what to change.",
    "health": "Whether the workers of this host live.",
    "bench": "Measure this machine and this broker.",
    "config": "Every setting, its value and where it came from.",
    "completion": "What a shell needs to complete what is typed.",
}


class _Commands(click.Group):
    """Knows its commands by the table, so that --help imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"penstock.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from penstock.cli import guessing

            raise click.UsageError(f"no command {name!r}{guessing.command(name, COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table, its own options otherwise: completing imports no command but the one that is typed."""
        from click.shell_completion import CompletionItem

        if not incomplete or incomplete[0].isalnum():
            return [
                CompletionItem(name, help=meaning)
                for name, meaning in COMMANDS.items()
                if name.startswith(incomplete)
            ]
        return click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="penstock")
@words
def program() -> None:
    """Background tasks: penstock -A tasks worker runs them, the other commands look and act."""


def run(arguments: Sequence[str], pulse: Pulse | None = None) -> int:
    """Runs one command; returns the exit code of this process. ``pulse``: where a worker tells its beats."""
    prepare_streams()
    target = Target(pulse)
    if "_PENSTOCK_COMPLETE" in os.environ:
        from penstock.cli import bash

        bash.register()

    def action() -> object:
        try:
            return program.main(list(arguments), prog_name="penstock", standalone_mode=False, obj=target)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.Abort:
            raise KeyboardInterrupt from None
        except click.ClickException as error:
            if target.debug:
                raise
            command = "penstock"
            if isinstance(error, click.UsageError) and error.ctx is not None:
                command = error.ctx.command_path
            click.echo(f"{command}: {one_line(error.format_message())} (see {command} --help)", err=True)
        return Exit.USAGE

    return ended(target, action)
