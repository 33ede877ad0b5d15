"""What a worker costs: processor, memory, its start, and doing nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench import Place, Plan, Row, Verdict, interleaved, middle, place, until
from benchmarks.children import RunFailed, WorkerProcess, act, bare_worker, peak_mb
from benchmarks.drain import drain
from benchmarks.state import Watcher, told

_JOBS = 10_000
_APP = "benchmarks.noop_app"
# Short runs, so there are more of them.
_REPEATS = 3
_START_REPEATS = 5


def processor_and_memory(plan: Plan) -> list[Row]:
    """A worker that drains 10,000 no-op jobs, beside the bare loop that does."""
    with place(plan, "redis") as at, place(plan, "sqlite") as file:
        measured = interleaved(
            plan.runs * _REPEATS,
            {
                "bare": lambda: _bare(at),
                "Redis": lambda: drain(plan, at, _APP, "noop", _JOBS),
                "coroutines": lambda: drain(plan, at, "benchmarks.noop_async_app", "noop", _JOBS),
                "SQLite": lambda: drain(plan, file, _APP, "noop", _JOBS),
            },
        )
        guard = _guard_mb(at)
    figures = middle(measured)
    return [_processor(figures, measured), _memory(figures, guard)]


def _processor(figures: Mapping[str, float], measured: dict[str, list[float]]) -> Row:
    verdict = Verdict()
    verdict.most(figures["Redis cpu_s"], 0.25, "CPU")
    return Row(
        "cpu", "worker CPU for 10,000 no-op jobs", "≤ 0.25 s", f"{figures['Redis cpu_s']:.3f} s", verdict.met,
        missed_by=verdict.missed_by, samples=measured,
        notes=[
            "from the first job on",
            f"with the start {figures['Redis cpu_s_in_all']:.2f} s, the bare loop {figures['bare cpu_s']:.2f} s",
            f"coroutines {figures['coroutines cpu_s']:.3f} s, SQLite {figures['SQLite cpu_s']:.3f} s",
        ],
    )  # fmt: skip


def _memory(figures: Mapping[str, float], guard_mb: float | None) -> Row:
    ours, bare = figures["Redis peak_mb"], figures["bare peak_mb"]
    verdict = Verdict()
    verdict.most(ours, bare + 4, "the bare loop + 4 MB")
    notes = [
        f"{ours - bare:+.1f} MB; the stretch aim of 31 MB is {'met' if ours <= 31 else 'not met'}",
        f"coroutines {figures['coroutines peak_mb']:.1f} MB, SQLite {figures['SQLite peak_mb']:.1f} MB",
    ]
    if guard_mb is not None:
        notes.append(f"its guard, a process of its own, peaks at {guard_mb:.1f} MB, most of it shared")
    return Row(
        "memory", "peak memory of a worker with a no-op application, without its guard",
        "≤ the bare loop + 4 MB; stretch 31 MB", f"{ours:.1f} MB", verdict.met, f"{bare:.1f} MB", ours / bare,
        verdict.missed_by, notes=notes,
    )  # fmt: skip


def _bare(at: Place) -> dict[str, float]:
    at.empty()
    act("fill_limit_redis", at.url, _JOBS)
    told = bare_worker(at.url, _JOBS)
    return {"peak_mb": told["peak_mb"], "cpu_s": told["cpu_s"]}


def _guard_mb(at: Place) -> float | None:
    """The guard's own peak; None where the worker has no child."""
    with Watcher(at.url) as watcher, WorkerProcess(_APP, at.url, guard=True) as worker:
        until(watcher.has_worker, 10.0)
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        return peak_mb(int(children[0])) if children else None


def start(plan: Plan) -> list[Row]:
    """From the making of the process to the first line of its first job."""
    with place(plan, "redis") as at, place(plan, "sqlite") as file:
        _first_job(plan, at, _APP)  # byte code is written once
        measured = interleaved(
            plan.runs * _START_REPEATS,
            {
                "bare": lambda: _bare_first_job(at),
                "Redis": lambda: _first_job(plan, at, _APP),
                "coroutines": lambda: _first_job(plan, at, "benchmarks.noop_async_app"),
                "SQLite": lambda: _first_job(plan, file, _APP),
            },
        )
    figures = middle(measured)
    ours, bare = figures["Redis"], figures["bare"]
    verdict = Verdict()
    verdict.most(ours, bare + 0.03, "the bare loop + 0.03 s")
    return [
        Row(
            "process-start", "start of the process to first job run", "≤ the bare loop + 0.03 s; stretch 0.17 s",
            f"{ours:.3f} s", verdict.met, f"{bare:.3f} s", ours / bare, verdict.missed_by, samples=measured,
            notes=[
                f"{ours - bare:+.3f} s; the stretch aim of 0.17 s is {'met' if ours <= 0.17 else 'not met'}",
                f"coroutines {figures['coroutines']:.3f} s, SQLite {figures['SQLite']:.3f} s; without its guard",
            ],
        )
    ]  # fmt: skip


