"""What the broker says about its queue, and emptying it between runs."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

from benchmarks.bench import Plan, until
from benchmarks.children import RunFailed, WorkerProcess
from penstock import brokers
from penstock.core.job import Job, Origin
from penstock.ports.inspector import QueueCounts


class Watcher:
    """Asks the broker about the queue ``default`` with as few calls as it can."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._broker = brokers.connect(brokers.address(url))
        self._runner.run(self._broker.open())
        self._inspector = brokers.inspector(self._broker)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._broker.close())
        self._runner.close()

    def counts(self) -> QueueCounts:
        """How many jobs stand in each state."""
        for counts in self._runner.run(self._inspector.queues()):
            if counts.queue == "default":
                return counts
        return QueueCounts("default")

    def pause(self) -> None:
        """Keeps the queue from being fetched from."""
        self._runner.run(self._inspector.pause(["default"]))

    def resume(self) -> None:
        """Lets it go on."""
        self._runner.run(self._inspector.resume(["default"]))

    def workers(self) -> int:
        """How many workers have joined."""
        return len(self._runner.run(self._inspector.workers()))

    def has_worker(self) -> bool:
        """Whether a worker has joined."""
        return bool(self._runner.run(self._inspector.workers()))

    def settled(self, count: int) -> bool:
        """Whether so many jobs have succeeded and none is left; an error where any took another way."""
        counts = self.counts()
        if counts.failed or counts.quarantined or counts.lost_total:
            raise RunFailed(f"jobs went astray: {counts}")
        return counts.succeeded_total >= count and not (counts.ready or counts.scheduled or counts.running)

    def ask(self, path: Path) -> None:
        """Enqueues ``told``."""
        body = json.dumps({"v": 1, "task": "told", "args": [str(path)], "at": 0}).encode()
        origin = Origin(uuid.uuid4().hex, 1)
        self._runner.run(self._broker.enqueue([Job(f"default:{uuid.uuid4().hex}", "default", body)], origin))


def told(plan: Plan, watcher: Watcher, worker: WorkerProcess) -> Any:
    """What the worker says it has done, once it has done all else."""
    path = plan.folder / f"told-{uuid.uuid4().hex}.json"
    watcher.ask(path)

    def answered() -> bool:
        worker.check()
        return path.exists()

    until(answered, 10.0)
    facts = json.loads(path.read_text())
    path.unlink()
    return facts
