"""Where the time goes: ``python -m benchmarks.profile drain|delay|delay_many``.

``drain`` runs a worker in this process. ``--how calls`` puts the job's call on the I/O thread, so that there is one
thread, and counts every call under cProfile, which makes small functions look dearer than they are; ``--how threads``
is the worker as it is, and what the kernel says each of its threads used of the processor.
``delay`` and ``delay_many`` have one thread and run under cProfile.
"""

from __future__ import annotations

import argparse
import contextvars
import cProfile
import os
import pstats
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import bench
from benchmarks.actors import ADDRESS
from benchmarks.children import act
from penstock import Penstock
from penstock.core.spec import Lane
from penstock.runtime.worker import Worker

_SHOWN = 45
_APPS = {"sync": "noop_app", "results": "noop_app", "async": "noop_async_app", "mixed": "noop_mixed_app"}


def _group(name: str) -> str:
    """The threads of a pool are counted together."""
    return name.rstrip("0123456789").rstrip("-_ ")


def thread_cpu_s() -> dict[str, float]:
    """What each thread has used of the processor, those of a pool together."""
    names = {thread.native_id: _group(thread.name) for thread in threading.enumerate()}
    used: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        used[names.get(int(task.name), "other")] += int((task / "schedstat").read_text().split()[0]) / 1e9  # type: ignore[assignment]
    return dict(used)


def drain(url: str, kind: str, count: int, how: str) -> None:
    """A worker in this process, on a full queue."""
    from penstock.runtime.worker_settings import WorkerSettings

    act("fill", url, {"results": "noop_result"}.get(kind, "noop"), count)
    app: Penstock = import_module(f"benchmarks.{_APPS[kind]}").app
    settings = WorkerSettings(queues=["default"], concurrency=10, version="profile", burst=True)
    worker = (OneThread if how == "calls" else Worker)(app.tasks, app.connect, settings)
    used: dict[str, float] = {}
    profiler = cProfile.Profile()
    if how == "calls":
        profiler.enable()
    else:
        threading.Thread(target=_keep_cpu, args=(used,), name="watch", daemon=True).start()
    began = time.monotonic()
    worker.run(signals=False)
    took = time.monotonic() - began
    profiler.disable()
    print(f"{count:,} jobs in {took:.2f} s: {count / took:,.0f}/s, start and stop included\n")
    if how == "calls":
        pstats.Stats(profiler).sort_stats("tottime").print_stats(_SHOWN)
        return
    print("processor time by thread")
    for name, cpu_s in sorted(used.items(), key=lambda item: -item[1]):
        print(f"  {cpu_s:7.2f} s  {cpu_s / count * 1e6:6.2f} us/job  {name}")


def _keep_cpu(used: dict[str, float]) -> None:
    """A thread's figure is gone with it, so it is read now and then."""
    while True:
        time.sleep(0.1)
        used.update(thread_cpu_s())


class _InlineLane:
    """Runs each job where it is handed over, so that all there is happens on one thread."""

    def __init__(self, pool: Any, finish: Callable[[Any, Any], None]) -> None:
        self._pool = pool
        self._finish = finish

    def submit(self, runs: Iterable[Any]) -> None:
        from penstock.runtime.lanes import call

        for run in runs:
            run.mono_started = time.monotonic()
            self._finish(run, contextvars.Context().run(call, run, self._pool))

    def ask(self, run: Any) -> None: ...

    def recall(self, mono_before: float) -> list[Any]:
        return []

    def close(self) -> None: ...


class OneThread(Worker):
    """A worker without a lane of its own: cProfile sees one thread only."""

    def _make_lanes(self, executor: Any) -> dict[Any, Any]:
        self._loop_lane = None
        return {Lane.THREAD: _InlineLane(self._pool, executor.finish)}


def delay(url: str, count: int, many: bool) -> None:
    """Enqueues under cProfile, and once without it for the rate."""
    from benchmarks.noop_app import noop

    def go(times: int) -> None:
        if many:
            noop.delay_many((number, ADDRESS) for number in range(times))
        else:
            for number in range(times):
                noop.delay(number, ADDRESS)

    go(1_000)
    began, cpu = time.monotonic(), time.process_time()
    go(count)
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    here = f"{cpu / count * 1e6:.1f} here on the processor"
    print(f"without profiling: {count / took:,.0f}/s, {took / count * 1e6:.1f} us a job, of them {here}\n")
    profiler = cProfile.Profile()
    profiler.enable()
    go(count)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(_SHOWN)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("what", choices=["drain", "delay", "delay_many"])
    parser.add_argument("--broker", choices=["redis", "sqlite"], default="redis")
    parser.add_argument("--app", choices=sorted(_APPS), default="sync", help="for drain: which tasks")
    parser.add_argument(
        "--how", choices=["calls", "threads"], default="calls", help="for drain: what to show"
    )
    parser.add_argument("--jobs", type=int, default=0)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        bench.place(bench.quick(Path(folder)), given.broker) as place,
    ):
        os.environ["PENSTOCK_BROKER_URL"] = place.url
        if given.what == "drain":
            drain(
                place.url,
                given.app,
                given.jobs or (200_000 if given.broker == "redis" else 60_000),
                given.how,
            )
        else:
            many = given.what == "delay_many"
            delay(place.url, given.jobs or (200_000 if many else 10_000), many)


if __name__ == "__main__":
    main()