def _first_job(plan: Plan, at: Place, app: str) -> dict[str, float]:
    at.empty()
    act("fill", at.url, "noop", 1)
    with Watcher(at.url) as watcher, WorkerProcess(app, at.url) as worker:
        until(lambda: watcher.settled(1), 20.0, every_s=0.02)
        facts = told(plan, watcher, worker)
        if facts["ran"] != 1:
            raise RunFailed("the job did not run once")
        return {"": facts["first_mono"] - worker.mono_spawned}


def _bare_first_job(at: Place) -> dict[str, float]:
    at.empty()
    act("fill_limit_redis", at.url, 1)
    told = bare_worker(at.url, 1)
    return {"": told["mono_first"] - told["mono_spawned"]}


def idle(plan: Plan) -> list[Row]:
    """A worker with nothing to do: percent of a core, and what it asks of the broker."""
    with place(plan, "redis") as at, place(plan, "sqlite") as file:
        with Watcher(at.url) as watcher, WorkerProcess(_APP, at.url) as worker:
            act("fill", at.url, "noop", 100)
            until(lambda: watcher.settled(100), 20.0)
            cpu = _percent(worker, 2.0, plan.idle_s)
            commands, trips = _commands_a_second(at.url, plan.idle_s)
            worker.check()
        with Watcher(file.url) as watcher, WorkerProcess(_APP, file.url) as worker:
            act("fill", file.url, "noop", 100)
            until(lambda: watcher.settled(100), 20.0)
            on_file = _percent(worker, 2.0, plan.idle_s)
            worker.check()
    verdict = Verdict()
    verdict.most(cpu, 0.5, "CPU")
    verdict.most(trips, 3.0, "broker calls")
    return [
        Row(
            "idle", "idle worker", "≤ 0.5 % of a core, ≤ 3 broker calls a second",
            f"{cpu:.2f} %, {trips:.1f} calls/s", verdict.met, missed_by=verdict.missed_by,
            notes=[
                f"over {plan.idle_s:g} s; a call is what is sent in one go, before an answer is waited for",
                f"the calls hold {commands:.1f} commands/s",
                f"on SQLite {on_file:.2f} %",
            ],
            samples={"Redis %": [cpu], "calls/s": [trips], "commands/s": [commands], "SQLite %": [on_file]},
        )
    ]  # fmt: skip


def _percent(worker: WorkerProcess, settle_s: float, over_s: float) -> float:
    time.sleep(settle_s)
    before, began = worker.cpu_s(), time.monotonic()
    time.sleep(over_s)
    return 100 * (worker.cpu_s() - before) / (time.monotonic() - began)


def _commands_a_second(url: str, over_s: float) -> tuple[float, float]:
    """Commands that clients send, and in how many goes, as the server's own monitor sees them.

    What follows a BLPOP was sent with it; what comes within a tenth of a millisecond too.
    """
    import redis

    with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        seen: list[tuple[float, str, str]] = []
        enough = threading.Event()

        def listen() -> None:
            for each in monitor.listen():
                if enough.is_set():
                    return
                if each["client_type"] != "lua":
                    seen.append(
                        (each["time"], f"{each['client_address']}:{each['client_port']}", each["command"])
                    )

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        time.sleep(over_s)
        enough.set()
        commands = list(seen)
        with redis.Redis.from_url(url) as other:
            other.ping()
        listener.join(5)
    return len(commands) / over_s, _goes(commands) / over_s


def _goes(commands: list[tuple[float, str, str]]) -> int:
    last: dict[str, tuple[float, str]] = {}
    goes = 0
    for at, who, command in commands:
        before, verb = last.get(who, (0.0, ""))
        goes += verb != "BLPOP" and at - before > 0.0001
        last[who] = at, command.partition(" ")[0].upper()
    return goes
