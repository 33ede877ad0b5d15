"""How long one job takes while the worker has nothing else to do; and sleeping jobs, which show what slots lose."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.bench import Plan, Row, Verdict, interleaved, middle, percentile, place, until
from benchmarks.children import Acting, RunFailed, WorkerProcess, act
from benchmarks.drain import settled_at
from benchmarks.state import Watcher, told

# From one enqueue to the next. The job itself ends well within the rest, so that the worker is idle for at least 5 ms.
_APART_S = 0.010
_APART_ON_SQLITE_S = 0.015
# After a result has come the job has ended.
_IDLE_S = 0.005
_NAPS = 1_000
_ROUNDS = 6


def to_start(plan: Plan) -> list[Row]:
    """From before ``delay`` to the function's first line, on Redis and on SQLite."""
    with place(plan, "redis") as at, place(plan, "sqlite") as file:
        measured = interleaved(
            plan.runs,
            {
                "bare": lambda: _bare(plan, at.url),
                "Redis": lambda: _stamps(plan, at.url, _APART_S),
                "SQLite": lambda: _stamps(plan, file.url, _APART_ON_SQLITE_S),
            },
        )
    figures = middle(measured)
    redis, file_verdict = Verdict(), Verdict()
    redis.most(figures["Redis p50"], 0.9, "p50")
    redis.most(figures["Redis p99"], 2.0, "p99")
    file_verdict.most(figures["SQLite p50"], 3.0, "p50")
    bare = f"p50 {figures['bare p50']:.2f} ms, p99 {figures['bare p99']:.2f} ms"
    return [
        Row(
            "start", "enqueue to start, idle worker, Redis", "p50 ≤ 0.9 ms, p99 ≤ 2 ms", _shown(figures, "Redis"),
            redis.met, bare, figures["Redis p50"] / figures["bare p50"], redis.missed_by, samples=measured,
            notes=["the limit is RPUSH to a process in BLPOP, both redis-py, with nothing behind it"],
        ),
        Row(
            "start", "enqueue to start, SQLite, two processes", "p50 ≤ 3 ms", _shown(figures, "SQLite"),
            file_verdict.met, missed_by=file_verdict.missed_by,
        ),
    ]  # fmt: skip


def to_result(plan: Plan) -> list[Row]:
    """From before ``delay`` to after ``result``."""
    with place(plan, "redis") as at, place(plan, "sqlite") as file:
        measured = interleaved(
            plan.runs,
            {
                "blocking": lambda: _results(plan, at.url, "results"),
                "async": lambda: _results(plan, at.url, "aresults"),
                "SQLite": lambda: _results(plan, file.url, "results"),
            },
        )
    figures = middle(measured)
    verdict = Verdict()
    verdict.most(figures["blocking p50"], 1.1, "p50")
    return [
        Row(
            "result", "enqueue to result, idle worker, Redis", "p50 ≤ 1.1 ms", _shown(figures, "blocking"),
            verdict.met, missed_by=verdict.missed_by, samples=measured,
            notes=[f"as a coroutine: {_shown(figures, 'async')}", f"blocking, SQLite: {_shown(figures, 'SQLite')}"],
        )
    ]  # fmt: skip


def _shown(figures: Mapping[str, float], what: str) -> str:
    return f"p50 {figures[f'{what} p50']:.2f} ms, p99 {figures[f'{what} p99']:.2f} ms"


def _percentiles(took_s: list[float]) -> dict[str, float]:
    took_ms = [each * 1000 for each in took_s]
    return {"p50": percentile(took_ms, 50), "p99": percentile(took_ms, 99)}


def _stamps(plan: Plan, url: str, apart_s: float) -> Mapping[str, float]:
    with Watcher(url) as watcher, WorkerProcess("benchmarks.noop_app", url) as worker:
        warm_up = act("stamps", url, plan.samples, apart_s)["warm_up"]
        facts = told(plan, watcher, worker)
    stamps = facts["stamps_ns"]
    if len(stamps) != plan.samples + warm_up:
        raise RunFailed(f"{len(stamps)} of {plan.samples + warm_up} jobs ran")
    return _percentiles([each / 1e9 for each in stamps[warm_up:]])


def _results(plan: Plan, url: str, actor: str) -> Mapping[str, float]:
    with Watcher(url) as watcher, WorkerProcess("benchmarks.noop_app", url) as worker:
        answer = act(actor, url, plan.samples, _IDLE_S)
        if told(plan, watcher, worker)["ran"] != answer["count"]:
            raise RunFailed("not every job ran once")
    return _percentiles(answer["took_s"])


def _bare(plan: Plan, url: str) -> Mapping[str, float]:
    with Acting("bare_pop", url, plan.samples) as popping:
        act("bare_push", url, plan.samples, _APART_S)
        return _percentiles(popping.told()["took_s"])


def sleeping(plan: Plan) -> list[Row]:
    """1,000 jobs that sleep 100 ms in 100 slots: 1 s of sleep, and the rest is ours."""
    with place(plan, "redis") as at:
        measured = interleaved(
            plan.runs,
            {
                "threads": lambda: _naps(plan, at.url, "benchmarks.noop_app"),
                "coroutines": lambda: _naps(plan, at.url, "benchmarks.noop_async_app"),
            },
        )
    figures = middle(measured)
    verdict = Verdict()
    verdict.most(figures["threads from enqueue"], 1.03, "threads")
    verdict.most(figures["coroutines from enqueue"], 1.03, "coroutines")
    return [
        Row(
            "sleeping", "1,000 jobs sleeping 100 ms, concurrency 100", "≤ 1.03 s",
            f"threads {figures['threads from enqueue']:.3f} s, coroutines {figures['coroutines from enqueue']:.3f} s",
            verdict.met, "1 s", figures["threads from enqueue"], verdict.missed_by, samples=measured,
            notes=[
                "from the beginning of `delay_many`, with the worker idle, to the end of the last job",
                f"from the first start: threads {figures['threads from start']:.3f} s",
                f"the first time, when threads are made: {figures['threads cold']:.3f} s",
            ],
        )
    ]  # fmt: skip


def _naps(plan: Plan, url: str, app: str) -> Mapping[str, float]:
    """Seconds; the median of several rounds in one worker, the first of which is told apart."""
    from_enqueue: list[float] = []
    from_start: list[float] = []
    with Watcher(url) as watcher, WorkerProcess(app, url, concurrency=100) as worker:
        until(watcher.has_worker, 10.0)
        before = watcher.counts().succeeded_total
        for number in range(_ROUNDS):
            time.sleep(0.1)
            began = act("naps", url, _NAPS)["mono_began"]
            settled_at(watcher, worker, before + (_NAPS + 1) * (number + 1) - 1)
            facts = told(plan, watcher, worker)
            if facts["ran"] != _NAPS:
                raise RunFailed(f"{facts['ran']:,} jobs ran, not {_NAPS:,}")
            from_enqueue.append(facts["last_mono"] - began)
            from_start.append(facts["last_mono"] - facts["first_mono"])
    return {
        "from enqueue": percentile(from_enqueue[1:], 50),
        "from start": percentile(from_start[1:], 50),
        "cold": from_enqueue[0],
    }
