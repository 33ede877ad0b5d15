"""Writes down what was measured, on what, and how."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import Plan, Row, place
from benchmarks.peers import pages

# Why an aim is missed, by what is measured. Written by hand when a run has shown it.
REASONS: Mapping[str, str] = {
    "two worker processes, no-op jobs": "One worker and the server already use 1.7 of the two cores: 2.9 us of the "
    "server's and 3.5 us of the worker's a job (2026-11-22, `INFO` and `/proc/PID/schedstat` over 600,000 jobs), so "
    "nothing could drain more than 1.2 times as much here. A second process is for jobs with work of their own.",
    "enqueue to start, idle worker, Redis": "Four times somebody who sleeps is woken on this way, twice in the bare "
    "loop's, and this machine took 0.19 ms longer for the latter than in the run of 2026-11-22, which met the aim with "
    "0.61 ms beside 0.32 ms. The engine of that day measured the same beside today's (1.02 and 1.08 ms to 0.81 and "
    "1.10 ms).",
    "enqueue to result, idle worker, Redis": "As for the start of a job.",
    "start of the process to first job run": "It moves with the machine, too: +0.028 s in the run of 2026-11-22.",
}

_PACKAGES = ("penstock", "redis", "hiredis", "msgspec", "apsw", "uvloop", "click")


def machine(plan: Plan) -> dict[str, str]:
    """What it was measured on: nothing that names the machine."""
    import apsw

    with place(plan, "redis") as at:
        import redis

        with redis.Redis.from_url(at.url) as client:
            client.ping()
            ping_ms = _median_ms(client.ping)
            server = client.info("server")["redis_version"]
            settings = client.config_get("save", "appendonly", "maxmemory")
    cores = len(os.sched_getaffinity(0))
    return {
        "machine": f"{_cpu_model()}, {cores} cores shared by all that was running, {_memory_gb():.0f} GB, "
        f"Linux {platform.release().partition('-')[0]} {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "round trip": f"PING through redis-py over loopback: {ping_ms:.3f} ms",
        "disk": f"4 KiB written and forced to the disk: {_fsync_ms(plan.folder):.2f} ms",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "Redis": f"{server}, a server of its own on loopback, "
        + ", ".join(f"{name} {value or 'none'}" for name, value in sorted(settings.items())),
        "SQLite": f"{apsw.sqlite_lib_version()}, WAL, synchronous=FULL",
        "worker": "one process, concurrency 10 unless said, at least once, lease 15 s, no guard",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _fsync_ms(folder: Path) -> float:
    file = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY, 0o600)
    try:

        def force() -> None:
            os.pwrite(file, os.urandom(4096), 0)
            os.fdatasync(file)

        return _median_ms(force)
    finally:
        os.close(file)


def _median_ms(action: Any, times: int = 200) -> float:
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return 1000 * median(took)


_HOW = """\
Written by `{command}` in {minutes:.0f} min. Penstock and the *limit* (a bare loop that fetches, decodes, calls and
settles without any engine; the driver alone where a producer is measured) take turns in one run. Figures are medians of
{runs} runs of at least {run_s:g} s, and of more runs where one is short by nature. A run in which not every job ran
exactly once has no figure. `scripts/bench peers` measures other libraries at the same work: a section
of its own, below.
"""
_NOT_YET = "## Beside other libraries\n\nNot measured yet: `scripts/bench peers` writes this section."


def markdown(
    rows: Sequence[Row], facts: Mapping[str, str], plan: Plan, command: str, took_s: float, beside: str = ""
) -> str:
    """The whole page; ``beside`` is the section of ``scripts/bench peers`` as it stands in the page, and is kept."""
    how = _HOW.format(command=command, minutes=took_s / 60, runs=plan.runs, run_s=plan.run_s)
    missed = [row for row in rows if not row.met]
    lines = ["# Benchmarks", ""]
    if plan.quick:
        lines += ["**A quick run: too short to be quoted.**", ""]
    lines += [how, *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += [f"{len(rows) - len(missed)} of {len(rows)} aims are met.", ""]
    lines += ["| what | aim | Penstock | limit | ratio | |", "|---|---|---|---|---|---|"]
    lines += map(_line, rows)
    if missed:
        lines += ["", "## Missed, by how much and why", ""]
        lines += [
            f"- **{each.what}**: {each.missed_by}. {REASONS.get(each.what, '')}".rstrip() for each in missed
        ]
    lines += ["", "## Beside the table", ""]
    lines += [f"- {row.what}: {'; '.join(row.notes)}." for row in rows if row.notes]
    lines += ["", pages.BEGIN, beside or _NOT_YET, pages.END]
    lines += ["", "## Every run", "", "| variant | runs |", "|---|---|"]
    for row in rows:
        for variant, figures in row.samples.items():
            lines.append(f"| {row.name}: {variant} | {', '.join(f'{figure:,.5g}' for figure in figures)} |")
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    verdict = "met" if row.met else "**missed**"
    return f"| {row.what} | {row.aim} | {row.ours} | {row.limit} | {ratio} | {verdict} |"


def as_json(rows: Sequence[Row], facts: Mapping[str, str], plan: Plan) -> str:
    """The same for programs."""
    told = {"quick": plan.quick, "machine": facts, "rows": [asdict(row) for row in rows]}
    return json.dumps(told, indent=1, ensure_ascii=False)
