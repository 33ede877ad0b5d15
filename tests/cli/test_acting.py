"""``enqueue``, ``retry``, ``cancel``, ``purge`` and orders to workers."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
from collections.abc import AsyncIterator

import pytest

from penstock.brokers import address, connect, connect_blocking, inspector
from penstock.cli.asking import Opened
from penstock.cli.workers import Answered, answers
from penstock.core.job import Job, Origin
from penstock.ids import new_id
from penstock.listing import SLICE
from penstock.ports.broker import WorkerCard
from tests.cli.shell import PATIENCE_S, PENSTOCK, Shell


def states(shell: Shell, ids: list[str]) -> list[str]:
    return [shell.state(id) for id in ids]


def many(shell: Shell, count: int, queue: str = "default", body: bytes | None = None) -> list[str]:
    """Enqueues quickly, without a command for each."""
    producer = connect_blocking(address(str(shell.broker_url)))
    body = body or b'{"v":1,"task":"tasks.add","args":[1,2],"at":1763820000.5}'
    jobs = [Job(f"{queue}:{new_id()}", queue, body) for _ in range(count)]
    producer.enqueue(jobs, Origin(new_id(), 1))
    producer.close()
    return [job.id for job in jobs]


def dead(shell: Shell, *words: str) -> str:
    """A job that has failed for good."""
    id = shell.enqueue("tasks.fail", " ".join(words) or "it")
    assert shell("-A", "tasks", "worker", "--burst", "-l", "critical").code == 0
    assert shell.state(id) == "failed"
    return id


# --- enqueue


def test_enqueue_prints_the_id(shell: Shell) -> None:
    words = ["--queue", "mail", "--job-id", "order-1", "--tag", "a", "--tag", "b", "--priority", "9"]
    said = shell("enqueue", "tasks.send", '{"user_id": 3}', *words)
    assert (said.code, said.out, said.err) == (0, "mail:order-1\n", "")
    again = shell("enqueue", "tasks.send", "[4]", *words)
    assert (again.code, again.out) == (0, "mail:order-1\n")
    assert again.err == "mail:order-1: a job of this id is stored already; nothing was added\n"
    told = shell("job", "mail:order-1", "--json").json()
    assert (told["tags"], told["priority"]) == (["a", "b"], 9)
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    assert shell.result("mail:order-1") == "sent 3"


def test_with_an_application_arguments_are_read_by_the_annotations(shell: Shell) -> None:
    said = shell("-A", "tasks", "enqueue", "tasks.order", '["0193c5a0-0000-7000-8000-000000000000", "PT90S"]')
    assert said.code == 0, said.err
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    assert shell.result(said.out.strip()) == "UUID 90"


def test_with_an_application_the_task_names_its_queue(shell: Shell) -> None:
    assert shell("-A", "tasks", "enqueue", "tasks.send", "[1]").out.startswith("mail:")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-A", "tasks", "enqueue", "tasks.ad"], "tasks:app has no task 'tasks.ad'; did you mean tasks.add?"),
        (["-A", "tasks", "enqueue", "shop.zzz"], "tasks:app has no task 'shop.zzz'; it has tasks."),
        (["-A", "tasks", "enqueue", "tasks.add", "[1]"], "tasks.add: missing argument(s) y"),
        (["-A", "tasks", "enqueue", "tasks.add", '["secret", 2]'], "tasks.add: argument 'x': expected int, got str"),
        (["enqueue", "tasks.add", '["secret"'], "the arguments are no JSON array or object"),
        (["enqueue", "tasks.add", '"secret"'], "the arguments are no JSON array or object"),
        (["enqueue", "tasks.add", "[1, NaN]"], "the arguments are no JSON array or object"),
        (["enqueue", "tasks.add", "[" * 100_000], "the arguments are no JSON array or object"),
        (["enqueue", "tasks.add", "--priority", "10"], "10 is not in the range 0<=x<=9"),
        (["enqueue", "tasks.add", "--expires", "0"], "0 is not in the range x>0"),
        (["enqueue", "tasks.add", "--job-id", "a b"], "job_id 'a b'"),
        (["enqueue", "tasks.add", "--queue", "a:b"], "queue name 'a:b'"),
        (["-b", "kafka://u:secret@h", "enqueue", "tasks.add"], "broker URL: kafka://... is not known"),
    ],
)  # fmt: skip
def test_what_cannot_be_enqueued_is_2_and_shows_no_argument(
    plain: Shell, words: list[str], expected: str
) -> None:
    said = plain(*words)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err
    assert "secret" not in said.err
    assert said.err.count("\n") == 1


def test_too_large_a_body_is_refused(plain: Shell) -> None:
    said = plain("enqueue", "tasks.add", '["' + "x" * 1000 + '"]', PENSTOCK_MAX_BODY="500")
    assert said.code == 1
    assert "above max_body=500" in said.err
    assert "xxx" not in said.err


def rows(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_a_file_of_jobs(shell: Shell) -> None:
    shell.write("rows.jsonl", rows("[1]", '{"user_id": 2}', "[3]"))
    said = shell("-A", "tasks", "enqueue", "tasks.send", "--many", "rows.jsonl", "--tag", "x")
    assert (said.code, said.out, said.err) == (0, "enqueued 3 jobs\n", "")
    said = shell("enqueue", "tasks.send", "--many", "-", "--queue", "mail", "--json", input="[4]")
    assert (said.code, said.json()) == (0, {"stored": 1})
    ran = shell("-A", "tasks", "worker", "--burst").out
    assert {line for line in ran.splitlines() if line.startswith("sending")} == {
        "sending 1",
        "sending 2",
        "sending 3",
        "sending 4",
    }


@pytest.mark.parametrize(
    ("lines", "expected", "stored"),
    [
        (["[1]"] * 600 + ['["secret"]'], "rows.jsonl, line 601: tasks.send: argument 'user_id': expected int", 500),
        (["[1]", "", "[2]"], "rows.jsonl, line 2: tasks.send: the arguments are no JSON array or object", 0),
        (["[1]", "[1, 2]"], "rows.jsonl, line 2: tasks.send: ", 0),
    ],
)  # fmt: skip
def test_a_line_that_does_not_fit_stops_it(
    shell: Shell, lines: list[str], expected: str, stored: int
) -> None:
    shell.enqueue("tasks.add", 1, 2)
    shell.write("rows.jsonl", rows(*lines))
    said = shell("-A", "tasks", "enqueue", "tasks.send", "--many", "rows.jsonl")
    assert (said.code, said.out) == (2, "")
    assert expected in said.err
    assert f"stopped: the first {stored} lines of rows.jsonl stored\n" in said.err
    assert "secret" not in said.err
    counts = {each["queue"]: each["ready"] for each in shell("queues", "--json").json()}
    assert counts.get("mail", 0) == stored


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--many", "rows.jsonl", "[1]"], "the arguments stand in the file"),
        (["--many", "rows.jsonl", "--job-id", "x"], "--job-id names one job"),
        (["--many", "none.jsonl"], "--many none.jsonl: No such file or directory"),
    ],
)
def test_a_file_that_makes_no_sense_is_2(plain: Shell, words: list[str], expected: str) -> None:
    plain.write("rows.jsonl", "[1]\n")
    said = plain("enqueue", "tasks.send", *words)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err


# --- retry


def test_retry_by_id_and_by_filter(shell: Shell) -> None:
    first, second = dead(shell, "apples"), dead(shell, "pears")
    said = shell("retry", first)
    assert (said.code, said.out) == (0, "retried 1 of 1 job\n")
    assert states(shell, [first, second]) == ["ready", "failed"]
    said = shell("retry", "--error", "PEARS")
    assert (said.code, said.out) == (0, "retried 1 job\n")
    assert states(shell, [first, second]) == ["ready", "ready"]


def test_retry_leaves_scheduled_jobs_unless_they_are_named(shell: Shell) -> None:
    id = shell.enqueue("tasks.add", 1, 2, countdown=3600)
    assert shell("retry", "--queue", "default").out == "retried 0 jobs\n"
    assert shell.state(id) == "scheduled"
    assert shell("retry", "--queue", "default", "--state", "scheduled").out == "retried 1 job\n"
    assert shell.state(id) == "ready"


def test_retry_of_what_cannot_be_retried(shell: Shell) -> None:
    id = shell.enqueue("tasks.add", 1, 2)
    said = shell("retry", id, "default:nobody")
    assert (said.code, said.out) == (1, "retried 0 of 2 jobs\n")
    assert f"{id}: it is ready; retry does not apply" in said.err
    assert "default:nobody: no such job is stored" in said.err
    said = shell("retry", "--state", "running")
    assert said.code == 2
    assert "retry is for failed, quarantined, scheduled" in said.err


@pytest.mark.parametrize(
    ("verb", "done", "left"),
    [("retry", "retried", "ready"), ("cancel", "cancelled", "cancelled"), ("purge", "purged", "no job")],
)
def test_each_filter_counts_and_is_the_same_for_every_verb(
    shell: Shell, verb: str, done: str, left: str
) -> None:
    if verb == "cancel":
        id, task, state = shell.enqueue("tasks.fail", "it", tags=["vip"]), "tasks.fail", "ready"
        error: list[str] = []
    else:
        id, task, state = shell.enqueue("tasks.fail", "it", tags=["vip"]), "tasks.fail", "failed"
        assert shell("-A", "tasks", "worker", "--burst", "-l", "critical").code == 0
        error = ["--error", "it"]
    right = ["--queue", "default", "--task", task, "--state", state, "--tag", "vip", *error,
             "--since", "1h", "--until", "2100-01-01"]  # fmt: skip
    wrong = [
        ("--queue", "mail"), ("--task", "tasks.add"), ("--tag", "other"), ("--since", "2100-01-01"),
        ("--until", "1h"), *([("--error", "another")] if error else []),
    ]  # fmt: skip
    yes = ["--yes"] if verb == "purge" else []
    for option, value in wrong:
        words = [value if right[at - 1] == option else word for at, word in enumerate(right)]
        said = shell(verb, *words, *yes)
        assert said.out == f"{done} 0 jobs\n", (option, said)
    said = shell(verb, *right, "--dry-run")
    assert said.code == 0
    assert id in said.out or "1 job" in said.out
    assert shell("job", id, "--json").json()["state"] == state
    assert shell(verb, *right, *yes).out == f"{done} 1 job\n"
    told = shell("job", id, "--json")
    assert left in (told.words if verb == "purge" else told.json()["state"])


def test_retry_to_another_queue_keeps_the_name_and_can_be_repeated(shell: Shell) -> None:
    id = dead(shell)
    name = id.partition(":")[2]
    said = shell("retry", id, "--to", "other")
    assert (said.code, said.out) == (0, "moved 1 of 1 job\n")
    moved = shell("job", f"other:{name}", "--body", "--json").json()
    assert (moved["state"], moved["attempt"], moved["task"]) == ("ready", 0, "tasks.fail")
    assert shell("job", id).code == 1
    # As after an end between the two steps: the copy is there, and the old one too.
    _put_back(shell, id, moved["body"].encode())
    said = shell("retry", "--queue", "default", "--state", "ready", "--to", "other")
    assert (said.code, said.out) == (0, "moved 1 job\n")
    assert shell("job", id).code == 1
    assert [job["id"] for job in shell("jobs", "--queue", "other", "--json").json()] == [f"other:{name}"]


def test_retry_leaves_what_waits_its_expiry_and_takes_it_from_the_dead(shell: Shell) -> None:
    dead = shell.enqueue("tasks.fail", "it", expires=3600)
    assert shell("-A", "tasks", "worker", "--burst", "-l", "critical").code == 0
    ready = shell.enqueue("tasks.add", 1, 2, expires=3600)
    later = shell.enqueue("tasks.add", 1, 2, expires=3600, countdown=600)

    def expiry(id: str) -> str | None:
        found: str | None = shell("job", id, "--json").json()["expires_at"]
        return found

    before = [expiry(id) for id in (ready, later)]
    assert None not in before
    assert shell("retry", dead, ready, later, "--to", "other").code == 0
    moved = [f"other:{id.partition(':')[2]}" for id in (dead, ready, later)]
    assert [expiry(id) for id in moved] == [None, *before]


def test_retry_to_a_queue_where_the_id_is_taken(shell: Shell) -> None:
    mine = shell.enqueue("tasks.add", 1, 2, job_id="one")
    theirs = shell.enqueue("tasks.add", 3, 4, job_id="one", queue="other")
    said = shell("retry", mine, "--to", "other")
    assert said.code == 1
    assert f"{mine}: another job is {theirs} already" in said.err
    assert states(shell, [mine, theirs]) == ["ready", "ready"]


def _put_back(shell: Shell, id: str, body: bytes) -> None:
    producer = connect_blocking(address(str(shell.broker_url)))
    producer.enqueue([Job(id, id.partition(":")[0], body)], Origin(new_id(), 1))
    producer.close()


# --- cancel


def test_cancel_what_waits(shell: Shell) -> None:
    ids = [shell.enqueue("tasks.add", 1, 2), shell.enqueue("tasks.add", 1, 2, countdown=3600)]
    said = shell("cancel", *ids)
    assert (said.code, said.out) == (0, "cancelled 2 of 2 jobs\n")
    assert states(shell, ids) == ["cancelled", "cancelled"]


def test_cancel_what_runs(shell: Shell) -> None:
    with shell.worker(PENSTOCK_LEASE="1") as worker:
        id = shell.enqueue("tasks.hold")
        worker.wait_for(f"holding {id}")
        said = shell("cancel", "--task", "tasks.hold").out
        assert said == "cancelled 0 jobs; asked 1 running job to stop (a thread decides itself)\n"
        from penstock import JobCancelled

        with pytest.raises(JobCancelled):
            shell.result(id)
        assert worker.end() == 0


def test_a_running_job_is_asked_once(shell: Shell) -> None:
    end = shell.folder / "end"
    with shell.worker() as worker:
        id = shell.enqueue("tasks.stubborn", str(end))
        worker.wait_for(f"stubborn {id}")
        waits = shell.enqueue("tasks.add", 1, 2, countdown=3600)
        said = shell("cancel", "--queue", "default").out
        assert said == "cancelled 1 job; asked 1 running job to stop (a thread decides itself)\n"
        assert shell.state(waits) == "cancelled"
        assert shell("job", id, "--json").json()["cancel_requested"] is True
        assert shell("cancel", "--queue", "default").out == "cancelled 0 jobs\n"
        said = shell("cancel", id)
        assert said.out == "cancelled 0 of 1 job; asked 1 running job to stop (a thread decides itself)\n"
        assert said.code == 0
        end.touch()
        assert worker.end() == 0


def test_cancel_more_than_a_slice_over_several_queues(shell: Shell) -> None:
    count = 2 * SLICE + 50
    ids = many(shell, count) + many(shell, 3, "mail")
    said = shell("cancel", "--task", "tasks.add")
    assert (said.code, said.out) == (0, f"cancelled {count + 3} jobs\n")
    assert shell("jobs").out == "no job waits, runs or is dead\n"
    assert shell.state(ids[-1]) == "cancelled"


def test_what_was_cancelled_does_not_hide_what_came_later(shell: Shell) -> None:
    many(shell, 3 * SLICE)
    assert shell("cancel", "--queue", "default").out == f"cancelled {3 * SLICE} jobs\n"
    many(shell, SLICE + 50)
    assert len(shell("jobs", "--json").json()) == SLICE + 50
    assert shell("purge", "--queue", "default", "--yes").out == f"purged {SLICE + 50} jobs\n"


# --- purge


def test_purge_what_waits_and_with_state_what_is_dead(shell: Shell) -> None:
    gone = dead(shell)
    many(shell, SLICE + 20)
    said = shell("purge", "--queue", "default", "--yes")
    assert (said.code, said.out) == (0, f"purged {SLICE + 20} jobs\n")
    assert shell("jobs", "--json").json()[0]["id"] == gone
    assert shell("purge", "--state", "failed", "--yes").out == "purged 1 job\n"
    assert shell("jobs").out == "no job waits, runs or is dead\n"
    assert shell("job", gone).code == 1


def test_purge_on_a_filter_wants_yes_where_nobody_can_be_asked(shell: Shell) -> None:
    ids = many(shell, 2)
    said = shell("purge", "--queue", "default")
    assert (said.code, said.out) == (2, "")
    assert "without a terminal nobody can answer: say --yes" in said.err
    assert said.err.count("\n") == 1
    assert shell("purge", "--queue", "default", "--dry-run").code == 0
    assert states(shell, ids) == ["ready", "ready"]
    assert shell("purge", ids[0]).out == "purged 1 of 1 job\n"
    assert "purge 1 job?" in at_a_terminal(shell, "purge", "--queue", "default", answer="y")
    assert shell("jobs").out == "no job waits, runs or is dead\n"


def test_purge_by_id_takes_whatever_nobody_holds(shell: Shell) -> None:
    id = shell.enqueue("tasks.add", 1, 2)
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    assert shell.state(id) == "succeeded"
    assert shell("purge", id).out == "purged 1 of 1 job\n"
    assert shell("job", id).code == 1


def test_what_a_worker_holds_is_not_purged(shell: Shell) -> None:
    with shell.worker() as worker:
        id = shell.enqueue("tasks.hold")
        worker.wait_for(f"holding {id}")
        said = shell("purge", id)
        assert said.code == 1
        assert "it is running; purge does not apply" in said.err
        assert shell("purge", "--state", "running").code == 2


def test_a_job_that_nobody_can_read_is_seen_and_purged(shell: Shell) -> None:
    (id,) = many(shell, 1, body=b"\xff not JSON")
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    (job,) = shell("dead", "--json").json()
    assert (job["id"], job["state"], job["task"]) == (id, "quarantined", None)
    assert "(undecodable)" in shell("dead").out
    assert "not JSON" in shell("job", id, "--body").out
    assert shell("purge", "--state", "quarantined", "--yes").out == "purged 1 job\n"


# --- what all have in common


@pytest.mark.parametrize("verb", ["retry", "cancel", "purge"])
def test_ids_or_a_filter(plain: Shell, verb: str) -> None:
    for words in ([], ["--yes"]):
        said = plain(verb, *words)
        assert said.code == 2
        assert "give their ids or a filter such as --queue mail (see " in said.err
    said = plain(verb, "default:1", "--queue", "default")
    assert said.code == 2
    assert "give their ids or a filter, not both" in said.err
    assert plain(verb, "1234").code == 2


def test_a_dry_run_changes_nothing(shell: Shell) -> None:
    ids = [shell.enqueue("tasks.add", 1, 2), shell.enqueue("tasks.send", 1)]
    said = shell("cancel", "--queue", "default", "--dry-run")
    assert (said.code, said.out) == (
        0,
        f"{ids[0]}  tasks.add  ready\n{ids[1]}  tasks.send  ready\n2 jobs; nothing was changed\n",
    )
    assert shell("purge", ids[0], "--dry-run").out == f"{ids[0]}  tasks.add  ready\n"
    assert states(shell, ids) == ["ready", "ready"]


@pytest.mark.parametrize(("answer", "expected"), [("n", "ready"), ("y", "cancelled")])
def test_at_a_terminal_a_filter_asks_first(shell: Shell, answer: str, expected: str) -> None:
    id = shell.enqueue("tasks.add", 1, 2)
    assert expected in at_a_terminal(shell, "cancel", "--queue", "default", answer=answer) or answer == "n"
    assert shell.state(id) == expected


def test_at_a_terminal_yes_and_ids_do_not_ask(shell: Shell) -> None:
    first, second = shell.enqueue("tasks.add", 1, 2), shell.enqueue("tasks.add", 1, 2)
    assert "?" not in at_a_terminal(shell, "cancel", first)
    assert "?" not in at_a_terminal(shell, "cancel", "--queue", "default", "--yes")
    assert states(shell, [first, second]) == ["cancelled", "cancelled"]


def at_a_terminal(shell: Shell, *words: str, answer: str = "") -> str:
    """What it says where its input is a terminal."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    try:
        done = subprocess.run(
            [PENSTOCK, *words], cwd=shell.folder, env=shell.environment, stdin=theirs, capture_output=True,
            text=True, timeout=PATIENCE_S,
        )  # fmt: skip
    finally:
        os.close(theirs)
        os.close(ours)
    return done.stdout + done.stderr


# --- orders to workers


def test_orders_are_carried_out_and_answered(shell: Shell) -> None:
    with shell.worker(PENSTOCK_LEASE="1") as worker:
        (card,) = shell("workers", "--json").json()
        id: str = card["id"]
        said = shell("workers", id[:13], "quiet")
        assert (said.code, said.out) == (0, "quiet: takes nothing new\n")
        waiting = shell.enqueue("tasks.add", 1, 2)
        assert "--- idle: " in shell("workers", id, "dump").out
        assert shell.state(waiting) == "ready"
        assert shell("workers", id, "resume").out == "running\n"
        assert shell.result(waiting) == 3
        assert shell("workers", id, "stop").out == "draining\n"
        assert worker.end(None) == 0


def test_an_order_to_nobody(shell: Shell) -> None:
    shell.enqueue("tasks.add", 1, 2)
    said = shell("workers", "abcdef", "stop")
    assert said.code == 2
    assert "no worker's id begins with 'abcdef'; there are: none" in said.err


def test_an_order_that_nobody_hears_expires(shell: Shell) -> None:
    with shell.worker() as worker:
        (card,) = shell("workers", "--json").json()
        worker.process.send_signal(19)  # SIGSTOP
        said = shell("workers", card["id"], "quiet", "--wait", "0.3")
        assert (said.code, said.out) == (1, "")
        assert "has not answered in 0.3 s; the order is void" in said.err


def test_orders_to_several_workers(shell: Shell) -> None:
    with shell.worker(), shell.worker():
        ids = sorted(card["id"] for card in shell("workers", "--json").json())
        told = shell("workers", *ids, "quiet", "--json")
        assert told.code == 0
        assert sorted(told.json(), key=lambda each: each["id"]) == [
            {"id": id, "verb": "quiet", "done": True, "answer": "quiet: takes nothing new"} for id in ids
        ]
        assert {card["state"] for card in shell("workers", "--json").json()} == {"quiet"}
        said = shell("workers", "--all", "resume")
        assert (said.code, said.err) == (0, "")
        assert set(said.out.splitlines()) == {f"{id[:13]}  running" for id in ids}


@pytest.mark.parametrize(("verb", "done"), [("quiet", False), ("stop", True)])
def test_a_worker_that_ends_before_it_answers(verb: str, done: bool) -> None:
    """Who waits is told at once, and one that was to stop has done so."""

    async def order() -> list[Answered]:
        where = address(f"memory://{new_id()}")
        broker = connect(where)
        await broker.open()
        card = WorkerCard(new_id(), "shop")
        consumer = await broker.consumer(["default"], window=1, lease_s=15, card=card, id=card.id)
        opened = Opened(broker, inspector(broker), [])
        stored = await opened.inspector.command(card.id, verb, 600)
        waiting = asyncio.ensure_future(_collected(answers(opened, {card.id: stored}, verb, 600)))
        await asyncio.sleep(0)
        await consumer.close()
        told = await asyncio.wait_for(waiting, PATIENCE_S)
        await broker.close()
        return told

    (told,) = asyncio.run(order())
    assert (told.verb, told.done, told.answer) == (verb, done, f"worker {told.id} has stopped meanwhile")


async def _collected(told: AsyncIterator[Answered]) -> list[Answered]:
    return [each async for each in told]


def test_no_worker_to_be_ordered(shell: Shell) -> None:
    shell.enqueue("tasks.add", 1, 2)
    assert shell("workers", "--all", "quiet").out == "no worker is running\n"
    assert shell("workers", "--all", "quiet", "--json").out == "[]\n"


def test_a_queue_that_nobody_knows_gets_a_word(shell: Shell) -> None:
    id = shell.enqueue("tasks.send", 1, queue="mail")
    word = "mial: no job and no worker knows this queue; did you mean mail?\n"
    for line in (["jobs", "--queue", "mial"], ["cancel", "--queue", "mial", "--yes"]):
        said = shell(*line)
        assert (said.code, said.err) == (0, word)
    assert shell("jobs", "--queue", "mail").err == ""
    said = shell("retry", id, "--to", "mial")
    assert (said.code, said.out, said.err) == (0, "moved 1 of 1 job\n", word)
