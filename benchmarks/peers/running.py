"""One run of one library: fill the queue, start a worker anew, watch the marks, end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Place, until
from benchmarks.children import ROOT, RunFailed, environment, peak_mb
from benchmarks.peers import marks
from benchmarks.peers.marks import Marks
from benchmarks.peers.peer import Peer, Setting

_FIRST_JOB_WITHIN_S = 20.0
_FILL_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.02
_WEIGH_EVERY_S = 0.3
_GONE_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a run may be.

    Attributes:
        run_s: How long one should take; the number of jobs follows from it.
        wait_s: The same where jobs wait.
        cut_s: After how long it is ended; the rate is what was done until then.
        enqueue_s: How long enqueuing is measured.
        still_s: A worker that has ended no job for so long while some are left has missed them.
        most: The most jobs of a run.
    """

    run_s: float
    wait_s: float
    cut_s: float
    enqueue_s: float
    still_s: float = 5.0
    most: int = 1_500_000


@dataclass(frozen=True, slots=True)
class Drained:
    """What a run came to.

    Attributes:
        jobs: How many ended.
        took_s: From the first job's start to the last one's end; of no-op jobs, from the first one's end.
        start_s: From the making of the worker's process to the same moment of its first job.
        peak_mb: The most memory of its processes together, pages that they share counted in each.
        cut: Whether it was ended before all jobs were.
    """

    jobs: int
    took_s: float
    start_s: float
    peak_mb: float
    cut: bool

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.took_s


def told(setting: Setting, kind: str, url: str) -> dict[str, str]:
    """The environment variables that an application reads; see ``settings``."""
    return {
        "PYTHONPATH": str(ROOT),
        "PEERS_REDIS_URL": url,
        "PEERS_SETTING": setting.name,
        "PEERS_CONCURRENCY": str(setting.each(kind)),
        **setting.env,
    }


def produce(peer: Peer, setting: Setting, programs: Path, url: str, *arguments: object) -> dict[str, float]:
    """Runs the library's own producer; see ``produce``."""
    command = peer.enqueuing(programs, *arguments)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(url, told(setting, "noop", url)),
            capture_output=True,
            text=True,
            timeout=_FILL_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{peer.name} did not enqueue within {_FILL_WITHIN_S:g} s") from None
    if done.returncode:
        raise RunFailed(f"{peer.name} could not enqueue: {_end(done.stderr)}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def enqueue_rate(
    peer: Peer, setting: Setting, programs: Path, at: Place, way: str, limits: Limits
) -> float | None:
    """Jobs a second that go in, one by one or many at once; None where the library has no such call."""
    at.empty()
    facts = produce(peer, setting, programs, at.url, "rate", "noop", limits.enqueue_s, way)
    return facts["count"] / facts["took_s"] if facts else None


def drain(
    peer: Peer,
    setting: Setting,
    programs: Path,
    at: Place,
    kind: str,
    count: int,
    limits: Limits,
    folder: Path,
) -> Drained:
    """Enqueues ``count`` jobs beforehand, and lets a new worker drain them; a run that is not exact has no figure."""
    at.empty()
    produce(peer, setting, programs, at.url, "fill", kind, count)
    path = folder / "marks"
    seen = Marks(path, count)
    more = told(setting, kind, at.url) | {marks.PATH: str(path)}
    command = peer.worker(setting, kind, programs, at.url)
    log = folder / "log"
    with (
        _named(peer, setting, log),
        _workers(command, environment(at.url, more), log, setting.copies(kind)) as at_work,
    ):
        until(lambda: _alive(at_work) and seen.any(), _FIRST_JOB_WITHIN_S, _LOOK_EVERY_S)
        heaviest = _watched(at_work, seen, limits)
        mono_spawned = at_work[0].mono_spawned
        done, repeated, complete = seen.done(), seen.repeated(), seen.complete()
        if repeated:
            raise RunFailed(f"{repeated} of {count} jobs ran more than once")
        if done < 2:
            raise RunFailed(f"{done} of {count} jobs ended within {limits.cut_s:g} s")
    first, last = seen.first_s(), seen.last_s()
    return Drained(done, last - first, first - mono_spawned, heaviest, not complete)


def _watched(workers: list[Worker], seen: Marks, limits: Limits) -> float:
    """Waits until all is done or the run is cut; the most memory meanwhile, in MB."""
    heaviest, mono_weighed = 0.0, 0.0
    mono_now = mono_moved = time.monotonic()
    mono_cut, done = mono_now + limits.cut_s, 0
    while not seen.complete() and mono_now < mono_cut:
        _alive(workers)
        mono_now = time.monotonic()
        if mono_now - mono_weighed > _WEIGH_EVERY_S:
            heaviest, mono_weighed = max(heaviest, _weights_mb(workers)), mono_now
            if (now_done := seen.done()) > done:
                done, mono_moved = now_done, mono_now
            elif mono_now - mono_moved > limits.still_s:
                raise RunFailed(
                    f"{seen.count - done} of {seen.count} jobs were missed: none ended for {limits.still_s:g} s"
                )
        time.sleep(_LOOK_EVERY_S)
    return max(heaviest, _weights_mb(workers))


class Worker:
    """A worker in a session of its own, so that its children are found.

    Attributes:
        mono_spawned: The moment just before it was made.
    """

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.mono_spawned = time.monotonic()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def kill(self) -> None:
        """Ends it and its children at once: everything that is measured has been done."""
        until(self._killed, _GONE_WITHIN_S, 0.01)
        self.process.wait()

    def _killed(self) -> bool:
        pids = session(self.pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.poll()
        return not pids


@contextmanager
def _workers(command: list[str], env: dict[str, str], log: Path, copies: int) -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    log.write_bytes(b"")
    try:
        # One by one, so that those that were started are ended where a later one cannot be.
        workers.extend(Worker(command, env, log) for _ in range(copies))
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def session(leader: int) -> list[int]:
    """The processes of a session that still run."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        # One that ends meanwhile is gone, which is an answer.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # After the name, which stands in brackets and may hold anything: state, parent, group, session.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _weights_mb(workers: list[Worker]) -> float:
    whole = 0.0
    for pid in (pid for worker in workers for pid in session(worker.pid)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, RunFailed):
            whole += peak_mb(pid)
    return whole


def _alive(workers: list[Worker]) -> bool:
    for worker in workers:
        status = worker.process.poll()
        if status is not None:
            raise RunFailed(f"the worker ended with status {status}")
    return True


@contextmanager
def _named(peer: Peer, setting: Setting, log: Path) -> Iterator[None]:
    try:
        yield
    except RunFailed as error:
        raise RunFailed(
            f"{peer.name}, {setting.name}: {error}: {_end(log.read_text(errors='replace'))}"
        ) from None


def _end(text: str) -> str:
    """The last lines of an output, without the place of this checkout."""
    lines = text.replace(str(ROOT), ".").strip().split("\n")
    return " / ".join(line.strip() for line in lines[-6:])[-600:]
