"""The examples that are one file: a worker and the program, as each says at its top."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shell import PATIENCE_S, Running, Shell
from tests.examples.site import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture(params=["sqlite", "redis"])
def shell(tmp_path: Path, request: pytest.FixtureRequest) -> Shell:
    url = (
        request.getfixturevalue("redis_url")
        if request.param == "redis"
        else f"sqlite:///{tmp_path / 'queue.db'}"
    )
    folder = tmp_path / "typed"
    folder.mkdir()
    return Shell(folder, url)


def played(shell: Shell, name: str, *words: str) -> tuple[list[str], Running]:
    """What the program says beside a worker, line by line; and the worker, which has ended."""
    shutil.copy(EXAMPLES / f"{name}.py", shell.folder)
    with shell.worker(app=name) as worker:
        done = subprocess.run(
            [sys.executable, f"{name}.py", *words],
            cwd=shell.folder,
            env=shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout
        assert worker.end() == 0, worker.text
    return done.stdout.splitlines(), worker


def test_fan_out(shell: Shell) -> None:
    texts = {"a.py": "one two", "b.py": "three", "in/c.py": "four five six"}
    for file, text in texts.items():
        shell.write(f"texts/{file}", text)
    lines, _ = played(shell, "fan_out", "texts")
    folder = (shell.folder / "texts").resolve()
    assert sorted(lines[:3]) == [f"{len(text.split()):8} {folder / file}" for file, text in
                                 sorted(texts.items(), key=lambda item: len(item[1].split()))]  # fmt: skip
    assert lines[3:] == ["       6 words in 3 files"]


def test_thumbnails(shell: Shell) -> None:
    lines, _ = played(shell, "thumbnails")
    small = shell.folder / "picture.small.ppm"
    assert lines[-1] == f"made {small}"
    assert all(re.fullmatch(r"\d+% of the rows", line) for line in lines[:-1])
    header, pixels = small.read_bytes().split(b"\n", 1)
    assert header == b"P6 200 150 255"
    # Of the first 8 * 8 pixels: red is the column, green the row, blue both by exclusive or; the mean of each is 3.5.
    assert (len(pixels), pixels[:3]) == (200 * 150 * 3, b"\x03\x03\x03")


def test_webhooks(shell: Shell) -> None:
    lines, _ = played(shell, "webhooks")
    assert lines[:5] == [
        "/orders gets order.paid and answers 503",
        "/orders gets order.paid and answers 429",
        "/orders gets order.paid and answers 200",
        "delivered: 200",
        "/closed gets order.sent and answers 410",
    ]
    assert re.fullmatch(r"given up: http://127\.0\.0\.1:\d+/closed answered 410 Gone", lines[5])
    assert len(lines) == 6


def test_resources(shell: Shell) -> None:
    lines, worker = played(shell, "resources")
    assert lines == ["ada has not so much", "[30, 70]"]
    assert [line for line in worker.seen if line.startswith("the pool")] == [
        "the pool is open",
        "the pool is closed",
    ]


def test_all_are_told_of() -> None:
    named = set(re.findall(r"^\| \[`([^`]+)`\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    there = {
        f"{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in EXAMPLES.iterdir()
        if entry.name != "README.md" and not entry.name.startswith(("__", "."))
    }
    assert named == there
