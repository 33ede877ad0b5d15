"""The command line, as the page of the public surface spells it: each command and option is there.

They are used in ``test_commands_used.py``; what each does in every case is proved beside its command.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from penstock.cli.program import program
from penstock.cli.workers import VERBS

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


def command_of(name: str) -> click.Command:
    found = program.get_command(click.Context(program), name)
    assert found is not None
    return found


def shown(command: click.Command) -> set[str]:
    """The options that a command takes, and says so in its help."""
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    return {spelling for option in options for spelling in option.opts}


def test_every_command_is_there_and_the_common_options_stand_before_and_after_its_name() -> None:
    assert set(COMMANDS) <= set(program.list_commands(click.Context(program)))
    assert set(OPTIONS) <= shown(program)
    assert [name for name in COMMANDS if not set(OPTIONS) <= shown(command_of(name))] == ["demo"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_its_options(name: str) -> None:
    assert set(COMMANDS[name]) <= shown(command_of(name))


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_names_every_option(words: list[str]) -> None:
    told = penstock(*words, "--help")
    assert told.returncode == 0
    spellings = shown(command_of(*words) if words else program)
    assert spellings <= set(re.findall(r"(?<![\w-])--?\w[\w-]*", told.stdout))


def test_workers_takes_orders() -> None:
    assert VERBS == ("quiet", "resume", "stop", "dump")
    assert set(VERBS) <= set(re.findall(r"\w+", penstock("workers", "--help").stdout))


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
