"""What a shell offers behind the tabulator key, through the variables with which it asks."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import sys

import pytest

from tests.cli.shell import PENSTOCK, Shell


def offered(shell: Shell, line: str, **environment: str) -> list[str]:
    """As bash asks: the line so far, and which of its words is being typed."""
    said = shell(
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
        _PENSTOCK_COMPLETE="bash_complete",
        **environment,
    )
    assert said.err == ""
    return [word.partition(",")[2] for word in said.out.split()]


def test_commands_and_options(plain: Shell) -> None:
    assert offered(plain, "penstock wor") == ["worker", "workers"]
    assert {"queues", "pause", "completion"} < set(offered(plain, "penstock "))
    assert offered(plain, "penstock jobs --li") == ["--limit"]
    assert offered(plain, "penstock --bro") == ["--broker"]
    assert offered(plain, "penstock jobs --state r") == ["ready", "running"]
    assert offered(plain, "penstock completion ") == ["bash", "zsh", "fish"]


def test_queues_workers_and_tasks(shell: Shell) -> None:
    shell.enqueue("tasks.add", 1, 2)
    shell.enqueue("tasks.send", 1, queue="mail")
    # Enough time for a busy machine to answer; the bound has a test of its own.
    for line in ("penstock jobs --queue ", "penstock pause ", "penstock retry --to ", "penstock worker -Q "):
        assert offered(shell, line, _PENSTOCK_COMPLETE_WITHIN="30") == ["default", "mail"], line
    assert offered(shell, "penstock resume m", _PENSTOCK_COMPLETE_WITHIN="30") == ["mail"]
    assert offered(shell, "penstock worker -Q default,m", _PENSTOCK_COMPLETE_WITHIN="30") == ["default,mail"]
    assert offered(shell, "penstock -A tasks enqueue tasks.a", _PENSTOCK_COMPLETE_WITHIN="30") == [
        "tasks.add"
    ]
    with shell.worker():
        (card,) = shell("workers", "--json").json()
        words = offered(shell, "penstock workers ", _PENSTOCK_COMPLETE_WITHIN="30")
        assert words == [card["id"][:13], "quiet", "resume", "stop", "dump"]
        given = f"penstock workers {card['id'][:13]} "
        assert offered(shell, given, _PENSTOCK_COMPLETE_WITHIN="30") == ["quiet", "resume", "stop", "dump"]
        assert offered(shell, f"{given}dump ", _PENSTOCK_COMPLETE_WITHIN="30") == []
        words = offered(shell, "penstock workers --all ", _PENSTOCK_COMPLETE_WITHIN="30")
        assert words == ["quiet", "resume", "stop", "dump"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("penstock -A tasks:app jobs --queue ", "default mail"),
        ("penstock --app=tasks pause ma", "mail"),
        ("penstock -b URL jobs --queue=m", "mail"),
        ("penstock -A tasks:app worker -Q default=3,m", "3,mail"),
        ("penstock -A tasks:app enqueue tasks.add '[1, 2]' --queue m", "mail"),
        ("penstock -A no:such comple", "completion"),
    ],
)
def test_bash_hands_on_the_line_as_it_was_typed(shell: Shell, typed: str, expected: str) -> None:
    """Bash breaks words at : and =, and takes what is offered for the rest of the last part."""
    shell.enqueue("tasks.add", 1, 2)
    shell.enqueue("tasks.send", 1, queue="mail")
    assert shell.broker_url is not None
    line = typed.replace("URL", shell.broker_url)
    program = f"""
        PATH={PENSTOCK.parent}:$PATH
        eval "$(penstock completion bash)"
        COMP_LINE={shlex.quote(line)} COMP_WORDS=(penstock x : y) COMP_CWORD=3
        COMP_POINT=${{#COMP_LINE}}
        COMP_LINE+=" behind the cursor"
        _penstock_completion penstock
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        cwd=shell.folder,
        env={**shell.environment, "_PENSTOCK_COMPLETE_WITHIN": "30"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (f"{expected}\n", "")


def test_what_is_no_command_is_no_error_while_it_is_completed(plain: Shell) -> None:
    assert offered(plain, "penstock nosuch wor") == ["worker", "workers"]


def test_a_broker_that_is_not_there_is_no_news(plain: Shell) -> None:
    assert offered(plain, "penstock -b sqlite:///none.db jobs --queue ") == []
    assert not (plain.folder / "none.db").exists()
    assert offered(plain, "penstock -b redis://127.0.0.1:1 pause ") == []
    assert offered(plain, "penstock -b kafka://h pause ") == []
    assert offered(plain, "penstock -A nothing enqueue ") == []


def test_a_broker_that_is_silent_is_not_waited_for(plain: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert offered(plain, f"penstock -b redis://127.0.0.1:{port} pause ") == []


def test_an_application_that_talks_or_hangs_says_nothing(plain: Shell) -> None:
    plain.write("noisy.py", "print('noise')\nraise SystemExit(3)\n")
    plain.write("hanging.py", "import time\nprint('noise')\nwhile True:\n    time.sleep(1)\n")
    assert offered(plain, "penstock -A noisy enqueue ") == []
    assert offered(plain, "penstock -A hanging enqueue ") == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script(plain: Shell, name: str) -> None:
    said = plain("completion", name)
    assert (said.code, said.err) == (0, "")
    assert f"_PENSTOCK_COMPLETE={name}_complete" in said.out


def test_bash_takes_it(plain: Shell) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    program = f"""
        PATH={PENSTOCK.parent}:$PATH
        eval "$(penstock completion bash)"
        COMP_WORDS=(penstock wor) COMP_CWORD=1
        _penstock_completion penstock
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [bash, "--norc", "-c", program],
        cwd=plain.folder,
        env=plain.environment,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("worker workers\n", "")


def test_a_name_is_completed_without_what_commands_import(plain: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PENSTOCK],
        env={
            **plain.environment,
            "COMP_WORDS": "penstock wor",
            "COMP_CWORD": "1",
            "_PENSTOCK_COMPLETE": "bash_complete",
        },
        capture_output=True,
        text=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"asyncio", "apsw", "msgspec", "redis", "penstock.app", "rich"}
