"""The options that every command takes, before and after its name: ``-A``, ``-b`` and ``-l``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.target import Target

F = TypeVar("F", bound=Callable[..., Any])


def words(function: F) -> F:
    """Decorates a command with them; what is given goes to its ``Target``, and given twice, the last counts."""
    for decorate in (
        click.option("-l", "--loglevel", metavar="LEVEL", callback=_keep("loglevel"), expose_value=False,
                     help="debug, info, warning, error or critical."),
        click.option("-b", "--broker", metavar="URL", callback=_keep("broker_url"), expose_value=False,
                     help="The broker, where no application is needed; or PENSTOCK_BROKER_URL."),
        click.option("-A", "--app", metavar="APP", callback=_keep("reference"), expose_value=False,
                     help="The application: MODULE, MODULE:ATTRIBUTE or a file."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def _keep(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(context.ensure_object(Target), name, value)

    return keep
