"""``penstock worker`` as it is started, used and stopped."""

from __future__ import annotations

import signal

import pytest

from penstock import JobFailed, __version__
from tests.cli.shell import Shell
from tests.servers import free_port

WEB_JOBS = """
from penstock import Penstock
app = Penstock("web")
@app.task
def f() -> None: ...
"""


def test_it_says_what_it_is_about_to_do(shell: Shell) -> None:
    with shell.worker("-c", "3") as worker:
        assert worker.end() == 0
    text = worker.text
    assert f"penstock {__version__}  shop (tasks:app)" in text
    assert "  queues       default, mail\n" in text
    assert "  concurrency  3\n" in text
    assert " is ready: queues default, mail, 3 slot(s), 6 task(s)\n" in text
    assert (
        "  tasks        tasks.add, tasks.fail, tasks.send, tasks.order, tasks.hold, tasks.stubborn\n" in text
    )
    shown = str(shell.broker_url)
    assert f"  broker       {shown}\n" in text


def test_a_relative_file_is_shown_with_its_full_path(plain: Shell) -> None:
    said = plain("-A", "tasks", "worker", "--burst")
    assert said.code == 0
    assert f"  broker       sqlite:///{plain.folder}/penstock.db\n" in said.out
    assert (plain.folder / "penstock.db").exists()


def test_it_runs_what_is_enqueued_and_its_output_comes_by_the_line(shell: Shell) -> None:
    with shell.worker() as worker:
        id = shell.enqueue("tasks.send", 7, queue="mail")
        worker.wait_for("sending 7")
        assert shell.result(id) == "sent 7"
        assert worker.end() == 0


@pytest.mark.parametrize(
    "words",
    [
        "-A tasks worker --burst",
        "worker tasks:app --burst",
        "worker -A tasks:app --burst",
        "worker tasks.py --burst",
    ],
)
def test_its_spellings_are_one_command(shell: Shell, words: str) -> None:
    id = shell.enqueue("tasks.add", 1, 2)
    assert shell(*words.split()).code == 0
    assert shell.result(id) == 3


def test_burst_ends_when_nothing_is_ready(shell: Shell) -> None:
    ids = [shell.enqueue("tasks.add", n, 1) for n in range(3)]
    said = shell("-A", "tasks", "worker", "--burst")
    assert said.code == 0
    assert [shell.result(id) for id in ids] == [1, 2, 3]


def test_queues_are_served_in_the_order_given(shell: Shell) -> None:
    shell.write(
        "order.py", "from tasks import app\n@app.task\ndef note(word: str) -> None: print('ran', word)\n"
    )
    for word in ("low", "mid", "high"):
        shell.enqueue("order.note", word, queue=word)
    said = shell("-A", "order", "worker", "-Q", "high,mid,low", "-c", "1", "--burst")
    assert said.code == 0
    assert [line for line in said.out.splitlines() if line.startswith("ran ")] == [
        "ran high",
        "ran mid",
        "ran low",
    ]


def test_queues_may_have_weights(shell: Shell) -> None:
    ids = [shell.enqueue("tasks.send", 1, queue="mail"), shell.enqueue("tasks.send", 2)]
    said = shell("-A", "tasks", "worker", "-Q", "mail=3,default", "--burst")
    assert said.code == 0
    assert "  queues       mail=3, default=1\n" in said.out
    assert " is ready: queues mail=3, default=1, " in said.out
    assert [shell.state(id) for id in ids] == ["succeeded", "succeeded"]
    said = shell("-A", "tasks", "worker", "--burst", PENSTOCK_QUEUES="default,mail=20")
    assert "  queues       default=1, mail=20\n" in said.out


def test_queues_that_are_not_named_are_left_alone(shell: Shell) -> None:
    id = shell.enqueue("tasks.send", 1, queue="mail")
    assert shell("-A", "tasks", "worker", "-Q", "default", "--burst").code == 0
    assert shell.state(id) == "ready"


def test_queues_that_no_task_uses_are_warned_about_in_one_line(shell: Shell) -> None:
    said = shell("-A", "tasks", "worker", "-Q", "mial,default,bluk", "--burst")
    assert said.code == 0
    (line,) = (line for line in said.out.splitlines() if "WARNING" in line and "no task here uses" in line)
    assert "no task here uses queues mial, bluk: only jobs come from there" in line
    assert line.endswith("the tasks here use default, mail")
    said = shell("-A", "tasks", "worker", "-Q", "mail,default", "--burst")
    assert "no task here uses" not in said.out


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        (
            "mail=0,default",
            "-Q mail=0,default: the weight of 'mail' is a whole number from 1 to 1000, not '0'",
        ),
        ("ma il", "queue name 'ma il'"),
        (",", "-Q ',' names no queue"),
    ],
)
def test_queues_that_make_no_sense_are_refused(plain: Shell, queues: str, expected: str) -> None:
    said = plain("-A", "tasks", "worker", "-Q", queues)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-c", "0"], "setting concurrency (command line): at least 1, got 0"),
        (["-c", "many"], "setting concurrency (command line): expected a whole number, got 'many'"),
        (["--grace", "-1"], "setting grace (command line): at least 0, got -1"),
        (["--grace", "inf"], "setting grace (command line): at least 0, got inf"),
        (
            ["-l", "loud"],
            "setting loglevel (command line): one of debug, info, warning, error, critical; got 'loud'",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(plain: Shell, words: list[str], expected: str) -> None:
    said = plain("-A", "tasks", "worker", *words)
    assert (said.code, said.err) == (2, f"penstock: {expected}\n")


def test_of_two_log_levels_the_last_counts(shell: Shell) -> None:
    said = shell("-A", "tasks", "worker", "--loglevel=debug", "-l", "warning", "--burst")
    assert " is ready: " not in said.words
    said = shell("-A", "tasks", "worker", "-l", "WARNING", "--loglevel=info", "--burst")
    assert " is ready: " in said.out


def test_logging_that_the_application_has_set_up_is_left_as_it_is(shell: Shell) -> None:
    shell.write(
        "own.py",
        "import logging\nlogging.basicConfig(format='OWN %(message)s', level='INFO')\nfrom tasks import app\n",
    )
    said = shell("-A", "own", "worker", "--burst")
    assert "OWN worker " in said.err
    assert " is ready: " not in said.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_what_is_left_behind_makes_it_4(shell: Shell, number: signal.Signals) -> None:
    with shell.worker("--grace", "0.2") as worker:
        id = shell.enqueue("tasks.hold")
        worker.wait_for(f"holding {id}")
        assert worker.end(number) == 4
    assert shell.state(id) == "ready"


def test_a_second_signal_stops_at_once(shell: Shell) -> None:
    with shell.worker("--grace", "3600") as worker:
        id = shell.enqueue("tasks.hold")
        worker.wait_for(f"holding {id}")
        worker.send(signal.SIGTERM)
        worker.wait_for("stopping: running jobs have 3600 s")
        assert worker.end(signal.SIGTERM) == 4
    assert shell.state(id) == "ready"


def test_a_stack_is_printed_on_sigusr1(shell: Shell) -> None:
    with shell.worker() as worker:
        worker.send(signal.SIGUSR1)
        worker.wait_for("--- idle: MainThread, ")
        assert worker.end() == 0


def test_it_waits_for_a_broker_that_is_not_there(plain: Shell) -> None:
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    with plain.running("-A", "tasks", "worker", "-b", url) as worker:
        worker.wait_for("trying again")
        assert worker.end() == 0
    assert "secret" not in worker.text
    assert "Traceback" not in worker.text


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_broker_inside_one_process_is_2(plain: Shell, processes: str) -> None:
    said = plain("-A", "tasks", "worker", "--processes", processes, PENSTOCK_BROKER_URL="memory://")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("penstock: memory:// lives inside one process: ")
    assert said.err.count("\n") == 1


def test_a_broker_that_loses_jobs_is_2(plain: Shell) -> None:
    said = plain("-A", "tasks", "worker", "-b", "sqlite:////proc/nowhere/penstock.db")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "there is no folder /proc/nowhere" in said.err


def test_a_module_imported_under_another_name_is_told_how_to_start_its_worker(shell: Shell) -> None:
    shell.write("web/__init__.py", "")
    shell.write(
        "web/jobs.py",
        "from penstock import Penstock\napp = Penstock('web')\n@app.task\ndef f() -> None: ...\n",
    )
    shell.enqueue("web.jobs.f")
    inner = shell.folder / "web"
    said = shell("-A", "jobs", "worker", "--burst", folder=inner)
    assert "no task 'web.jobs.f' here, so its jobs wait" in said.out
    assert "start it with -A web.jobs:app (from the folder above)" in said.out


def test_a_job_of_a_shorter_name_is_told_so_too(shell: Shell) -> None:
    shell.write("web/__init__.py", "")
    shell.write(
        "web/jobs.py",
        "from penstock import Penstock\napp = Penstock('web')\n@app.task\ndef f() -> None: ...\n",
    )
    shell.enqueue("jobs.f")
    said = shell("-A", "web.jobs", "worker", "--burst")
    assert "start it with -A jobs:app (from the folder web)" in said.out


def test_a_mistyped_task_is_told_what_is_near(shell: Shell) -> None:
    shell.enqueue("tasks.ad", 1, 2)
    shell.enqueue("elsewhere.thing", 1, 2)
    said = shell("-A", "tasks", "worker", "--burst")
    assert "no task 'tasks.ad' here, so its jobs wait; it knows tasks.add" in said.out
    assert (
        "no task 'elsewhere.thing' here, so its jobs wait; start a worker whose application defines it"
        in said.out
    )


def test_a_failure_says_what_to_do_and_no_argument_is_logged(shell: Shell) -> None:
    id = shell.enqueue("tasks.send", "not a number, but a secret", queue="mail")
    said = shell("-A", "tasks", "worker", "--burst")
    assert id in said.out
    assert "a secret" not in said.words
    with pytest.raises(JobFailed) as failed:
        shell.result(id)
    assert failed.value.cause == "arguments"


def test_a_broken_settings_file_is_2(plain: Shell) -> None:
    plain.write("penstock.toml", "concurrency = [[[\n")
    for words in (["-A", "tasks", "worker"], ["queues"], ["config"]):
        said = plain(*words)
        assert (said.code, said.out) == (2, "")
        assert f"{plain.folder}/penstock.toml: " in said.err
        assert said.err.count("\n") == 1


def test_several_processes_run_jobs_and_stop_together(shell: Shell) -> None:
    with shell.running("-A", "tasks", "worker", "--processes", "2") as workers:
        workers.wait_for("  concurrency  10 in each of 2 processes")
        workers.wait_for(" is ready: ")
        workers.wait_for(" is ready: ")
        id = shell.enqueue("tasks.add", 2, 3)
        assert shell.result(id) == 5
        assert len(shell("workers", "--json").json()) == 2
        assert workers.end() == 0
