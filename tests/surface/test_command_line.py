"""The command line, as the page of the public surface spells it: each command and option is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Those that come with what they are for: schedules, `top`, `dashboard` and `migrate`.
COMMANDS = {
    "worker": ["-Q", "-c", "--concurrency", "--processes", "--grace", "--burst", "--reload", "--max-jobs-per-process",
               "--max-memory-mb", "-l", "--loglevel"],
    "demo": [], "queues": ["--json"], "jobs": ["--json"], "job": ["--json"], "dead": ["--json"],
    "workers": ["--json"],
    "retry": ["--queue", "--task", "--state", "--tag", "--error", "--since", "--until", "--dry-run", "--to"],
    "cancel": ["--queue", "--task", "--state", "--tag", "--error", "--since", "--until", "--dry-run"],
    "purge": ["--queue", "--task", "--state", "--tag", "--error", "--since", "--until", "--dry-run"],
    "pause": ["--queue", "--dry-run"], "resume": ["--queue", "--dry-run"],
    "enqueue": [], "doctor": [], "bench": [], "health": ["--json"], "config": [],
}  # fmt: skip
OPTIONS = ["-A", "-b", "--broker", "-l", "--loglevel"]


def penstock(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=30)


def test_help_names_every_command_and_the_common_options() -> None:
    told = penstock("--help").stdout
    assert [name for name in (*COMMANDS, *OPTIONS) if name not in told] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_names_its_options(command: str) -> None:
    told = penstock(command, "--help")
    assert told.returncode == 0
    assert [option for option in COMMANDS[command] if option not in told.stdout] == []


def test_workers_takes_orders() -> None:
    told = penstock("workers", "--help").stdout
    assert [verb for verb in ("quiet", "resume", "stop", "dump") if verb not in told] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an application lies whose worker has run once."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "tasks.py").write_text(
        "from penstock import Penstock\n\napp = Penstock('tasks', broker='sqlite:///jobs.db')\n\n\n"
        "@app.task\ndef note() -> None: ...\n"
    )
    assert penstock("-A", "tasks", "worker", "--burst", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["queues", "-b", "sqlite:///jobs.db"], 0),
        (["job", "default:nobody", "-b", "sqlite:///jobs.db"], 1),
        (["worker", "-A", "nowhere"], 2),
        (["queues", "-b", "nonsense://x"], 2),
        (["queues", "-b", "redis://127.0.0.1:1/0"], 3),
    ],
)
def test_exit_codes(arguments: list[str], code: int, folder: Path) -> None:
    told = penstock(*arguments, cwd=folder)
    assert told.returncode == code, told.stderr


def test_both_spellings_of_the_application(folder: Path) -> None:
    for arguments in (["-A", "tasks", "worker", "--loglevel=warning", "-l", "info"], ["worker", "tasks:app"]):
        told = penstock(*arguments, "--burst", cwd=folder)
        assert told.returncode == 0, told.stderr
        assert "stopped: 0 run(s) done" in told.stdout, "the last level counts"
