"""``penstock completion bash``: what a shell reads to complete command names, options, queues and workers."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from penstock.cli import bash
from penstock.cli.words import words

SHELLS = ("bash", "zsh", "fish")


@click.command()
@words
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, /, shell: str) -> None:
    """Print the script with which bash, zsh or fish completes what is typed.

    \b
    bash  eval "$(penstock completion bash)"         in ~/.bashrc
    zsh   eval "$(penstock completion zsh)"          in ~/.zshrc, after compinit
    fish  penstock completion fish | source          in ~/.config/fish/config.fish
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    bash.register()
    made = get_completion_class(shell)
    assert made is not None
    program = context.find_root().command
    click.echo(made(program, {}, "penstock", "_PENSTOCK_COMPLETE").source(), nl=False)
