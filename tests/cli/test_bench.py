"""``penstock bench``: small figures of each kind, on a place of its own of which nothing is left."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import redis

from tests.cli.shell import PATIENCE_S, Shell


def left(shell: Shell) -> list[str]:
    """What of a bench lies where the broker stores things."""
    assert shell.broker_url is not None
    if shell.broker_url.startswith("redis"):
        with redis.Redis.from_url(shell.broker_url) as client:
            return [key.decode() for key in client.keys("*penstock-bench-*")]
    return [str(file) for file in shell.folder.glob("penstock-bench-*")]


def test_it_measures_and_leaves_nothing(shell: Shell) -> None:
    id = shell.enqueue("tasks.add", 1, 2)
    said = shell("bench", "--jobs", "600", "--json", folder=Path("/"))
    assert (said.code, said.err) == (0, "")
    told = said.json()
    assert list(told) == [
        *("penstock", "python", "cpus", "broker", "server", "concurrency"),
        *("enqueue_one", "enqueue_many", "drain", "latency"),
    ]
    assert told["concurrency"] == 10
    for step in ("enqueue_one", "enqueue_many", "drain"):
        assert 0 < told[step]["jobs"] <= 1201
        assert told[step]["per_second"] > 0
    assert told["enqueue_many"]["jobs"] == 600
    assert 0 < told["latency"]["p50_ms"] <= told["latency"]["p99_ms"]
    assert left(shell) == []
    # Nobody else's jobs and queues are touched, and there is no new one.
    assert [(each["queue"], each["ready"]) for each in shell("queues", "--json").json()] == [("default", 1)]
    assert shell.state(id) == "ready"


def test_as_a_table(shell: Shell) -> None:
    said = shell("bench", "--jobs", "20", "--seconds", "5", "-c", "3")
    assert said.code == 0, said.err
    for words in ("enqueue one by one", "enqueue many", "drain, 3 threads", "enqueue to start: p50"):
        assert words in said.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_leaves_nothing(shell: Shell, number: signal.Signals) -> None:
    with shell.running("bench", "--jobs", "10000000", "--seconds", "600") as bench:
        mono_until = time.monotonic() + PATIENCE_S
        while not left(shell):
            assert time.monotonic() < mono_until, bench.text
            time.sleep(0.01)
        assert bench.end(number) == 1
    assert bench.text.strip() == "penstock: stopped"
    assert left(shell) == []


def test_a_broker_that_is_not_there(plain: Shell) -> None:
    said = plain("-b", "redis://127.0.0.1:1", "bench")
    assert (said.code, said.out) == (3, "")
    assert said.err.count("\n") == 1
