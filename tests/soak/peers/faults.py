"""The faults, each the same for every library. Every driver returns what it found."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.soak.peers import verdict
from tests.soak.peers.holding import sizes
from tests.soak.peers.systems import System, client
from tests.soak.peers.trial import STARTED_WITHIN_S, Trial, TrialFailed
from tests.soak.peers.verdict import Outcome

WAIT_S = 90.0
JOBS = 60
KILLS = 3
JOB_S = 0.2
DELAY_S = 25.0
LATE = 3
# After the last of them should have run, for runs that come again.
WATCH_S = 45.0
GOOD = 20
RATE_PAUSE_S = 0.1
# A killed worker's successor is given so long to begin a job.
WORK_WITHIN_S = 25.0
DOWN_S = 2.0
FROZEN_S = 8.0
# Where a library puts what it gives up.
_SET_ASIDE = re.compile(r":odd$|:dead$|[.]XQ$|^rq:failed:|__acks__")


def kill_all(trial: Trial) -> Outcome:
    """``kill -9`` of every process of the worker in the middle of jobs, three times, each time started again."""
    trial.produce(JOBS, seconds=JOB_S)
    fault_ns = 0
    for number in range(KILLS):
        trial.start()
        _wait_for_work(trial, (number + 1) * JOBS // (2 * KILLS), since_ns=fault_ns)
        fault_ns = trial.kill()
    last = trial.start()
    outcome = _settled(trial, fault_ns)
    if outcome.missing and last.process.poll() is not None:
        raise TrialFailed(f"the last worker ended of itself: {trial.log()}")
    return outcome


def kill_child(trial: Trial) -> Outcome:
    """``kill -9`` of the one process that runs a job, below a parent that lives on."""
    trial.produce(JOBS // 2, seconds=JOB_S)
    worker = trial.start()
    victim = 0

    def found() -> bool:
        nonlocal victim
        runs = trial.read()[1]
        ended = sum(1 for each in runs.values() for run in each if run.end_ns)
        alive = [run.pid for run in verdict.running(runs, 0) if run.pid != worker.pid]
        victim = alive[0] if ended >= 5 and alive else 0
        return victim > 0

    if not trial.until(found, STARTED_WITHIN_S, while_lives=worker):
        raise TrialFailed(f"no job ran in a child: {trial.log()}")
    fault_ns = time.monotonic_ns()
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    outcome = _settled(trial, fault_ns, revive=True)
    outcome.notes += _endings(trial)
    return outcome


def long_delay(trial: Trial) -> Outcome:
    """Jobs delayed by 25 s where the timeout is 10 s."""
    trial.start(delays=True)
    _proven(trial)
    began_ns = time.monotonic_ns()
    trial.produce(LATE, seconds=0.1, delay_s=DELAY_S)
    return _watched(trial, began_ns, DELAY_S + STARTED_WITHIN_S)


def long_job(trial: Trial) -> Outcome:
    """Jobs that run for 25 s where the timeout is 10 s."""
    trial.start()
    _proven(trial)
    began_ns = time.monotonic_ns()
    trial.produce(LATE, seconds=DELAY_S)
    return _watched(trial, began_ns, LATE * DELAY_S + STARTED_WITHIN_S)


def _watched(trial: Trial, began_ns: int, within_s: float) -> Outcome:
    """Waits for the ends and then for runs too many; says how often each ran, and when."""

    def ended() -> bool:
        acks, runs = trial.read()
        return bool(acks) and not verdict.missing(acks, runs)

    trial.until(ended, within_s)
    time.sleep(WATCH_S)
    acks, runs = trial.read()
    if (missing := verdict.missing(acks, runs)) and (dead := trial.ended_helper()) is not None:
        raise TrialFailed(f"what its delayed jobs need ended of itself, with {len(missing)} to run: {dead}")
    where = trial.held(verdict.missing(acks, runs))
    outcome = verdict.judge(acks, runs, where, began_ns, time.monotonic_ns())
    moments = verdict.moments_s(acks, runs)
    outcome.facts["starts_s"] = moments
    firsts = [each[0] for each in moments if each]
    if outcome.again:
        worst = max(moments, key=len)
        outcome.notes.append(f"one started at {', '.join(f'{moment:g}' for moment in worst[:6])} s")
    elif firsts:
        outcome.notes.append(f"the first started at {min(firsts):g} s, the last at {max(firsts):g} s")
    return outcome


def undecodable(trial: Trial) -> Outcome:
    """A message whose body is rubbish, before 20 good ones."""
    return _damaged(trial, trial.system.damage)


def undecodable_envelope(trial: Trial) -> Outcome:
    """A message that is rubbish as a whole, before 20 good ones."""
    assert trial.system.tear is not None
    return _damaged(trial, trial.system.tear)


def _damaged(trial: Trial, damage: Callable[[Any], None]) -> Outcome:
    # By a worker of its own, since the bad message is made while none runs.
    trial.start()
    _proven(trial)
    trial.kill()
    with client(trial.server.url) as redis:
        redis.flushall()
    trial.produce(1, prefix="bad", seconds=0.0)
    with client(trial.server.url) as redis:
        damage(redis)
    # Nobody promised to run what was damaged.
    trial.out.rename(trial.out.with_name("acks-of-the-bad"))
    trial.produce(GOOD, prefix="good", seconds=0.05)
    began_ns = time.monotonic_ns()
    trial.start()
    with trial.traffic():
        where = trial.settle(WAIT_S, revive=True)
    now_ns = time.monotonic_ns()
    # The bad one is looked for when its worker has had time to deal with it.
    time.sleep(5)
    acks, runs = trial.read()
    outcome = verdict.judge(acks, runs, where, began_ns, now_ns)
    kept = trial.held({"not-a-message"})
    with client(trial.server.url) as redis:
        outcome.facts |= {"sizes": sizes(redis), "kept": sorted(kept.get("not-a-message", ()))}
    outcome.facts["worker_ended"] = trial.restarts
    outcome.facts["log"] = trial.log(1500)
    outcome.notes.append(_fate(outcome.facts["kept"], outcome.facts["sizes"]))
    outcome.notes.append("logged" if trial.complained() else "not logged")
    outcome.notes += _endings(trial)
    return outcome


def _endings(trial: Trial) -> list[str]:
    """Whether the worker as a whole ended of itself."""
    if not trial.restarts:
        return []
    return [f"times that the worker ended and was started again: {trial.restarts}"]


def _fate(kept: list[str], sizes: dict[str, int]) -> str:
    if not kept:
        return "the bad one is gone from the broker"
    places = [*kept, *(name for name in sizes if _SET_ASIDE.search(name))]
    return f"the bad one is kept in {', '.join(f'`{name}`' for name in places)}"


def restart(trial: Trial) -> Outcome:
    """The broker killed for 2 s, and later frozen for 8 s, while a producer enqueues ten jobs a second."""
    trial.start()
    _proven(trial)
    with trial.producing(2 * JOBS, pause_s=RATE_PAUSE_S, seconds=0.05) as producer:
        if not trial.until(lambda: len(trial.read()[0]) > JOBS // 3, STARTED_WITHIN_S):
            raise TrialFailed(f"{JOBS // 3} jobs were not enqueued within {STARTED_WITHIN_S:g} s")
        trial.server.kill()
        time.sleep(DOWN_S)
        trial.server.start()
        time.sleep(6)
        trial.server.pause()
        time.sleep(FROZEN_S)
        trial.server.resume()
        fault_ns = time.monotonic_ns()
        hung = False
        try:
            producer.wait(STARTED_WITHIN_S)
        except subprocess.TimeoutExpired:
            hung = True
    outcome = _settled(trial, fault_ns, revive=True)
    told = verdict.calls([trial.out])
    outcome.facts |= told | {"worker_ended": trial.restarts, "producer_hung": hung}
    outcome.notes.append(f"longest call to enqueue {told['longest_call_s']:g} s")
    outcome.notes.append(f"errors: {told['errors'] or 'none'}")
    if hung:
        outcome.notes.append(f"the producer still hung {STARTED_WITHIN_S:g} s later")
    outcome.notes += _endings(trial)
    return outcome


def _proven(trial: Trial) -> None:
    """Raises where the worker that was started does not run a job, of which no figure tells: there is no fault yet.

    Raises:
        TrialFailed: It ended, or ran nothing in time.
    """
    worker = trial.worker
    assert worker is not None
    out = trial.out.with_name("acks-of-the-first")
    trial.produce(1, prefix="first", seconds=0.0, out=out)

    def ran() -> bool:
        return not verdict.missing(*verdict.read(out, trial.effects))

    if not trial.until(ran, STARTED_WITHIN_S, while_lives=worker):
        ended = worker.process.poll()
        how = "runs nothing" if ended is None else f"ended with status {ended}"
        raise TrialFailed(f"its worker {how}, before any fault: {trial.log()}")
    if (dead := trial.ended_helper()) is not None:
        raise TrialFailed(f"what its delayed jobs need ended, before any fault: {dead}")


def _wait_for_work(trial: Trial, ended: int, since_ns: int) -> None:
    """Until so many jobs have ended in all, and some run that this worker has begun."""

    def there() -> bool:
        runs = trial.read()[1]
        done = sum(1 for each in runs.values() if any(run.end_ns for run in each))
        return done >= ended and bool(verdict.running(runs, since_ns))

    # Who has nothing left to run, since it lost it or holds it back, is killed idle.
    within_s = WORK_WITHIN_S if since_ns else STARTED_WITHIN_S
    if not trial.until(there, within_s, while_lives=trial.worker) and not trial.read()[1]:
        raise TrialFailed(f"no job ran: {trial.log()}")


def _settled(trial: Trial, fault_ns: int, *, revive: bool = False) -> Outcome:
    with trial.traffic():
        where = trial.settle(WAIT_S, revive=revive)
    now_ns = time.monotonic_ns()
    if not where:
        # What ran and was not acknowledged in time may come again.
        time.sleep(3)
    acks, runs = trial.read()
    outcome = verdict.judge(acks, runs, where, fault_ns, now_ns)
    if where:
        places: dict[str, int] = {}
        for names in where.values():
            for name in names:
                places[name] = places.get(name, 0) + 1
        outcome.facts["places"] = places
    with client(trial.server.url) as redis:
        outcome.facts["sizes"] = sizes(redis)
    outcome.facts["log"] = trial.log(1000)
    return outcome


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind.

    Attributes:
        title: For the page.
        about: What is done, for the page.
        run: Its driver.
        short: Whether it needs short timeouts, also in the default setting.
        applies: Whether a library can have it at all.
    """

    title: str
    about: str
    run: Callable[[Trial], Outcome]
    short: bool = False
    applies: Callable[[System], bool] = lambda system: True


