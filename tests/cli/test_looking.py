"""``queues``, ``jobs``, ``job``, ``dead``, ``workers`` and ``doctor``: looking changes nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from penstock import __version__
from penstock.cli.doctor import full, paused, unserved
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import QueueCounts
from tests.cli.shell import PATIENCE_S, Shell

JOB_FIELDS = [
    *(
        "id",
        "queue",
        "task",
        "state",
        "priority",
        "attempt",
        "crashes",
        "enqueued_at",
        "due_at",
        "expires_at",
    ),
    *("ended_at", "worker", "cancel_requested", "cause", "error", "tags"),
]


@pytest.fixture
def filled(shell: Shell) -> tuple[Shell, dict[str, str]]:
    """Jobs in several states; a worker has been there."""
    ids = {
        "done": shell.enqueue("tasks.add", 1, 2),
        "dead": shell.enqueue("tasks.fail", "apples", tags=("vip",)),
        "dead too": shell.enqueue("tasks.fail", "pears"),
        "scheduled": shell.enqueue("tasks.add", 3, 4, countdown=3600, priority=7),
    }
    assert shell("-A", "tasks", "worker", "--burst", "-l", "critical").code == 0
    ids["ready"] = shell.enqueue("tasks.send", 5, queue="mail", expires=600)
    return shell, ids


def test_queues(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, _ = filled
    said = shell("queues")
    heads, default, mail = (line.split() for line in said.out.splitlines())
    assert heads == ["queue", "ready", "scheduled", "running", "dead", "quarantined", "enqueued", "succeeded",
                     "failed", "lost", "paused"]  # fmt: skip
    assert default == ["default", "0", "1", "0", "2", "0", "4", "1", "2", "0", "no"]
    assert mail == ["mail", "1", "0", "0", "0", "0", "1", "0", "0", "0", "no"]
    first, second = shell("queues", "--json").json()
    assert first == {"queue": "default", "ready": 0, "scheduled": 1, "running": 0, "failed": 2, "quarantined": 0,
                     "enqueued_total": 4, "succeeded_total": 1, "failed_total": 2, "lost_total": 0,
                     "paused": False}  # fmt: skip
    assert second["queue"] == "mail"


def ids_of(shell: Shell, *words: str) -> set[str]:
    return {job["id"] for job in shell(*words, "--json").json()}


def test_jobs(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, ids = filled
    assert ids_of(shell, "jobs") == {ids[name] for name in ("dead", "dead too", "scheduled", "ready")}
    assert ids_of(shell, "dead") == {ids["dead"], ids["dead too"]}
    jobs: list[dict[str, Any]] = shell("jobs", "--json").json()
    assert all(list(job) == JOB_FIELDS for job in jobs)
    by_id = {job["id"]: job for job in jobs}
    dead = by_id[ids["dead"]]
    assert (dead["task"], dead["state"], dead["attempt"], dead["cause"]) == (
        "tasks.fail",
        "failed",
        1,
        "error",
    )
    assert dead["error"] == {"type": "ValueError", "message": "did not like apples"}
    assert dead["tags"] == ["vip"]
    ended = datetime.fromisoformat(dead["ended_at"])
    assert abs(ended - datetime.now(UTC)) < timedelta(minutes=5)
    scheduled = by_id[ids["scheduled"]]
    assert (scheduled["state"], scheduled["priority"]) == ("scheduled", 7)
    assert scheduled["due_at"] > scheduled["enqueued_at"]
    assert by_id[ids["ready"]]["expires_at"] is not None


def test_jobs_as_a_table(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, ids = filled
    said = shell("jobs")
    assert said.out.splitlines()[0].split() == ["id", "task", "state", "attempt", "when", "error"]
    for name in ("dead", "dead too", "scheduled", "ready"):
        assert ids[name] in said.out
    assert "ValueError: did not like apples" in said.out
    assert len(shell("jobs", "--limit", "2").out.splitlines()) == 4
    assert "--limit 0 shows all" in shell("jobs", "--limit", "2").out
    assert len(shell("jobs", "--limit", "2", "--json").json()) == 2
    assert len(shell("jobs", "--limit", "0").out.splitlines()) == 5
    assert shell("jobs", "--task", "no.such").out == "no such jobs\n"
    assert shell("jobs", "--task", "no.such", "--json").json() == []


FILTERS = [
    ("--queue mail", "ready"),
    ("--queue mail --queue default", "dead, dead too, scheduled, ready"),
    ("--queue other", ""),
    ("--state failed", "dead, dead too"),
    ("--state ready --state scheduled", "ready, scheduled"),
    ("--task tasks.fail", "dead, dead too"),
    ("--task *.add", "scheduled"),
    ("--tag vip", "dead"),
    ("--error pears", "dead too"),
    ("--error valueerror", "dead, dead too"),
    ("--since 1h", "dead, dead too, scheduled, ready"),
    ("--until 1h", ""),
    ("--since 2026-01-01 --until 2026-01-02T10:00Z", ""),
    ("--since 2020-01-01T00:00:00+02:00", "dead, dead too, scheduled, ready"),
]


def test_filters(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, ids = filled
    for words, expected in FILTERS:
        names = {ids[name] for name in expected.split(", ") if name}
        assert ids_of(shell, "jobs", *words.split()) == names, words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["jobs", "--state", "asleep"],
            "--state asleep: one of scheduled, ready, running, failed, quarantined",
        ),
        (["jobs", "--state", "succeeded"], "of other states no list is kept"),
        (["jobs", "--state", "dead"], "of other states no list is kept; did you mean failed?"),
        (["jobs", "--state", "raedy"], "of other states no list is kept; did you mean ready?"),
        (["jobs", "--since", "yesterday"], "--since 'yesterday': an age such as 90s"),
        (["jobs", "--queue", "a b"], "queue name 'a b'"),
        (["job", "0193"], "'0193' is not a job's id: expected QUEUE:NAME"),
    ],
)
def test_what_makes_no_sense_is_2(plain: Shell, words: list[str], expected: str) -> None:
    said = plain(*words)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err


def test_job(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, ids = filled
    said = shell("job", ids["dead"])
    assert said.code == 0
    assert f"id           {ids['dead']}\n" in said.out
    assert "ValueError: did not like apples" in said.out
    assert "Traceback (most recent call last):" in said.out
    assert '["apples"]' not in said.out
    assert '"args":["apples"]' in shell("job", ids["dead"], "--body").out
    done = shell("job", ids["done"], "--json").json()
    assert list(done) == [*JOB_FIELDS, "headers", "progress", "result", "traceback", "body"]
    assert (done["state"], done["result"], done["body"]) == ("succeeded", 3, None)
    gone = shell("job", "default:nobody")
    assert (gone.code, gone.out) == (1, "")
    assert "no job default:nobody is stored" in gone.err


def test_a_running_job_names_its_worker(shell: Shell) -> None:
    with shell.worker() as worker:
        id = shell.enqueue("tasks.hold")
        worker.wait_for(f"holding {id}")
        (card,) = shell("workers", "--json").json()
        assert shell("job", id, "--json").json()["worker"] == card["id"]
        assert ids_of(shell, "jobs", "--state", "running") == {id}


def test_workers(shell: Shell) -> None:
    assert shell.enqueue("tasks.add", 1, 2)
    assert shell("workers").out == "no worker is running\n"
    assert shell("workers", "--json").json() == []
    with shell.worker("-c", "4") as worker:
        (card,) = shell("workers", "--json").json()
        assert (card["app"], card["pid"], card["queues"]) == ("shop", worker.process.pid, ["default", "mail"])
        assert (card["concurrency"], card["state"], card["version"]) == (4, "running", __version__)
        assert datetime.fromisoformat(card["started_at"]) <= datetime.fromisoformat(card["seen_at"])
        said = shell("workers").out
        assert "  done  not done  lost  " in said
        assert card["id"][:13] in said
        assert f":{worker.process.pid} " in said
        assert worker.end() == 0
    assert shell("workers").out == "no worker is running\n"


def test_doctor_tells_versions_clock_and_counts(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, _ = filled
    said = shell("doctor", "--json")
    told = said.json()
    assert told["penstock"].startswith(__version__)
    assert told["broker"] == shell.broker_url
    assert told["server"].startswith(("SQLite 3.", "Redis ", "Valkey "))
    assert " ms " in told["clock"]
    assert (told["dead jobs"], told["queues"], told["quarantined"]) == (2, 2, 0)
    assert "write" in told["permissions"]
    assert said.code == (1 if told["problems"] else 0)
    text = shell("doctor")
    assert text.code == said.code
    assert "dead jobs    2" in " ".join(text.out.split("\n")) or "dead jobs" in text.out


def test_doctor_finds_ready_jobs_that_no_worker_takes(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, _ = filled
    shell.enqueue("tasks.add", 1, 2, queue="bulk")
    line = "no running worker serves 2 queues with ready jobs: bulk (1), mail (1); start one: "
    said = shell("doctor")
    assert said.code == 1
    assert line in said.out
    with shell.worker("-Q", "elsewhere") as worker:
        assert line in shell("doctor").out
        assert worker.end() == 0
    with shell.worker("-Q", "bulk,mail") as worker:
        assert "no running worker" not in shell("doctor").out
        assert worker.end() == 0


def test_doctor_knows_that_a_quiet_worker_takes_nothing() -> None:
    queues = [QueueCounts("a", ready=1200), QueueCounts("b", scheduled=1), QueueCounts("c", ready=1)]
    quiet = WorkerCard("w", "app", queues=["a"], state="quiet")
    running = WorkerCard("x", "app", queues=["c"])
    (line,) = unserved(queues, [quiet, running])
    assert "1 queue with ready jobs: a (1,200); " in line
    (line,) = unserved([QueueCounts(f"q{n}", ready=1) for n in range(12)], [])
    assert "q9 (1) and 2 more; " in line


def test_doctor_names_the_application_that_it_was_given(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, _ = filled
    assert "start one: penstock -A tasks worker -Q mail\n" in shell("-A", "tasks", "doctor").out


def test_doctor_finds_queues_whose_workers_are_all_full(shell: Shell) -> None:
    with shell.worker("-c", "1", PENSTOCK_LEASE="1") as worker:
        id = shell.enqueue("tasks.hold")
        worker.wait_for(f"holding {id}")
        for _ in range(2):
            shell.enqueue("tasks.hold")
        mono_until = time.monotonic() + PATIENCE_S
        while (said := shell("doctor", "--json")).json()["full queues"] == "none":
            assert time.monotonic() < mono_until
        assert said.json()["full queues"] == (
            "default (2 jobs waiting, 1 of 1 slot busy); see what holds them: penstock jobs --state running"
        )
        assert "full queues" in shell("doctor").out


def test_a_queue_is_full_when_every_worker_of_it_is() -> None:
    queues = [QueueCounts("a", ready=1), QueueCounts("b", scheduled=1), QueueCounts("c", ready=3)]
    busy = WorkerCard("w", "app", queues=["a", "b"], concurrency=4, running=4)
    idle = WorkerCard("x", "app", queues=["a"], concurrency=4, running=3)
    quiet = WorkerCard("y", "app", queues=["a"], concurrency=4, running=1, state="quiet")
    assert full(queues, [busy, idle]) == full(queues, []) == full([], [busy]) == ""
    assert full(queues, [busy, quiet]).startswith("a (1 job waiting, 4 of 4 slots busy); ")
    many = [QueueCounts(f"q{n}", ready=1) for n in range(12)]
    card = WorkerCard("w", "app", queues=[each.queue for each in many], concurrency=1, running=1)
    assert "q9 (1 job waiting, 1 of 1 slot busy) and 2 more; " in full(many, [card])


def test_doctor_names_paused_queues(filled: tuple[Shell, dict[str, str]]) -> None:
    shell, _ = filled
    before = shell("doctor", "--json")
    assert before.json()["paused queues"] == "none"
    assert shell("pause", "mail").code == 0
    after = shell("doctor", "--json")
    assert after.json()["paused queues"] == "mail (1 job waiting); penstock resume mail ends that"
    assert after.code == before.code
    many = paused([QueueCounts(f"q{n}", paused=True) for n in range(12)])
    assert "q9 (0 jobs waiting) and 2 more; penstock resume q0 " in many


def test_doctor_says_what_must_change(plain: Shell, start_redis: Any) -> None:
    server = start_redis(options={"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"})
    said = plain("doctor", "-b", server.url)
    assert said.code == 1
    assert "must change:" in said.out
    assert "allkeys-lru" in said.out
    assert said.err == ""


def test_doctor_finds_a_user_who_may_not_write(plain: Shell, start_redis: Any) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        rules = "on >secret ~* +@read +@connection +info +time"
        client.execute_command("ACL", "SETUSER", "looker", *rules.split())
    url = server.url.replace("redis://", "redis://looker:secret@")
    said = plain("doctor", "-b", url)
    assert said.code == 1
    assert "secret" not in said.words
    assert "NOPERM" in said.out or "permission" in said.out


def test_doctor_knows_full_memory_from_a_lack_of_permission(plain: Shell, start_redis: Any) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1mb")
    said = plain("doctor", "-b", server.url, "--json")
    assert said.code == 1
    (problem,) = [each for each in said.json()["problems"] if "memory is full" in each]
    assert "raise maxmemory" in problem
    assert "may not write" not in said.words
    assert said.json()["permissions"] == "not known: its memory is full"


def test_doctor_finds_a_file_that_everybody_may_open(plain: Shell) -> None:
    assert plain("-A", "tasks", "enqueue", "tasks.add", "[1, 2]", "--countdown", "3600").code == 0
    file = plain.folder / "penstock.db"
    assert plain("doctor").code == 0
    file.chmod(0o666)
    said = plain("doctor")
    assert said.code == 1
    assert f"chmod o= {file}" in said.out


def test_looking_makes_no_file(plain: Shell) -> None:
    for words in (["queues"], ["jobs"], ["workers"], ["doctor"], ["purge", "--queue", "x", "--yes"]):
        said = plain(*words)
        assert (said.code, said.out) == (3, "")
        assert f"there is no file {plain.folder}/penstock.db" in said.err
    assert not (plain.folder / "penstock.db").exists()


def test_nothing_at_all_is_not_called_no_such_jobs(shell: Shell) -> None:
    shell.enqueue("tasks.add", 1, 2)
    assert shell("dead").out == "no job is dead\n"
    assert shell("dead", "--queue", "default").out == "no such jobs\n"
    assert shell("purge", "--queue", "default", "--yes").code == 0
    assert shell("jobs").out == "no job waits, runs or is dead\n"


def test_memory_cannot_be_looked_into(plain: Shell) -> None:
    said = plain("queues", "-b", "memory://")
    assert said.code == 2
    assert "lives inside one process" in said.err
