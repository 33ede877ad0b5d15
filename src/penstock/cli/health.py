"""``penstock health``: whether the workers of this host live. For probes: it imports no application and no driver."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import click

from penstock.cli.exits import Exit
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.runtime.heartbeat import Seen, read_all, run_folder
from penstock.settings import Settings


@click.command()
@words
@click.option("--within", "within_s", type=click.FloatRange(min=0), metavar="SECONDS",
              help="Since when a worker must have beaten [its lease].")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def command(target: Target, /, within_s: float | None, as_json: bool) -> int:
    """Whether the workers of this host live: 0 when all have beaten of late, 1 when one is silent or none is there.

    It reads the files that workers write to PENSTOCK_RUN_DIR, and asks nobody. An application that is named is not
    imported.
    """
    settings = Settings(Path.cwd(), None, target.command_line)
    folder = run_folder(settings["run_dir"])
    workers, unreadable, removed = _look(folder)
    now = time.monotonic()
    silent = [seen for seen in workers if _age_s(seen, now) > _limit_s(seen, within_s)]
    healthy = bool(workers) and not silent and not unreadable
    if as_json:
        shown = [_shown(seen, now, seen in silent) for seen in workers]
        gone = [{"id": seen.id, "pid": seen.pid} for seen in removed]
        click.echo(json.dumps({"healthy": healthy, "folder": str(folder), "workers": shown, "removed": gone,
                               "unreadable": [str(file) for file in unreadable]}, indent=2))  # fmt: skip
    else:
        for seen in workers:
            click.echo(_line(seen, now, within_s, silent=seen in silent))
        _say_rest(folder, workers, unreadable, removed)
    return Exit.DONE if healthy else Exit.FAILED


def _look(folder: Path) -> tuple[list[Seen], list[Path], list[Seen]]:
    """Those that have a process, the files that cannot be read, and those whose process is gone, which are removed."""
    workers: list[Seen] = []
    unreadable: list[Path] = []
    removed: list[Seen] = []
    for file, seen in read_all(folder):
        if seen is None:
            unreadable.append(file)
        elif seen.lives:
            workers.append(seen)
        else:
            removed.append(seen)
            with contextlib.suppress(OSError):  # whoever may not remove it has said what there is to say
                file.unlink(missing_ok=True)
    return workers, unreadable, removed


def _age_s(seen: Seen, mono_now: float) -> float:
    return max(mono_now - seen.mono_seen_at, 0.0)


def _limit_s(seen: Seen, within_s: float | None) -> float:
    return seen.silent_after_s if within_s is None else within_s


def _line(seen: Seen, mono_now: float, within_s: float | None, *, silent: bool) -> str:
    how = f"{seen.state}, beat {_age_s(seen, mono_now):.1f} s ago"
    if silent:
        how = (
            f"SILENT for {_age_s(seen, mono_now):.0f} s, longer than {_limit_s(seen, within_s):g} s: it hangs, "
            "or its broker does not answer"
        )
    return f"worker {seen.id[:13]} (pid {seen.pid}) of {seen.app} on {seen.broker}: {how}"


def _say_rest(folder: Path, workers: list[Seen], unreadable: list[Path], removed: list[Seen]) -> None:
    for seen in removed:
        click.echo(f"worker {seen.id[:13]} (pid {seen.pid}) of {seen.app} is gone without a word, killed or crashed; "
                   "its file is removed", err=True)  # fmt: skip
    for file in unreadable:
        click.echo(f"{file} cannot be read; ask as the user that runs the worker", err=True)
    if not workers:
        click.echo(f"no worker runs on this host, as far as {folder} tells; workers and this command must have the "
                   "same PENSTOCK_RUN_DIR and user", err=True)  # fmt: skip


def _shown(seen: Seen, mono_now: float, silent: bool) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seen.seen_at))
    return {
        **{name: getattr(seen, name) for name in ("id", "pid", "app", "broker", "state")},
        "seen_at": moment,
        "age_s": round(_age_s(seen, mono_now), 3),
        "silent": silent,
    }
