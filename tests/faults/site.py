"""A broker to be mistreated, and the folder in which everybody leaves what happened."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.processes import ROOT
from tests.servers import RedisServer

BROKERS = ("sqlite", "redis")


class Site:
    """One fresh broker and its folder.

    Attributes:
        url: The broker's.
        server: Its server, None on SQLite.
        folder: Where effects, acknowledgements and states are kept.
        lease_s: The lease of the workers.
    """

    def __init__(self, url: str, folder: Path, lease_s: float, server: RedisServer | None = None) -> None:
        self.url = url
        self.folder = folder
        self.lease_s = lease_s
        self.server = server
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def effects(self) -> Path:
        """What the tasks did."""
        return self.folder / "effects"

    def environment(self, **more: str) -> dict[str, str]:
        """What workers and producers are told."""
        return {
            "PENSTOCK_BROKER_URL": self.url,
            "PENSTOCK_LEASE": f"{self.lease_s:g}",
            "FAULTS_EFFECTS": str(self.effects),
            **more,
        }

    def states(self, acknowledged: Path) -> Path:
        """Asks the broker, in a process of its own, what became of each acknowledged job and of the queue."""
        out = self.folder / "states"
        subprocess.run(
            [sys.executable, "-m", "tests.faults.states", str(acknowledged), str(out)],
            check=True,
            cwd=ROOT,
            env={**dict(_environment()), **self.environment()},
        )
        return out


def _environment() -> Iterator[tuple[str, str]]:
    import os

    yield from os.environ.items()


@contextmanager
def open_site(broker: str, folder: Path, lease_s: float, **redis: Any) -> Iterator[Site]:
    """A fresh broker of this kind.

    Args:
        broker: ``sqlite`` or ``redis``.
        folder: Where it keeps its data.
        lease_s: The lease of the workers.
        redis: What ``RedisServer`` takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if broker == "redis":
            server = stack.enter_context(RedisServer(folder / "redis", **redis))
            yield Site(server.url, folder, lease_s, server)
        else:
            yield Site(f"sqlite:///{folder / 'jobs.db'}", folder, lease_s)
