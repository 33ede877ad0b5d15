"""``--json`` everywhere: which commands take it, and what shape it has."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import pytest

from penstock.cli.program import COMMANDS
from tests.cli.shell import Shell

# Commands without --json, each with its reason.
WITHOUT: Final = {
    "worker": "it prints its log, and runs until it is told to stop",
    "demo": "a story for a person",
    "completion": "its output is a shell's script",
}


def test_every_command_takes_json_or_has_its_reason() -> None:
    without = {
        name
        for name in COMMANDS
        if not any(
            "--json" in parameter.opts for parameter in import_module(f"penstock.cli.{name}").command.params
        )
    }
    assert without <= WITHOUT.keys()


def test_actions_on_jobs(shell: Shell) -> None:
    first, second = shell.enqueue("tasks.add", 1, 2), shell.enqueue("tasks.add", 3, 4)
    said = shell("cancel", first, "default:nobody", "--json")
    assert said.code == 1
    assert said.json() == {
        "action": "cancel",
        "applied": 1,
        "asked": 0,
        "refused": [{"id": "default:nobody", "why": "no such job is stored"}],
    }
    assert said.err == "default:nobody: no such job is stored\n"
    meant = shell("purge", "--queue", "default", "--dry-run", "--json")
    assert [(job["id"], job["state"]) for job in meant.json()] == [(second, "ready")]
    said = shell("purge", "--queue", "default", "--yes", "--json")
    assert (said.code, said.json()) == (0, {"action": "purge", "applied": 1, "asked": 0, "refused": []})
    assert shell("purge", "--queue", "default", "--dry-run", "--json").out == "[]\n"
    said = shell("retry", "--queue", "default", "--json")
    assert said.json() == {"action": "retry", "applied": 0, "asked": 0, "refused": []}


def test_enqueue(shell: Shell) -> None:
    words = ["enqueue", "tasks.add", "[1, 2]", "--job-id", "one", "--json"]
    assert shell(*words).json() == {"id": "default:one", "added": True}
    again = shell(*words)
    assert again.json() == {"id": "default:one", "added": False}
    assert "nothing was added" in again.err


# health asks no broker.
@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT.keys() - {"health"}))
def test_an_error_leaves_standard_output_empty(plain: Shell, name: str) -> None:
    said = plain("-b", "kafka://h", name, "--json", *_NEEDED.get(name, []))
    assert (said.code, said.out) == (2, "")
    assert "kafka://... is not known" in said.err


_NEEDED: Final = {
    "job": ["default:x"],
    "enqueue": ["tasks.add"],
    **{name: ["--queue", "mail"] for name in ("retry", "cancel", "pause", "resume")},
    "purge": ["--queue", "mail", "--yes"],
}
