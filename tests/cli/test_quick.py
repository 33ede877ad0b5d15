"""A worker's command line is read the same with and without click."""

from __future__ import annotations

from typing import Any

import click
import pytest

from penstock.cli import running
from penstock.cli.program import program
from penstock.cli.quick import read
from penstock.cli.target import Target

_RIGHT = [
    "-A tasks worker",
    "worker tasks:app",
    "worker -A tasks",
    "worker -A tasks tasks",
    "-Atasks worker -lwarning",
    "-A=tasks worker",
    "--app=tasks worker --queues=a,b",
    "-A one -A two worker -A three",
    "-A worker worker",
    "-b redis://h/0 -l info -A tasks worker --loglevel=info -l debug",
    "-A tasks worker -Q mail,default -c 4 --processes 3 --grace 1.5 --burst",
    "-A tasks worker -c4 --concurrency=5 --guard --no-guard",
    "-A tasks worker --no-guard --guard",
    "-A tasks worker -c many",
    "-A tasks worker --grace -1",
    "-A tasks worker -Q --burst",
    "worker --broker= tasks",
]
_NOT_FOR_IT = [
    "",
    "--help",
    "worker --help",
    "-A tasks",
    "jobs --queue worker",
    "-Q mail worker tasks",
    "--burst worker tasks",
    "worker one two",
    "-A one worker two",
    "worker tasks --reload",
    "worker tasks -c",
    "worker -- tasks",
    "worker tasks --burst=yes",
    "worker tasks -vc 3",
    "worker tasks -Q mail -Q default",
]


@pytest.mark.parametrize("line", _RIGHT)
def test_read_as_click_reads_it(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(line.split())
    assert found is not None
    quick, slow = _run_quick(found, monkeypatch), _run_click(line, monkeypatch)
    assert (quick.reference, quick.broker_url, quick.loglevel) == (
        slow.reference,
        slow.broker_url,
        slow.loglevel,
    )
    assert _given(quick) == _given(slow)


def test_queues_are_named_again_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        _run_click("-A tasks worker -Q mail -Q default --queues=a,b", monkeypatch).given["queues"]
        == "mail,default,a,b"
    )


def _run_quick(found: dict[str, str | bool], monkeypatch: pytest.MonkeyPatch) -> Target:
    targets: list[Target] = []
    monkeypatch.setattr(running, "run", lambda target: targets.append(target) or 0)
    assert running.run_quick(found, None) == 0
    return targets[0]


def _run_click(line: str, monkeypatch: pytest.MonkeyPatch) -> Target:
    targets: list[Target] = []
    monkeypatch.setattr(running, "run", lambda target: targets.append(target) or 0)
    program.main(line.split(), standalone_mode=False, obj=Target())
    return targets[0]


def _given(target: Target) -> dict[str, Any]:
    """Without what click gives though it was not said."""
    said = {name: value for name, value in target.given.items() if value is not None}
    return {name: value for name, value in said.items() if value not in (False, ()) or name == "guard"}


@pytest.mark.parametrize("line", _NOT_FOR_IT)
def test_what_is_not_right_is_left_to_click(line: str) -> None:
    assert read(line.split()) is None


def test_click_refuses_what_was_left_to_it() -> None:
    for line in ("worker one two", "worker tasks --relaod", "worker tasks -c", "-Q mail worker tasks"):
        with pytest.raises(click.UsageError):
            program.main(line.split(), standalone_mode=False, obj=Target())
