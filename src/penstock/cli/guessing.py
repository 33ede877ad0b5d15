"""What was meant, where what was typed is nothing: a near name, or the command that other systems call otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_LOOK: Final = (
    "penstock queues, penstock jobs and penstock workers show what stands where, with --json to a program"
)
_WORKERS: Final = "penstock workers shows who runs jobs, penstock jobs --state running which they are"
_ORDERS: Final = (
    "orders to workers are penstock workers ID quiet, resume, stop or dump; --all is every worker"
)
_WORK: Final = "penstock -A MODULE worker runs jobs"
_LATER: Final = "none is needed: each worker sees to what is due later, and cron may run penstock enqueue"

ELSEWHERE: Final = {
    **dict.fromkeys(("beat", "cron", "schedule", "scheduler", "schedules"), _LATER),
    **dict.fromkeys(
        ("dashboard", "events", "flower", "monitor", "sidekiqmon", "top", "web"), f"no page: {_LOOK}"
    ),
    **dict.fromkeys(("list", "ls", "ps"), _LOOK),
    **dict.fromkeys(("active", "busy", "inspect"), _WORKERS),
    **dict.fromkeys(
        ("ping", "status"),
        "penstock workers shows who runs jobs, penstock health whether the workers of this host live",
    ),
    **dict.fromkeys(
        ("count", "info", "stat", "stats"),
        "penstock queues counts jobs, penstock workers shows who runs them",
    ),
    **dict.fromkeys(("control", "dump", "quiet", "shutdown", "stop"), _ORDERS),
    **dict.fromkeys(("consume", "consumer", "run", "runworker", "start", "work"), _WORK),
    **dict.fromkeys(("multi", "worker-pool"), "penstock -A MODULE worker --processes N runs several"),
    **dict.fromkeys(
        ("registered", "tasks"), "penstock -A MODULE worker says as it starts which tasks it knows"
    ),
    **dict.fromkeys(("call", "push", "send"), "penstock enqueue NAME ARGS-JSON makes a job"),
    **dict.fromkeys(("get", "result", "show"), "penstock job ID shows all of one job, its result too"),
    **dict.fromkeys(("abort", "kill", "revoke"), "penstock cancel ends jobs that wait or run"),
    **dict.fromkeys(("clear", "delete", "empty", "flush", "remove"), "penstock purge deletes jobs"),
    **dict.fromkeys(("replay", "requeue"), "penstock retry runs dead jobs again"),
    **dict.fromkeys(("failed", "failures", "morgue"), "penstock dead shows what failed for good"),
    **dict.fromkeys(("check", "report"), "penstock doctor checks the broker"),
    "help": "penstock --help shows them",
    "scheduled": "penstock jobs --state scheduled shows what is due later",
    "settings": "penstock config shows every setting",
    "suspend": "penstock pause keeps workers from taking jobs of a queue",
    "unpause": "penstock resume ends the pause of a queue",
    "version": "penstock --version shows it",
}
"""Words that people type who know other task systems, each with what does it here."""


def near(typed: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` where one of ``known`` is nearly what was typed; else nothing."""
    from difflib import get_close_matches  # only who mistypes pays for it

    found = get_close_matches(typed, list(known), 1, 0.6)
    return f"; did you mean {found[0]}?" if found else ""


def command(typed: str, known: Iterable[str]) -> str:
    """What to say behind the name of a command that is none."""
    return f"; {ELSEWHERE[typed]}" if typed in ELSEWHERE else near(typed, known)