_SHORT = (
    "In every setting, the default too, each timeout that can be set is 10 s: Penstock's lease, Celery's "
    "`visibility_timeout` (looked for every 10 s), Dramatiq's `heartbeat_timeout`, the `idle_timeout` of Taskiq's "
    "stream."
)
FAULTS: dict[str, Fault] = {
    "kill": Fault(
        "`kill -9` of the whole worker",
        f"{JOBS} jobs of {JOB_S:g} s; every process of the worker is killed {KILLS} times while jobs run, and a new "
        "worker is started at once.",
        kill_all,
    ),
    "child": Fault(
        "`kill -9` of the child that runs a job",
        f"{JOBS // 2} jobs of {JOB_S:g} s; the one process that runs a job is killed once. Its parent is left alone, "
        "and started again where it ends of itself. Penstock and Huey run these jobs in the process that was started, "
        "and have no such child here.",
        kill_child,
        applies=lambda system: system.child,
    ),
    "delay": Fault(
        "a delay longer than the timeout",
        f"{LATE} jobs, delayed by {DELAY_S:g} s, watched for {WATCH_S:g} s after the last has ended. {_SHORT}",
        long_delay,
        short=True,
    ),
    "long": Fault(
        "a job longer than the timeout",
        f"{LATE} jobs that run for {DELAY_S:g} s, watched for {WATCH_S:g} s more. {_SHORT}",
        long_job,
        short=True,
    ),
    "undecodable": Fault(
        "an undecodable message",
        "A genuine message whose body was replaced by bytes that are not the format, in its library's own envelope "
        f"where it has one; then {GOOD} good jobs. The count is of the good ones. A worker that ends is started again.",
        undecodable,
    ),
    "envelope": Fault(
        "an undecodable envelope",
        "The same, with these bytes in place of the whole message. Only Celery's transport has an envelope of its own.",
        undecodable_envelope,
        applies=lambda system: system.tear is not None,
    ),
    "restart": Fault(
        "a killed and a frozen broker",
        f"A producer enqueues {2 * JOBS} jobs, one every {RATE_PAUSE_S:g} s and more; Redis (`appendfsync always`) is "
        f"killed, started again {DOWN_S:g} s later, and after 6 s more frozen for {FROZEN_S:g} s. A call that fails is "
        "not made again and does not count. A worker that ends is started again.",
        restart,
    ),
}


def tried(system: System, fault: Fault, programs: Path, folder: Path) -> Outcome:
    """One fault at one library."""
    with Trial(system, programs, folder, short=fault.short) as trial:
        return fault.run(trial)
