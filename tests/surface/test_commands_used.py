"""The command line's table, used: each option of the page is typed with something for it to do, and changes what comes.

What each does in every case is proved beside its command.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.program import program
from penstock.ids import new_id
from tests.cli.shell import Said, Shell

TASKS = """
import os
from penstock import Penstock, Retry

app = Penstock("tasks")

@app.task(retry=False)
def fails(word: str) -> None:
    raise ValueError(f"did not like {word}")

@app.task(retry=Retry(attempts=2, base=3600))
def fails_again_in_an_hour(word: str) -> None:
    raise ValueError(f"did not like {word}")

@app.task(queue="mail")
def send(user_id: int) -> str:
    return f"sent {user_id}"

@app.task(lane="process", timeout=120)
def render(page: int) -> int:
    return os.getpid()
"""

# What the page gives to all actions on jobs, with words for the job of `fails`, and others that find nothing.
FILTER = {
    "--queue": ("default", "elsewhere"), "--task": ("tasks.fails*", "tasks.render"), "--tag": ("night", "day"),
    "--error": ("not like", "no such text"), "--since": ("1h", "2999-01-01"), "--until": ("0s", "1h"),
    "--state": ("failed", "quarantined"),
}  # fmt: skip
STATES = {"retry": "failed", "cancel": "scheduled", "purge": "scheduled"}


def made(folder: Path) -> Shell:
    """A folder with tasks, a file for their jobs, and a run directory of its own."""
    shell = Shell(folder, f"sqlite:///{folder}/jobs.db")
    shell.environment["PENSTOCK_RUN_DIR"] = str(folder / "run")
    shell.write("tasks.py", TASKS)
    return shell


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, dict[str, str]]:
    """Where one job is dead and one waits for its second attempt; their ids by their states. To be looked at only."""
    return _with_failed(tmp_path_factory.mktemp("looked-at"))


def _with_failed(folder: Path) -> tuple[Shell, dict[str, str]]:
    shell = made(folder)
    ids = {"failed": shell.enqueue("tasks.fails", "soup", tags=("night",)),
           "scheduled": shell.enqueue("tasks.fails_again_in_an_hour", "soup", tags=("night",))}  # fmt: skip
    assert shell("-A", "tasks", "worker", "-Q", "mail,default", "--burst").code == 0
    return shell, ids


def found(said: Said) -> list[str]:
    assert said.code == 0, said.err
    return [each["id"] for each in said.json()]


@pytest.mark.parametrize("action", STATES)
def test_an_action_takes_the_whole_filter(action: str, failed: tuple[Shell, dict[str, str]]) -> None:
    shell, ids = failed
    state = STATES[action]
    fitting = {option: fits for option, (fits, _) in FILTER.items()} | {"--state": state}
    words = [word for pair in fitting.items() for word in pair]
    assert found(shell(action, *words, "--dry-run", "--json")) == [ids[state]]


@pytest.mark.parametrize("option", FILTER)
def test_each_part_of_the_filter_counts(option: str, failed: tuple[Shell, dict[str, str]]) -> None:
    shell, ids = failed
    fits, other = FILTER[option]
    assert ids["failed"] in found(shell("retry", option, fits, "--dry-run", "--json"))
    assert found(shell("retry", option, other, "--dry-run", "--json")) == []


def test_every_look_speaks_json(failed: tuple[Shell, dict[str, str]]) -> None:
    shell, ids = failed
    queues = {each["queue"]: (each["failed"], each["scheduled"]) for each in shell("queues", "--json").json()}
    assert queues["default"] == (1, 1)
    assert sorted(found(shell("jobs", "--json"))) == sorted(ids.values())
    assert found(shell("dead", "--json")) == [ids["failed"]]
    assert shell("job", ids["failed"], "--json").json()["error"]["type"] == "ValueError"
    assert shell("workers", "--json").json() == []


def test_actions_on_ids_and_on_a_filter(tmp_path: Path) -> None:
    shell, ids = _with_failed(tmp_path)
    dead, late = ids["failed"], ids["scheduled"]
    moved = f"bulk:{dead.partition(':')[2]}"
    assert shell("retry", "--state", "failed", "--to", "bulk").code == 0
    assert (shell.state(moved), shell("dead", "--json").json()) == ("ready", [])
    assert shell("cancel", moved).code == 0
    assert (shell.state(moved), shell.state(late)) == ("cancelled", "scheduled")
    assert shell("retry", late).code == 0
    assert shell.state(late) == "ready"
    assert shell("purge", "--tag", "night", "--dry-run", "--json").json()[0]["id"] == late
    assert shell("purge", "--tag", "night", "--yes").code == 0
    assert shell("jobs", "--state", "ready", "--json").json() == []


def test_queues_are_paused_and_resumed(tmp_path: Path) -> None:
    shell = made(tmp_path)
    job = shell("-A", "tasks", "enqueue", "tasks.send", "[1]").out.strip()
    assert shell("pause", "--queue", "mail", "--dry-run").out == "would pause mail\n"
    assert shell("pause", "--queue", "mail").out == "paused mail\n"
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    assert shell.state(job) == "ready"
    assert shell("resume", "mail").out == "resumed mail\n"
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    assert shell.result(job) == "sent 1"


@pytest.mark.parametrize("action", ["pause", "resume"])
@pytest.mark.parametrize("option", [each for each in FILTER if each != "--queue"])
def test_a_pause_takes_no_filter_of_jobs(action: str, option: str) -> None:
    """The reason stands in docs/internals.md."""
    done = CliRunner().invoke(program, [action, "mail", option, "x", "-b", f"memory://{new_id()}"])
    assert done.exit_code == 2
    assert f"{option} picks jobs, and {action} is for whole queues: name them" in done.stderr


def test_a_worker_with_its_options_takes_orders(tmp_path: Path) -> None:
    shell = made(tmp_path)
    options = ["-Q", "mail=3,default=1", "--concurrency", "2", "--processes", "1", "--grace", "5",
               "--max-jobs-per-process", "1000", "--max-memory-mb", "4000", "-l", "info"]  # fmt: skip
    with shell.worker(*options, PENSTOCK_LEASE="1") as worker:
        (card,) = shell("workers", "--json").json()
        id: str = card["id"]
        assert (sorted(card["queues"]), card["concurrency"]) == (["default", "mail"], 2)
        assert shell("workers", id, "quiet").out == "quiet: takes nothing new\n"
        waiting = shell.enqueue("tasks.send", 2, queue="mail")
        assert "--- idle: " in shell("workers", id, "dump").out
        assert shell.state(waiting) == "ready"
        health = shell("health", "--json")
        assert (health.code, [each["id"] for each in health.json()["workers"]]) == (0, [id])
        assert shell("workers", id, "resume").out == "running\n"
        assert shell.result(waiting) == "sent 2"
        child = shell.result(shell.enqueue("tasks.render", 1))
        assert child not in {os.getpid(), card["pid"]}, "the process lane has a process of its own"
        assert shell("workers", id, "stop").out == "draining\n"
        assert worker.end(None) == 0, worker.text
