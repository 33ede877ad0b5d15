"""``penstock worker --reload``: the worker is another one when a file has changed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from penstock.cli.reloading import folder_of, without_reload
from tests.cli.shell import Running, Shell
from tests.faults.processes import descendants, gone
from tests.runtime.conftest import wait_for

TASKS = """
import asyncio
from penstock import Penstock
app = Penstock("live")

@app.task
def version() -> int:
    return 1

@app.task
async def hold() -> None:
    print("holding")
    await asyncio.sleep(3600)

@app.task
def stubborn() -> None:
    import time
    print("stubborn")
    time.sleep(3600)
"""


@pytest.fixture
def plain(plain: Shell) -> Shell:
    plain.environment["PENSTOCK_BROKER_URL"] = plain.broker_url = f"sqlite:///{plain.folder / 'jobs.db'}"
    plain.write("live.py", TASKS)
    return plain


def watching(running: Running) -> None:
    running.wait_for(" is ready: ")


def test_a_change_and_a_mistake_and_its_remedy(plain: Shell) -> None:
    with plain.running("-A", "live", "worker", "--reload") as watcher:
        watcher.wait_for(f"watching {plain.folder} for changes of .py files")
        watching(watcher)
        assert plain.result(plain.enqueue("live.version")) == 1
        plain.write("live.py", TASKS.replace("return 1", "return 2"))
        watcher.wait_for("live.py changed: the worker is restarted")
        watching(watcher)
        assert plain.result(plain.enqueue("live.version")) == 2
        plain.write("live.py", TASKS.replace("return 1", "return ("))
        watcher.wait_for("importing live failed at live.py:8: SyntaxError")
        watcher.wait_for("the worker ended with exit code 2; another is started at the next change")
        plain.write("live.py", TASKS.replace("return 1", "return 3"))
        watching(watcher)
        assert plain.result(plain.enqueue("live.version")) == 3
        assert watcher.end(signal.SIGINT) == 0
    assert "Traceback" not in watcher.text


def test_a_mistake_at_the_start(plain: Shell) -> None:
    plain.write("live.py", "import")
    with plain.running("worker", "live:app", "--reload") as watcher:
        watcher.wait_for("another is started at the next change")
        plain.write("live.py", TASKS)
        watching(watcher)
        assert watcher.end() == 0


@pytest.mark.parametrize("task", ["live.hold", "live.stubborn"])
def test_what_runs_is_given_back_quickly(plain: Shell, task: str) -> None:
    with plain.running("-A", "live", "worker", "--reload", "--grace", "3600") as watcher:
        watching(watcher)
        id = plain.enqueue(task)
        watcher.wait_for(task.partition(".")[2].removesuffix("hold"))
        plain.write("live.py", TASKS.replace("3600", "0"))
        watcher.wait_for("1 job(s) were still running ")  # at the end of the 2 s, or hurried then
        watching(watcher)
        assert plain.result(id) is None
        assert watcher.end() == 0


def test_other_files_change_nothing(plain: Shell, tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    with plain.running("-A", "live", "worker", "--reload", "--reload-dir", str(watched)) as watcher:
        watcher.wait_for(f"watching {watched} ")
        watching(watcher)
        plain.write("live.py", TASKS)
        (watched / "notes.txt").write_text("")
        (watched / "a.py").write_text("")
        watcher.wait_for("a.py changed: the worker is restarted")
        watching(watcher)
        assert watcher.end() == 0
    assert watcher.text.count("changed: ") == 1


def test_a_second_signal_is_passed_on_too(plain: Shell) -> None:
    with plain.running("-A", "live", "worker", "--reload", "--grace", "3600") as watcher:
        watching(watcher)
        id = plain.enqueue("live.hold")
        watcher.wait_for("holding")
        watcher.send(signal.SIGINT)
        watcher.wait_for("stopping: running jobs have 2 s")
        assert watcher.end(signal.SIGINT) == 4
    assert plain.state(id) == "ready"


def test_processes_are_restarted_and_end_with_the_watcher(plain: Shell) -> None:
    with plain.running("-A", "live", "worker", "--reload", "--processes", "2") as watcher:
        watching(watcher)
        watching(watcher)
        family = descendants(watcher.process.pid)
        assert len(family) == 3
        os.kill(watcher.process.pid, signal.SIGKILL)
        wait_for(lambda: all(gone(pid) for pid in family))


def test_a_burst_ends_the_watcher(plain: Shell) -> None:
    assert plain("-A", "live", "worker", "--reload", "--burst").code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-A", "live", "worker", "--reload-dir", "."], "--reload-dir says what --reload watches"),
        (["-A", "live", "worker", "--reload", "--reload-dir", "/nowhere"], "there is no such folder"),
        (["worker", "--reload"], "which application?"),
    ],
)
def test_wrong_usage(plain: Shell, words: list[str], expected: str) -> None:
    said = plain(*words)
    assert said.code == 2
    assert expected in said.err


def test_without_watchfiles(plain: Shell) -> None:
    plain.write(
        "watchfiles.py", "raise ModuleNotFoundError('No module named watchfiles', name='watchfiles')\n"
    )
    said = plain("-A", "live", "worker", "--reload", PYTHONPATH=str(plain.folder))
    assert (said.code, said.err) == (
        2,
        "penstock: --reload needs watchfiles: pip install 'penstock[reload]'\n",
    )


def test_the_command_line_of_the_worker() -> None:
    words = ["-A", "live", "worker", "--reload", "--reload-dir", "a", "--reload-dir=b", "-c", "2"]
    assert without_reload(words) == ["-A", "live", "worker", "-c", "2"]


def test_the_folder_of_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert folder_of("shop.tasks:app") == tmp_path
    assert folder_of("shop/tasks.py") == tmp_path
    assert folder_of("nowhere") == tmp_path
    monkeypatch.chdir(elsewhere)
    monkeypatch.syspath_prepend(tmp_path)
    assert folder_of("shop.tasks") == package
