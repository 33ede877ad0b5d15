"""Exit codes, and how an error becomes one line and one of them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import NoReturn

from penstock.cli.lines import one_line
from penstock.cli.target import Target
from penstock.errors import BrokerUnavailable, ConfigError, InvalidArguments, PenstockError, UnknownTask


class Exit(IntEnum):
    """What a command's end says to who started it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    LEFT_BEHIND = 4


def ended(target: Target, action: Callable[[], object]) -> int:
    """Runs a command; what it returns is its exit code, and what it raises is said and becomes one."""
    # Raised where it comes: asyncio's own handling cancels a task, which code on the way may take for a timeout.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        code = action()
    except KeyboardInterrupt:
        print("penstock: stopped", file=sys.stderr)
        return Exit.FAILED
    except Exception as error:  # whatever it is, a person reads one line
        return report(error, debug=target.debug, advice=_whence(target) if _is_of_the_url(error) else "")
    return code if isinstance(code, int) else Exit.DONE


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _is_of_the_url(error: Exception) -> bool:
    """Whether it is the broker's URL that may be wrong, and the text does not say yet where it came from."""
    from penstock.settings import OutsideError  # only who meets an error pays for it

    if isinstance(error, OutsideError):
        return False
    text = str(error)
    return (isinstance(error, BrokerUnavailable) and "not reached" in text) or (
        isinstance(error, ConfigError) and text.startswith("broker URL: ")
    )


def _whence(target: Target) -> str:
    """Where the broker's URL came from."""
    try:
        source = target.settings().url_source
    except PenstockError:  # what is said already is what matters
        return ""
    return f" (the URL comes from {source})"


def report(error: Exception, *, debug: bool, advice: str = "") -> Exit:
    """Says on standard error what went wrong: one line, or the traceback where ``debug``; returns the exit code."""
    if debug:
        import traceback

        traceback.print_exception(error)
    elif isinstance(error, PenstockError):
        print(f"penstock: {one_line(str(error))}{advice}", file=sys.stderr)
    else:
        # The text of an error that nobody foresaw may hold anything, so only its type is shown.
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = "" if where is None else f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
        print(f"penstock: {type(error).__name__}{at}; -l debug shows the traceback", file=sys.stderr)
    return exit_code_of(error)


def exit_code_of(error: Exception) -> Exit:
    """The exit code for an error that ended a command."""
    match error:
        case ConfigError() | InvalidArguments() | UnknownTask():
            return Exit.USAGE
        case BrokerUnavailable():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILED
