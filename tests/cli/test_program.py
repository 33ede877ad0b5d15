"""The program as a whole: help, version, the table of commands, what it imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import penstock.cli
from penstock import __version__
from penstock.cli.guessing import ELSEWHERE
from penstock.cli.program import COMMANDS
from tests.cli.shell import PENSTOCK, Shell
from tests.servers import free_port


def test_help_shows_every_command(plain: Shell) -> None:
    said = plain("--help")
    assert (said.code, said.err) == (0, "")
    for name, meaning in COMMANDS.items():
        assert name in said.out
        assert meaning.split()[0] in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(plain: Shell, name: str) -> None:
    said = plain(name, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"Usage: penstock {name}" in said.out


def test_every_command_is_a_file_of_its_name() -> None:
    folder = Path(penstock.cli.__file__).parent
    for name in COMMANDS:
        assert (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PENSTOCK, "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"asyncio", "apsw", "msgspec", "redis", "logging", "penstock.app", "tomllib"}


def test_a_worker_does_without_click_and_toml(shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PENSTOCK, "-A", "tasks", "worker", "--burst", "--no-guard"],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "penstock.runtime.worker" in imported
    assert not imported & {"click", "argparse", "tomllib", "difflib", "flask", "multiprocessing"}


def test_version(plain: Shell) -> None:
    assert plain("--version").out == f"penstock, version {__version__}\n"


def test_python_m_penstock(plain: Shell) -> None:
    done = subprocess.run([sys.executable, "-m", "penstock", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"penstock, version {__version__}\n")


def test_nothing_said_is_answered_with_help(plain: Shell) -> None:
    said = plain()
    assert said.code == 2
    assert "Commands:" in said.words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["wokrer"], "no command 'wokrer'; did you mean worker?"),
        (["worker", "--relaod", "tasks"], "No such option '--relaod'"),
        (["-A", "tasks", "worker", "other"], "two applications are named: -A tasks and other"),
        (["-A"], "Option '-A' requires an argument"),
        (["workers", "1234"], "what shall worker 1234 do?"),
        (["workers", "1234", "dance"], "'dance' is not one of the orders: quiet, resume, stop, dump (see"),
        (
            ["workers", "1234", "dmup"],
            "'dmup' is not one of the orders: quiet, resume, stop, dump; did you mean dump?",
        ),
        (
            ["workers", "dmup"],
            "'dmup' is not one of the orders: quiet, resume, stop, dump; did you mean dump?",
        ),
        (["workers", "--all", "quite"], "one of quiet, resume, stop, dump, and no ids; did you mean quiet?"),
        (["workers", "--all"], "one of quiet, resume, stop, dump, and no ids (see"),
        (["-A", "tasks", "demo"], "leave -A away"),
    ],
)
def test_wrong_usage_is_one_line_and_2(plain: Shell, words: list[str], expected: str) -> None:
    said = plain(*words)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err
    assert said.err.count("\n") == 1


def test_a_terminal_without_the_letters_gets_them_escaped(plain: Shell) -> None:
    plain.write("own.py", "from penstock import Penstock\napp = Penstock('café')\n")
    said = plain("-A", "own", "worker", "--burst", PYTHONIOENCODING="ascii")
    assert said.code == 0, said.err
    assert "caf\\xe9 (own:app)" in said.out


def test_a_reader_that_goes_away_is_no_traceback(plain: Shell) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PENSTOCK} config | true; exit ${{PIPESTATUS[0]}}"],
        cwd=plain.folder,
        env=plain.environment,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("wrker", "did you mean worker?"),
        ("beat", "each worker sees to what is due later"),
        ("flower", "no page: penstock queues, penstock jobs and penstock workers show"),
        ("status", "penstock workers shows who runs jobs"),
        ("stop", "penstock workers ID quiet, resume, stop or dump"),
        ("xyzzy", "'xyzzy' (see"),
    ],
)
def test_a_command_that_is_none_gets_a_guess(plain: Shell, typed: str, said: str) -> None:
    answer = plain(typed)
    assert answer.code == 2
    assert answer.err.startswith(f"penstock: no command {typed!r}")
    assert said in answer.err


def test_words_of_other_systems_lead_to_commands_that_there_are() -> None:
    assert not set(ELSEWHERE) & set(COMMANDS)
    for word, advice in ELSEWHERE.items():
        named = re.findall(r"penstock (?:-A MODULE )?([a-z]+|--[a-z]+)", advice)
        assert named, word
        assert set(named) <= {*COMMANDS, "--help", "--version"}, word


@pytest.mark.parametrize("names", ["a,,b", "a,", ",a"])
def test_an_empty_name_of_a_queue_is_refused(plain: Shell, names: str) -> None:
    answer = plain("-A", "tasks", "worker", "-Q", names)
    assert answer.code == 2
    assert "is empty; write -Q mail,default" in answer.err


def test_a_broker_that_is_not_there_says_where_its_url_came_from(plain: Shell) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    answer = plain("queues", PENSTOCK_BROKER_URL=url)
    assert answer.code == 3
    assert "is it running? (the URL comes from PENSTOCK_BROKER_URL)" in answer.err
    assert "is it running? (the URL comes from -b)" in plain("queues", "-b", url).err
    assert ".;" not in answer.err


def test_a_worker_whose_broker_is_not_there_says_where_its_url_came_from(plain: Shell) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with plain.running("-A", "tasks", "worker", environment={"PENSTOCK_BROKER_URL": url}) as worker:
        line = worker.wait_for("not reached")
    assert "is it running? (the URL comes from PENSTOCK_BROKER_URL); trying again" in line
    assert ".;" not in line


@pytest.mark.parametrize(
    "url",
    ["kafka://u:secret@h", "redis://u:secret@h:port/0", "redis://u:secret@h/0?x=1", "redis://u:secret@h/x"],
)
@pytest.mark.parametrize("words", [("queues",), ("-A", "tasks", "worker"), ("-A", "tasks", "queues")])
def test_a_broken_url_says_where_it_came_from(plain: Shell, words: tuple[str, ...], url: str) -> None:
    answer = plain(*words, PENSTOCK_BROKER_URL=url)
    assert (answer.code, "secret" in answer.words) == (2, False)
    assert answer.err.startswith("penstock: broker URL: ")
    assert "the URL comes from PENSTOCK_BROKER_URL" in answer.err
    assert "the URL comes from -b" in plain("queues", "-b", url).err


def test_a_broken_url_of_a_settings_file_names_the_file(plain: Shell) -> None:
    file = plain.write("penstock.toml", 'broker = "kafka://h"\n')
    assert f"the URL comes from {file}" in plain("queues").err
