"""Exit codes, and how an error becomes one line and one of them."""

from __future__ import annotations

import traceback
from enum import IntEnum

import click

from penstock.errors import BrokerUnavailable, ConfigError, InvalidArguments, PenstockError, UnknownTask


class Exit(IntEnum):
    """What a command's end says to who started it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    LEFT_BEHIND = 4


def exit_code_of(error: Exception) -> Exit:
    """The exit code for an error that ended a command."""
    match error:
        case click.UsageError() | ConfigError() | InvalidArguments() | UnknownTask():
            return Exit.USAGE
        case BrokerUnavailable():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILED


def report(error: Exception, *, debug: bool) -> Exit:
    """Says on standard error what went wrong: one line, or the traceback where ``debug``; returns the exit code."""
    if debug:
        traceback.print_exception(error)
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "penstock"
        click.echo(f"{command}: {one_line(error.format_message())} (see {command} --help)", err=True)
    elif isinstance(error, PenstockError):
        click.echo(f"penstock: {one_line(str(error))}", err=True)
    else:
        # The text of an error that nobody foresaw may hold anything, so only its type is shown.
        where = traceback.extract_tb(error.__traceback__)[-1]
        click.echo(
            f"penstock: {type(error).__name__} at {where.filename}:{where.lineno}; "
            "run it again with -l debug for the traceback",
            err=True,
        )
    return exit_code_of(error)


def one_line(text: str) -> str:
    """``text`` without line breaks."""
    return " ".join(text.split())
