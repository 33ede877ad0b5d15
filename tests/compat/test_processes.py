"""Class tasks of a script, run by the worker as a user starts it: in each lane, on both brokers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = """
import os
from penstock import Penstock
from penstock.compat.sidekiq import Job

app = Penstock("shop")


class Thread(Job, app=app):
    def perform(self, n: int) -> int:
        return n + 1


class Loop(Job, app=app):
    async def perform(self, n: int) -> str:
        return self.jid


class Child(Job, app=app, lane="process"):
    def perform(self, parent: int) -> bool:
        return os.getpid() not in {parent, os.getppid()}


class AsyncChild(Child):
    async def perform(self, parent: int) -> int:
        return self.job.attempt


if __name__ == "__main__":
    for job in (Thread.perform_async(1), Loop.perform_async(1), Child.perform_async(0), AsyncChild.perform_async(0)):
        print(job.id)
"""
ASK = """
import sys
from jobs import app

print([app.job(id).result(timeout=1) for id in sys.argv[1:]])
"""


@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_each_lane_runs_them(broker: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db" if broker == "sqlite" else request.getfixturevalue("redis_url")
    (tmp_path / "jobs.py").write_text(JOBS)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=os.environ | {"PENSTOCK_BROKER_URL": url},
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    ids = run("jobs.py").split()
    run("-m", "penstock", "-A", "jobs", "worker", "--burst")
    assert run("-c", ASK, *ids) == f"[2, {ids[1]!r}, True, 1]\n"
