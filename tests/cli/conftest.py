"""A shell in a project's folder, on each broker that a command line can reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import Shell

TASKS = """
import asyncio, pathlib, time
from datetime import timedelta
from uuid import UUID
from penstock import Penstock, Retry, current_job

app = Penstock("shop")

@app.task
def add(x: int, y: int) -> int:
    return x + y

@app.task(retry=False)
def fail(word: str) -> None:
    raise ValueError(f"did not like {word}")

@app.task(queue="mail", tags=("post",))
def send(user_id: int) -> str:
    print(f"sending {user_id}\\n", end="")  # at once: two threads may print
    return f"sent {user_id}"

@app.task
def order(id: UUID, within: timedelta) -> str:
    return f"{type(id).__name__} {within.total_seconds():g}"

@app.task
async def hold() -> None:
    print(f"holding {current_job().id}")
    await asyncio.sleep(3600)

@app.task
def stubborn(until_there: str) -> None:
    print(f"stubborn {current_job().id}")
    while not pathlib.Path(until_there).exists():
        time.sleep(0.02)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with one module of tasks."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "tasks.py").write_text(TASKS)
    return folder


@pytest.fixture(params=["sqlite", "redis"])
def shell(request: pytest.FixtureRequest, project: Path) -> Shell:
    """On a broker of each kind, named by PENSTOCK_BROKER_URL."""
    if request.param == "redis":
        return Shell(project, request.getfixturevalue("redis_url"))
    return Shell(project, f"sqlite:///{project / 'jobs.db'}")


@pytest.fixture
def plain(project: Path) -> Shell:
    """For what no broker has a part in: nothing in the environment names one."""
    return Shell(project, None)
