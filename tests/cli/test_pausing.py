"""``pause`` and ``resume``: whole queues, by their names."""

from __future__ import annotations

import pytest

from tests.cli.shell import Shell


def paused(shell: Shell) -> dict[str, bool]:
    return {queue["queue"]: queue["paused"] for queue in shell("queues", "--json").json()}


def test_a_paused_queue_waits_until_it_is_resumed(shell: Shell) -> None:
    mail, other = shell.enqueue("tasks.send", 1, queue="mail"), shell.enqueue("tasks.add", 1, 2)
    said = shell("pause", "mail")
    assert (said.code, said.out, said.err) == (0, "paused mail\n", "")
    assert paused(shell) == {"default": False, "mail": True}
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    assert (shell.state(mail), shell.state(other)) == ("ready", "succeeded")
    assert shell("resume", "--queue", "mail").out == "resumed mail\n"
    assert shell("-A", "tasks", "worker", "--burst").code == 0
    assert shell.result(mail) == "sent 1"


def test_several_and_all(shell: Shell) -> None:
    for queue in ("a", "b", "c"):
        shell.enqueue("tasks.add", 1, 2, queue=queue)
    assert shell("pause", "a", "--queue", "b", "a").out == "paused a, b\n"
    said = shell("pause", "--all", "--dry-run", "--json").json()
    assert said == {"action": "pause", "changed": ["c"], "unchanged": ["a", "b"], "dry_run": True}
    assert paused(shell) == {"a": True, "b": True, "c": False}
    assert shell("pause", "--all").out == "paused c\npaused already: a, b\n"
    said = shell("resume", "b", "c", "--json").json()
    assert said == {"action": "resume", "changed": ["b", "c"], "unchanged": [], "dry_run": False}
    assert shell("resume", "--all", "--dry-run").out == "would resume a\nnot paused: b, c\n"
    assert paused(shell) == {"a": True, "b": False, "c": False}


def test_a_queue_that_nobody_knows_is_paused_with_a_word(shell: Shell) -> None:
    shell.enqueue("tasks.add", 1, 2)
    said = shell("pause", "mial")
    assert (said.code, said.out) == (0, "paused mial\n")
    assert said.err == "mial: no job and no worker knows this queue\n"
    shell.enqueue("tasks.send", 1, queue="mail")
    again = shell("pause", "mial")  # to be paused makes it no better known
    assert again.out == "paused already: mial\n"
    assert again.err == "mial: no job and no worker knows this queue; did you mean mail?\n"
    assert shell("resume", "mial").words == "resumed mial\n"
    assert shell("resume", "mial").words == (
        "not paused: mial\nmial: no job and no worker knows this queue; did you mean mail?\n"
    )


def test_a_queue_that_only_workers_or_tasks_know_is_paused_without_a_word(shell: Shell) -> None:
    shell.enqueue("tasks.add", 1, 2)
    assert shell("-A", "tasks", "pause", "mail").words == "paused mail\n"
    assert "no job and no worker" in shell("pause", "mail").err
    with shell.worker("-Q", "mail"):
        assert shell("pause", "mail").words == "paused already: mail\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pause"], "pause which queues? give their names or --all"),
        (["resume", "mail", "--all"], "give their names or --all, not both"),
        (["pause", "a b"], "queue name 'a b': use letters"),
        (["pause", "a b", "mail", "c!"], "queue names 'a b', 'c!': use letters"),
        (
            ["pause", "mail", "--task", "x"],
            "--task picks jobs, and pause is for whole queues: name them",
        ),
        (["resume", "--all", "--since", "1h"], "--since picks jobs, and resume is for whole queues"),
    ],
)
def test_what_makes_no_sense_is_2(plain: Shell, words: list[str], expected: str) -> None:
    said = plain(*words)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err
