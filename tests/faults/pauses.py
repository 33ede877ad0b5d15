"""A worker that is frozen beyond its lease, its job run by another, and then goes on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from penstock import JobState, Penstock
from penstock.core.job import JobRecord
from penstock.ports.inspector import Retried
from tests.faults import verdict
from tests.faults.processes import Process, descendants, ready, worker
from tests.faults.site import Site, counts_of, record_of, side_by_side
from tests.faults.verdict import Figures

WAYS = ("reclaimed", "released", "retried")
_REFUSED = "came too late and were refused|was lost to another worker"
_WITHIN_S = 10.0


def run(site: Site, *, rounds: int, at_once: int = 6) -> Figures:
    """Each round one job, in turn: reclaimed from the frozen worker; then also released by the next; then also failed
    by the next and retried by an operator. The frozen one's outcome is refused and counted, and there is one result.

    Args:
        site: The broker.
        rounds: How many.
        at_once: Rounds side by side, each with jobs and workers of its own.
    """
    runs = side_by_side(
        lambda number: _round(site.part(f"pause-{number}"), WAYS[number % 3]), rounds, at_once
    )
    refused = f"{rounds} late outcomes, all refused and counted; the jobs ran {sum(runs)} times in all"
    return Figures("SIGSTOP beyond the lease, then SIGCONT", site.broker, rounds, rounds, notes=[refused])


@contextmanager
def frozen(process: Process, folder: Path) -> Iterator[None]:
    """Stops a worker and everything below it, as a paused machine would; they go on at the end.

    Not in the middle of a write to an SQLite file in ``folder``: nobody could write then, which is another fault.
    """
    family = [process.pid, *descendants(process.pid)]
    mono_until = time.monotonic() + _WITHIN_S
    _send(family, signal.SIGSTOP)
    while _in_a_write(folder):
        _send(family[::-1], signal.SIGCONT)
        assert time.monotonic() < mono_until, f"the file in {folder} is locked by somebody else"
        time.sleep(0.01)
        _send(family, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(family[::-1], signal.SIGCONT)


def _send(family: Sequence[int], number: signal.Signals) -> None:
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _in_a_write(folder: Path) -> bool:
    """Whether somebody has a turn to write."""
    for path in (*folder.glob("*.db-turn"), *folder.glob("*.db-write")):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def _round(site: Site, way: str) -> int:
    told = site.folder / "told"
    told.write_text("wait")
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(site.client())
        first = _worker(site, stack)
        handle = app.send("tests.faults.app.as_told", "job")
        _started(site, 1)
        with frozen(first, site.folder):
            _elsewhere(site, stack, app, handle.id, way)
            before = _in_the_end(app, handle.id)
        first.wait_for(_REFUSED, _WITHIN_S)
        _counted(app, first)
        after = app.call(record_of(app, handle.id))
        assert after == before, f"{before} became {after}"
        assert after is not None
        assert after.result != str(first.pid).encode(), "the frozen worker's result was taken"
        assert (app.call(counts_of(app))).succeeded_total == 1
        assert not first.count("a bug in Penstock")
    return len(verdict.runs_of(site.effects)["job"])


def _worker(site: Site, stack: contextlib.ExitStack) -> Process:
    process = stack.enter_context(worker(site.environment(), concurrency=2, more=["--grace", "0"]))
    ready(process)
    return process


def _started(site: Site, times: int) -> None:
    """Waits for that many starts of the job."""
    mono_until = time.monotonic() + site.lease_s + _WITHIN_S
    while len(verdict.runs_of(site.effects).get("job", ())) < times:
        assert time.monotonic() < mono_until, (
            f"the job has not started {times} times: {verdict.runs_of(site.effects)}"
        )
        time.sleep(0.02)


def _elsewhere(site: Site, stack: contextlib.ExitStack, app: Penstock, id: str, way: str) -> None:
    """What becomes of the job while its first worker is frozen."""
    told = site.folder / "told"
    second = _worker(site, stack)
    _started(site, 2)
    if way == "released":
        _worker(site, stack)
        second.signal(signal.SIGTERM)
        _started(site, 3)
    elif way == "retried":
        told.write_text("fail")
        _reaches(app, id, JobState.FAILED)
        told.write_text("wait")
        assert app.call(_retry(app, id)) == [id]
        _started(site, 3)
    told.write_text("return")


async def _retry(app: Penstock, id: str) -> list[str]:
    return list(await (await app.inspector()).change([id], Retried()))


def _in_the_end(app: Penstock, id: str) -> JobRecord:
    return _reaches(app, id, JobState.SUCCEEDED)


def _reaches(app: Penstock, id: str, state: JobState) -> JobRecord:
    mono_until = time.monotonic() + _WITHIN_S
    while (record := app.call(record_of(app, id))) is None or record.state is not state:
        assert time.monotonic() < mono_until, f"not {state}: {record}"
        time.sleep(0.02)
    return record


def _counted(app: Penstock, process: Process) -> None:
    """The worker's own card says that one was lost."""
    mono_until = time.monotonic() + _WITHIN_S
    while not any(card.pid == process.pid and card.lost == 1 for card in app.call(_cards(app))):
        assert time.monotonic() < mono_until, app.call(_cards(app))
        time.sleep(0.05)


async def _cards(app: Penstock):  # type: ignore[no-untyped-def]
    return await (await app.inspector()).workers()
