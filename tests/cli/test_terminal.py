"""Colours and bars: on a terminal alone, and only where they are wanted."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.cli.shell import PATIENCE_S, PENSTOCK, Shell

# What a bar of quick work would not show: it is told not to wait.
AT_ONCE = "import penstock.cli.terminal as t; t.SHOWN_AFTER_S = 0.0; from penstock.cli import main; main()"
# A program in which rich is not installed.
WITHOUT_RICH = "import sys; sys.modules['rich'] = None; from penstock.cli import main; main()"


def typed(shell: Shell, *words: str, program: str | None = None, **environment: str) -> str:
    """What a terminal gets to see; of 120 columns, unless ``COLUMNS`` says otherwise."""
    command = [PENSTOCK, *words] if program is None else [sys.executable, "-c", program, *words]
    master, terminal = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", **environment}
    settings = {**shell.environment, **settings}
    if "NO_COLOR" not in environment:
        settings.pop("NO_COLOR", None)
    with os.fdopen(master, "rb", buffering=0) as seen:
        process = subprocess.Popen(
            command, cwd=shell.folder, env=settings, stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = seen.read(65_536)
            except OSError:  # its last user has gone
                break
            if not part:
                break
            shown += part
        process.wait(PATIENCE_S)
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """One job that waits and one that is dead, of a name and an error that would be obeyed."""
    shell.enqueue("tasks.fail", "[bold red]apples[/] \x1b[2J\x07 :smiley:")
    assert shell("-A", "tasks", "worker", "--burst", "-l", "critical").code == 0
    shell.enqueue("tasks.[blink]", 1)
    return shell


def test_states_are_coloured(filled: Shell) -> None:
    shown = typed(filled, "jobs")
    assert "\x1b[31mfailed" in shown
    assert "\x1b[36mready" in shown
    assert "\x1b[1mid" in shown
    assert "\x1b[31m1" in typed(filled, "queues").replace(" ", "")


def test_what_users_wrote_is_shown_as_it_is(filled: Shell) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", typed(filled, "jobs", COLUMNS="200"))
    assert "[bold red]apples[/]  [2J  :smiley:" in shown
    assert "tasks.[blink]" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_where_no_colour_is_wanted_there_is_none(filled: Shell, environment: dict[str, str]) -> None:
    assert typed(filled, "queues", **environment) == filled("queues").out
    assert "\x1b" not in typed(filled, "jobs", **environment)


def test_without_rich_the_plain_tables_stay(filled: Shell) -> None:
    assert typed(filled, "queues", program=WITHOUT_RICH) == filled("queues").out
    assert typed(filled, "retry", "--queue", "default", "--yes", program=WITHOUT_RICH) == "retried 1 job\n"


def test_json_is_never_coloured(filled: Shell) -> None:
    assert typed(filled, "queues", "--json") == filled("queues", "--json").out


def test_a_narrow_terminal_does_not_cut_an_id(filled: Shell) -> None:
    (dead,) = filled("dead", "--json").json()
    assert dead["id"] in typed(filled, "jobs", COLUMNS="40")


def test_long_work_shows_a_bar(filled: Shell) -> None:
    shown = typed(filled, "retry", "--queue", "default", "--yes", program=AT_ONCE)
    assert "━" in shown
    assert "1/1" in shown
    # It goes away, and what was done stays.
    assert shown.endswith("\x1b[2Kretried 1 job\n")


def test_quick_work_shows_none(filled: Shell) -> None:
    assert typed(filled, "retry", "--queue", "default", "--yes", TERM="dumb") == "retried 1 job\n"


def test_many_jobs_show_a_bar(shell: Shell) -> None:
    shell.write("rows.jsonl", "[1, 2]\n" * 1200)
    shown = typed(shell, "enqueue", "tasks.[blink]", "--many", "rows.jsonl", program=AT_ONCE)
    assert "enqueue tasks.[blink]" in shown
    assert "1200/1200" in shown
    assert shown.endswith("\x1b[2Kenqueued 1,200 jobs\n")


def test_nothing_of_it_in_a_pipe(filled: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PENSTOCK, "jobs"],
        cwd=filled.folder,
        env={**filled.environment, "TERM": "xterm-256color"},
        capture_output=True,
        text=True,
    )
    assert "\x1b" not in done.stdout
    assert "rich" not in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
