"""What a command is about: the application or the broker that was named, before or after the command's own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from penstock.errors import ConfigError

if TYPE_CHECKING:
    from penstock.app import Penstock
    from penstock.brokers import Address
    from penstock.runtime.guard import Pulse
    from penstock.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_ALIASES: Final = {"warn": "warning", "fatal": "critical"}


@dataclass
class Target:
    """The words that every command knows.

    Attributes:
        reference: ``-A``: the application.
        broker_url: ``-b``: the broker's URL.
        loglevel: ``-l``.
        given: Settings that the command's own options name.
        pulse: Where a worker tells its beats: to its guard or its supervisor.
    """

    reference: str | None = None
    broker_url: str | None = None
    loglevel: str | None = None
    pulse: Pulse | None = None
    given: dict[str, Any] = field(default_factory=dict[str, Any])
    _app: Penstock | None = None

    @property
    def debug(self) -> bool:
        """Whether tracebacks are wanted."""
        return self.loglevel == "debug"

    @property
    def command_line(self) -> dict[str, Any]:
        """Settings given on the command line."""
        return {"broker_url": self.broker_url, "loglevel": self.loglevel, **self.given}

    def app(self) -> Penstock:
        """The application that ``-A`` names, with the command line's settings.

        Raises:
            ConfigError: There is none, or it cannot be loaded.
        """
        if self._app is None:
            if self.reference is None:
                raise ConfigError(
                    "which application? name it: penstock -A MODULE worker (or MODULE:ATTRIBUTE, or a file)"
                )
            from penstock.cli.lookup import find_app

            app = find_app(self.reference)
            app.configure(self.command_line)
            self._app = app
        return self._app

    def settings(self) -> Settings:
        """The settings: of the application where one is named, else of the current folder."""
        if self.reference is not None:
            return self.app().settings
        from penstock.settings import Settings

        return Settings(Path.cwd(), None, self.command_line)

    def address(self) -> Address:
        """Where the broker is.

        Raises:
            ConfigError: Its URL, or the application, cannot be read.
        """
        if self.reference is not None:
            return self.app().address
        from penstock.brokers import address

        settings = self.settings()
        return address(settings["broker_url"], settings["namespace"], settings.folder)


def words(function: F) -> F:
    """The options ``-A``, ``-b`` and ``-l``, which are taken before and after a command's name."""
    for decorate in (
        click.option("-l", "--loglevel", metavar="LEVEL", callback=_loglevel, expose_value=False,
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


def _loglevel(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    level = _ALIASES.get(value.lower(), value.lower())
    if level not in LEVELS:
        raise click.BadParameter(f"{value!r}: use one of {', '.join(LEVELS)}")
    context.ensure_object(Target).loglevel = level
