"""What a command is about: the application or the broker that was named, before or after the command's own name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ConfigError

if TYPE_CHECKING:
    from penstock.app import Penstock
    from penstock.brokers import Address
    from penstock.runtime.guard import Pulse
    from penstock.settings import Settings


class Target:
    """The words that every command knows.

    Attributes:
        reference: ``-A``: the application.
        broker_url: ``-b``: the broker's URL.
        loglevel: ``-l``.
        given: Settings that the command's own options name; None means not given.
        pulse: Where a worker tells its beats: to its guard or its supervisor.
    """

    def __init__(self, pulse: Pulse | None = None) -> None:
        self.reference: str | None = None
        self.broker_url: str | None = None
        self.loglevel: str | None = None
        self.given: dict[str, Any] = {}
        self.pulse = pulse
        self._app: Penstock | None = None

    @property
    def debug(self) -> bool:
        """Whether tracebacks are wanted."""
        return (self.loglevel or os.environ.get("PENSTOCK_LOGLEVEL", "")).lower() == "debug"

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
                    "which application? name it: penstock -A MODULE worker (or MODULE:ATTRIBUTE, a file)"
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
        return self.settings().address(Path.cwd())
