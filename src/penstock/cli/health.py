"""``penstock health``: whether the workers of this host live. For probes: it imports no application and no driver."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from penstock.cli.exits import Exit
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.errors import ConfigError
from penstock.runtime.heartbeat import Seen, check_folder, read_all, run_folder
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
    refused = ""
    workers, unusable, removed, others = _Found([], {}, [], 0)
    try:
        if not settings["run_dir"]:
            check_folder(folder)
        workers, unusable, removed, others = _look(folder)
    except FileNotFoundError:  # no worker has ever been here
        pass
    except OSError as error:
        refused = f"{folder} cannot be read: {error.strerror}"
    except ConfigError as error:
        refused = f"{error}, so what is in it is not believed; set PENSTOCK_RUN_DIR to a folder of your own"
    now = time.monotonic()
    silent = [seen for seen in workers if _age_s(seen, now) > _limit_s(seen, within_s)]
    healthy = bool(workers) and not silent and not unusable
    if as_json:
        shown = [_shown(seen, now, seen in silent) for seen in workers]
        gone = [{"id": seen.id, "pid": seen.pid} for seen in removed]
        click.echo(json.dumps({"healthy": healthy, "folder": str(folder), "workers": shown, "removed": gone,
                               "unreadable": [str(file) for file in unusable], "others": others},
                              indent=2))  # fmt: skip
        if refused:
            click.echo(refused, err=True)
    elif refused:
        click.echo(refused, err=True)
    else:
        for seen in workers:
            click.echo(_line(seen, now, within_s, silent=seen in silent))
        _say_rest(folder, workers, unusable, removed)
        if others:
            click.echo(f"{others} file(s) of other users in {folder} were left out: they say nothing of this user's "
                       "workers", err=True)  # fmt: skip
    return Exit.DONE if healthy else Exit.FAILED


class _Found(NamedTuple):
    """What is there.

    Attributes:
        workers: Those that have a process.
        unusable: Files of this user that cannot be used, with the reason.
        removed: Those whose process is gone.
        others: How many files belong to other users.
    """

    workers: list[Seen]
    unusable: dict[Path, str]
    removed: list[Seen]
    others: int


def _look(folder: Path) -> _Found:
    """What there is; the files of those that are gone are removed."""
    files = read_all(folder)
    found = _Found([], {}, [], files.others)
    for file, seen in files.read:
        if isinstance(seen, str):
            found.unusable[file] = seen
        elif seen.lives:
            found.workers.append(seen)
        else:
            found.removed.append(seen)
            with contextlib.suppress(OSError):  # whoever may not remove it has said what there is to say
                file.unlink(missing_ok=True)
    return found


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


def _say_rest(folder: Path, workers: list[Seen], unusable: Mapping[Path, str], removed: list[Seen]) -> None:
    for seen in removed:
        click.echo(f"worker {seen.id[:13]} (pid {seen.pid}) of {seen.app} is gone without a word, killed or crashed; "
                   "its file is removed", err=True)  # fmt: skip
    for file, why in unusable.items():
        click.echo(
            f"{file} {why}; ask as the user that runs the workers, and remove what is not theirs", err=True
        )
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
