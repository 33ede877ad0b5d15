"""One library at one fault: a Redis server of its own, its worker, its producer, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis import RedisError

from benchmarks.children import ROOT, environment
from benchmarks.peers import running
from tests.faults.verdict import Run
from tests.servers import RedisServer
from tests.soak.peers import verdict
from tests.soak.peers.holding import held
from tests.soak.peers.systems import System, client

# A job, or a worker's start, on a machine that others use too.
STARTED_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.1
_ASK_EVERY_S = 5.0
TRAFFIC_S = 5.0


class TrialFailed(Exception):
    """The fault could not be tried, so that there is no figure; the message says why."""


class Trial:
    """What a fault is tried on.

    Args:
        system: The library and its setting.
        programs: Its environment.
        folder: Of this trial alone.
        short: Whether timeouts are to be short in the default too.
    """

    def __init__(self, system: System, programs: Path, folder: Path, *, short: bool = False) -> None:
        self.system = system
        self.effects = folder / "effects"
        self.out = folder / "acks"
        self.restarts = 0
        self._programs = programs
        self._folder = folder
        self._short = short
        self._started = 0
        self.server = RedisServer(folder / "redis", appendonly=True, appendfsync="always")
        self.worker: running.Worker | None = None
        self._worker_log = 0
        self._others: list[tuple[int, running.Worker]] = []

    def __enter__(self) -> Trial:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*([self.worker] if self.worker else []), *(each for _, each in self._others)]:
            process.kill()
        # A server that is frozen does not stop.
        if self.server.running:
            self.server.resume()
        self.server.kill()

    @property
    def environment(self) -> dict[str, str]:
        """Of worker and producer."""
        return environment(
            self.server.url,
            {
                "PYTHONPATH": str(ROOT),
                "PEERS_REDIS_URL": self.server.url,
                "PEERS_SETTING": self.system.setting,
                "PEERS_SHORT": "yes" if self._short else "",
                "FAULTS_EFFECTS": str(self.effects),
            },
        )

    def start(self, *, delays: bool = False) -> running.Worker:
        """Starts the worker, and with ``delays`` also what delayed jobs need."""
        more = [self.system.waits] if delays else []
        self.worker = self._spawn(" ".join([self.system.worker, *more]))
        self._worker_log = self._started
        if delays and self.system.delays:
            process = self._spawn(self.system.delays)
            self._others.append((self._started, process))
        return self.worker

    def _spawn(self, command: str) -> running.Worker:
        self._started += 1
        words = [word.format(bin=self._programs, url=self.server.url) for word in command.split()]
        try:
            return running.Worker(words, self.environment, self._folder / f"log-{self._started}")
        except OSError as error:
            raise TrialFailed(f"it cannot be started: {error}") from error

    def ended_helper(self) -> str | None:
        """The end of what a process beside the worker has said, where one has ended."""
        for number, process in self._others:
            if process.process.poll() is not None:
                return self._said(number)[-400:]
        return None

    def kill(self) -> int:
        """Kills every process of the worker at once; returns the moment."""
        assert self.worker is not None
        at_ns = time.monotonic_ns()
        self.worker.kill()
        self.worker = None
        return at_ns

    def revive(self) -> bool:
        """Starts a worker that has ended again, as a supervisor would, and counts it; whether it had."""
        if self.worker is not None and self.worker.process.poll() is None:
            return False
        self.restarts += 1
        if self.worker is not None:
            self.worker.kill()
        self.start()
        return True

    @contextlib.contextmanager
    def producing(
        self,
        count: int,
        *,
        prefix: str = "job",
        pause_s: float = 0.0,
        seconds: float,
        delay_s: float = 0.0,
        out: Path | None = None,
    ) -> Iterator[subprocess.Popen[str]]:
        """A producer at work; killed at the end if it still is."""
        command = [str(self._programs / "python"), "-m", "tests.soak.peers.produce", self.system.app]
        rest = [str(out or self.out), prefix, str(count), str(pause_s), str(seconds), str(delay_s)]
        log = self._folder / f"producer-{prefix}"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, *rest], cwd=ROOT, env=self.environment, stdout=output, stderr=output, text=True
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()

    def produce(self, count: int, **rest: Any) -> None:
        """Enqueues so many and waits for it."""
        with self.producing(count, **rest) as process:
            try:
                status = process.wait(STARTED_WITHIN_S)
            except subprocess.TimeoutExpired:
                raise TrialFailed(f"{count} jobs were not enqueued within {STARTED_WITHIN_S:g} s") from None
        if status:
            log = self._folder / f"producer-{rest.get('prefix', 'job')}"
            raise TrialFailed(f"its producer ended with status {status}: {log.read_text()[-400:]}")

    def traffic(self) -> contextlib.AbstractContextManager[object]:
        """A job every few seconds, which nobody judges: some libraries look for lost jobs only while others come in."""
        return self.producing(
            1000, prefix="more", pause_s=TRAFFIC_S, seconds=0.0, out=self._folder / "acks-of-the-traffic"
        )

    def read(self) -> tuple[dict[str, int], dict[str, list[Run]]]:
        """What was acknowledged and what ran, so far."""
        return verdict.read(self.out, self.effects)

    def until(
        self, what: Callable[[], bool], within_s: float, *, while_lives: running.Worker | None = None
    ) -> bool:
        """Waits for something; whether it came. With ``while_lives`` only as long as that process has not ended."""
        mono_until = time.monotonic() + within_s
        while True:
            # Asked first: what a process did before it ended counts.
            ended = while_lives is not None and while_lives.process.poll() is not None
            if what():
                return True
            if ended or time.monotonic() > mono_until:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def held(self, wanted: set[str]) -> dict[str, set[str]]:
        """Which of these the broker holds, and where."""
        with client(self.server.url) as redis:
            return held(redis, wanted) if wanted else {}

    def settle(self, within_s: float, *, revive: bool = False) -> dict[str, set[str]]:
        """Waits until every acknowledged job has ended, or those that have not are nowhere: neither running nor held.

        Returns where those are held that have not ended.
        """
        mono_until, mono_ask, nowhere = time.monotonic() + within_s, 0.0, 0
        while True:
            if revive:
                self.revive()
            acks, runs = self.read()
            left = verdict.missing(acks, runs)
            if not left:
                return {}
            if time.monotonic() > mono_ask:
                # A library may hold a job in its own memory for a moment: three looks, 5 s apart, at which none runs.
                where = self._asked(left)
                recent = time.monotonic_ns() - int(2 * _ASK_EVERY_S * 1e9)
                nowhere = nowhere + 1 if not where and not verdict.running(runs, recent) else 0
                if nowhere == 3 or time.monotonic() > mono_until:
                    return where
                mono_ask = time.monotonic() + _ASK_EVERY_S
            time.sleep(_LOOK_EVERY_S)

    def _asked(self, left: set[str]) -> dict[str, set[str]]:
        try:
            return self.held(left)
        except RedisError as error:
            raise TrialFailed(f"the broker does not answer the driver: {error}") from error

    def complained(self) -> bool:
        """Whether a worker has said that something is wrong which the first one, before the fault, did not say."""
        return any(self._complaints(number) - self._complaints(1) for number in range(2, self._started + 1))

    def _complaints(self, number: int) -> set[str]:
        # Moments and process ids differ in lines that are the same otherwise.
        lines = (re.sub(r"\d+", "", line) for line in self._said(number).splitlines())
        return {line for line in lines if re.search(r"ERROR|WARNING|CRITICAL|Traceback|Warning:", line)}

    def log(self, count: int = 400) -> str:
        """The end of what the latest worker has said."""
        return self._said(self._worker_log)[-count:]

    def _said(self, number: int) -> str:
        path = self._folder / f"log-{number}"
        return path.read_text(errors="replace") if path.exists() else ""
