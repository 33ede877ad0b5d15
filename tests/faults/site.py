"""A broker to be mistreated, and the folder in which everybody leaves what happened."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from penstock import Penstock
from penstock.core.job import JobRecord
from penstock.ports.inspector import QueueCounts
from tests.faults.processes import ROOT
from tests.servers import RedisServer

BROKERS = ("sqlite", "redis")
T = TypeVar("T")


class Site:
    """One fresh broker and its folder.

    Attributes:
        url: The broker's.
        server: Its server, None on SQLite.
        folder: Where effects, acknowledgements and states are kept.
        lease_s: The lease of the workers.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        lease_s: float,
        server: RedisServer | None = None,
        namespace: str = "penstock",
    ) -> None:
        self.url = url
        self.folder = folder
        self.lease_s = lease_s
        self.server = server
        self.namespace = namespace
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def broker(self) -> str:
        """``sqlite`` or ``redis``."""
        return self.url.partition(":")[0]

    def part(self, name: str) -> Site:
        """A site beside this one, with jobs of its own, on the same server."""
        folder = self.folder / name
        url = self.url if self.server is not None else f"sqlite:///{folder / 'jobs.db'}"
        return Site(url, folder, self.lease_s, self.server, name)

    @contextmanager
    def client(self) -> Iterator[Penstock]:
        """An application without tasks: it sends by name and looks at what became of it."""
        app = Penstock("faults-client", broker=self.url, namespace=self.namespace)
        try:
            yield app
        finally:
            app.close()

    @property
    def effects(self) -> Path:
        """What the tasks did."""
        return self.folder / "effects"

    def environment(self, **more: str) -> dict[str, str]:
        """What workers and producers are told."""
        return {
            "PENSTOCK_BROKER_URL": self.url,
            "PENSTOCK_NAMESPACE": self.namespace,
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
            env={**os.environ, **self.environment()},
        )
        return out


async def record_of(app: Penstock, id: str) -> JobRecord | None:
    """What the broker knows of a job."""
    return await (await app.inspector()).get(id)


async def counts_of(app: Penstock, queue: str = "default") -> QueueCounts:
    """A queue's counts."""
    return next(each for each in await (await app.inspector()).queues() if each.queue == queue)


def side_by_side(work: Callable[[int], T], rounds: int, at_once: int) -> list[T]:
    """Runs rounds that mostly wait, several at once; the first error of any is raised when all have ended."""
    with ThreadPoolExecutor(at_once) as threads:
        futures: Sequence[Any] = [threads.submit(work, number) for number in range(rounds)]
    return [future.result() for future in futures]


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
