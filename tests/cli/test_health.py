"""``penstock health``: the workers of this host, by the files that they write."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock.runtime import heartbeat
from penstock.runtime.heartbeat import Heartbeat, Seen, open_folder, process_started, read_all, run_folder
from tests.cli.shell import PATIENCE_S, Said, Shell
from tests.faults.processes import descendants
from tests.runtime.conftest import wait_for
from tests.servers import RedisServer


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def plain(plain: Shell, run_dir: Path) -> Shell:
    plain.environment["PENSTOCK_RUN_DIR"] = str(run_dir)
    return plain


def until(look: Callable[[], Said], wanted: Callable[[Said], bool]) -> Said:
    """Asks again and again: a file is what it has to wait for."""
    mono_until = time.monotonic() + PATIENCE_S
    while not wanted(said := look()):
        assert time.monotonic() < mono_until, said
    return said


def test_nobody_is_there(plain: Shell, run_dir: Path) -> None:
    said = plain("health")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"no worker runs on this host, as far as {run_dir} tells; ")


def test_a_worker_from_its_first_beat_to_its_end(plain: Shell, run_dir: Path) -> None:
    with plain.worker("-b", "sqlite:///penstock.db") as worker:
        said = until(lambda: plain("-A", "nowhere", "health"), lambda said: said.code == 0)
        assert said.out.startswith("worker ")
        assert f"(pid {worker.process.pid}) of shop on sqlite:///" in said.out
        assert ": running, beat " in said.out
        [file] = run_dir.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert run_dir.stat().st_mode & 0o777 == 0o700
        assert set(json.loads(file.read_text())) > {"id", "pid", "app", "broker", "state", "seen_at"}
        shown = plain("health", "--json").json()
        [one] = shown["workers"]
        assert shown["healthy"] is True
        assert (one["pid"], one["app"], one["state"], one["silent"]) == (
            worker.process.pid,
            "shop",
            "running",
            False,
        )
        assert worker.end() == 0
    assert list(run_dir.iterdir()) == []
    assert plain("health").code == 1


def test_processes_and_one_that_was_killed(plain: Shell, run_dir: Path) -> None:
    with plain.running("-A", "tasks", "worker", "--processes", "2", "--no-guard") as workers:
        workers.wait_for(" is ready: ")
        workers.wait_for(" is ready: ")
        until(lambda: plain("health"), lambda said: said.out.count("running, beat") == 2)
        victim = descendants(workers.process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        workers.wait_for("another is started")
        workers.wait_for(" is ready: ")  # it tidies up too, as it starts
        said = until(lambda: plain("health"), lambda said: said.out.count("running, beat") == 2)
        assert said.code == 0
        assert workers.end() == 0


def test_one_that_hangs(plain: Shell) -> None:
    with plain.worker("-b", "sqlite:///penstock.db") as worker:
        until(lambda: plain("health"), lambda said: said.code == 0)
        worker.send(signal.SIGSTOP)
        said = until(lambda: plain("health", "--within", "0"), lambda said: said.code == 1)
        assert "SILENT for " in said.out
        assert plain("health", "--within", "3600").code == 0
        worker.send(signal.SIGCONT)
        assert worker.end() == 0


def test_a_password_is_in_no_file(
    plain: Shell, run_dir: Path, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "secret")
    url = server.url.replace("redis://", "redis://:secret@")
    with plain.worker("-b", url) as worker:
        said = until(lambda: plain("health"), lambda said: said.code == 0)
        assert f" of shop on {server.url}: " in said.out
        [file] = run_dir.iterdir()
        assert "secret" not in file.read_text()
        assert worker.end() == 0
    with redis.Redis.from_url(url) as client:
        client.config_set("requirepass", "")


def there(file: Path) -> Path:
    """A thread writes it."""
    wait_for(file.exists)
    return file


TOLD: dict[str, object] = {"id": "0123456789abcdef", "app": "shop", "broker": "redis://h/0", "lease_s": 15.0}


def write(folder: Path, **changes: Any) -> Path:
    """A file of this very process, with changes."""
    folder.mkdir(exist_ok=True)
    file = folder / f"worker-{os.getpid()}.json"
    Heartbeat(folder, TOLD, print).beat("running")
    there(file)
    said = json.loads(file.read_text()) | changes
    other = folder / f"worker-{said['pid']}.json"
    file.rename(other)
    other.write_text(json.dumps(said))
    return other


def test_what_killed_workers_left_is_removed_with_a_word(plain: Shell, run_dir: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = write(run_dir, pid=dead.pid)
    reborn = write(run_dir, process="1")  # another process has that id now
    said = plain("health")
    assert said.code == 1
    assert said.err.count("is gone without a word, killed or crashed; its file is removed") == 2
    assert not gone.exists()
    assert not reborn.exists()
    write(run_dir, pid=dead.pid)
    shown = plain("health", "--json").json()
    assert shown["removed"] == [{"id": TOLD["id"], "pid": dead.pid}]


def test_a_silent_one_by_its_lease(plain: Shell, run_dir: Path) -> None:
    write(run_dir, mono_seen_at=time.monotonic() - 16)
    said = plain("health")
    assert said.code == 1
    assert re.search(
        r"SILENT for \d\d s, longer than 15 s: it hangs, or its broker does not answer", said.out
    )
    write(run_dir, mono_seen_at=time.monotonic() - 16, lease_s=600.0)
    assert plain("health").code == 0


def test_files_that_are_none_of_ours(plain: Shell, run_dir: Path) -> None:
    write(run_dir)
    (run_dir / "worker-1.json").write_text("{}")
    said = plain("health")
    assert said.code == 1
    assert "worker-1.json is not what a worker writes; " in said.err
    write(run_dir, host="another", pid=1)
    write(run_dir)
    assert plain("health").code == 0


HOSTILE = {
    "nested": "[" * 60_000,
    "huge": " " * 70_000 + "{}",
    "a list": "[]",
    "no text": "\udcff",
    "wrong type": {"lease_s": "15"},
    "a truth": {"lease_s": True},
    "no number": {"mono_seen_at": float("nan")},
    "no end": {"lease_s": float("inf")},
    "a date beyond the calendar": {"seen_at": 1e18},
    "the future": {"mono_seen_at": 1e11},
    "no process": {"pid": -1},
    "a word for the terminal": {"app": "\x1b[2J"},
    "half a character": {"state": "\ud800"},
    "an object": {"broker": {}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_content_is_answered_by_a_word(plain: Shell, run_dir: Path, kind: str) -> None:
    file, hostile = write(run_dir), HOSTILE[kind]
    if isinstance(hostile, dict):
        hostile = json.dumps(json.loads(file.read_text()) | hostile)
    (run_dir / "worker-1.json").write_text(hostile, errors="surrogateescape")
    said = plain("health")
    assert (said.code, said.err.count("\n")) == (1, 1), said
    assert "worker-1.json is not what a worker writes; " in said.err
    assert plain("health", "--json").json()["unreadable"] == [str(run_dir / "worker-1.json")]


@pytest.mark.parametrize("kind", ["pipe", "link", "link to nothing", "folder", "device", "open to others"])
def test_nothing_but_a_users_own_file_is_read(plain: Shell, run_dir: Path, kind: str) -> None:
    elsewhere = write(run_dir).rename(run_dir / "elsewhere")
    file = run_dir / "worker-1.json"
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "link":
            file.symlink_to(elsewhere)
        case "link to nothing":
            file.symlink_to(run_dir / "nothing")
        case "folder":
            file.mkdir()
        case "device":
            file.symlink_to("/dev/zero")
        case _:
            elsewhere.rename(file)
            file.chmod(0o666)
    said = plain("health")
    assert (said.code, said.out) == (1, ""), said
    assert (
        f"{file} {'may be written to by others' if kind == 'open to others' else 'is no regular file'}"
        in said.err
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("kind", ["sound", "odd", "open to others", "link", "pipe"])
def test_files_of_another_user_are_left_out(plain: Shell, run_dir: Path, kind: str) -> None:
    """They are not believed, and make nothing unhealthy."""
    own = write(run_dir)
    file = run_dir / "worker-1.json"
    match kind:
        case "link":
            file.symlink_to(own)
        case "pipe":
            os.mkfifo(file)
        case _:
            file.write_text("{}" if kind == "odd" else own.read_text())
            file.chmod(0o666 if kind == "open to others" else 0o600)
    os.chown(file, 12345, 12345, follow_symlinks=False)
    said = plain("health")
    assert (said.code, said.out.count("\n"), said.err.count("\n")) == (0, 1, 1), said
    assert said.err.startswith(f"1 file(s) of other users in {run_dir} were left out")
    shown = plain("health", "--json").json()
    assert (shown["healthy"], shown["others"], shown["unreadable"]) == (True, 1, [])
    own.unlink()
    said = plain("health")
    assert (said.code, said.out) == (1, "")
    assert "no worker runs on this host" in said.err


def test_a_file_that_becomes_another_users_while_it_is_read(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(run_dir)
    look = os.fstat

    def given_away(descriptor: int) -> os.stat_result:
        fields = list(look(descriptor))
        fields[4] = 12345
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", given_away)
    assert heartbeat._read(file) is None


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_folder_that_is_not_this_users_alone(plain: Shell, tmp_path: Path, kind: str) -> None:
    folder, real = tmp_path / f"penstock-{os.getuid()}", tmp_path / "real"
    del plain.environment["PENSTOCK_RUN_DIR"]
    write(real)
    if kind == "a link":
        folder.symlink_to(real)
    elif kind == "a file":
        folder.touch()
    else:
        real.rename(folder)
        folder.chmod(0o700)
        assert plain("health", TMPDIR=str(tmp_path)).code == 0
        folder.chmod(0o777)
    said = plain("health", TMPDIR=str(tmp_path))
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1), said
    assert "so what is in it is not believed; set PENSTOCK_RUN_DIR" in said.err
    assert plain("health", "--json", TMPDIR=str(tmp_path)).json()["healthy"] is False


def test_a_pipe_in_the_way_of_the_writer(plain: Shell, run_dir: Path) -> None:
    """A name that can be guessed is not opened, and what waits at the name of the file is replaced, not written to."""
    run_dir.mkdir()
    pid = os.getpid()
    os.mkfifo(run_dir / f"worker-{pid}.new")
    os.mkfifo(run_dir / f"worker-{pid}.json")
    beat = Heartbeat(run_dir, TOLD, print)
    beat.beat("running")
    wait_for((run_dir / f"worker-{pid}.json").is_file)
    assert plain("health").code == 0
    beat.end()
    assert sorted(run_dir.iterdir()) == [run_dir / f"worker-{pid}.new"]


def test_a_disk_that_hangs_keeps_nobody(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, go = threading.Event(), threading.Event()

    def replace(self: Path, target: Path) -> Path:
        hangs.set()
        assert go.wait(PATIENCE_S)
        return self.rename(target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.0)
    monkeypatch.setattr(heartbeat, "END_WITHIN_S", 0.05)
    beat = Heartbeat(open_folder(str(run_dir)), TOLD, print)
    for state in ("running", "quiet", "stopping"):
        beat.beat(state)
    assert hangs.wait(PATIENCE_S)
    beat.end()
    go.set()
    wait_for(lambda: list(run_dir.iterdir()) == [])


def test_what_a_killed_worker_was_writing_is_removed(run_dir: Path) -> None:
    run_dir.mkdir()
    old, new = run_dir / "worker-1.0123456789abcdef.new", run_dir / "worker-2.0123456789abcdef.new"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    open_folder(str(run_dir))
    assert list(run_dir.iterdir()) == [new]


def test_it_imports_neither_driver_nor_application(plain: Shell, run_dir: Path) -> None:
    write(run_dir)
    code = (
        "import sys\nfrom penstock.cli import main\nsys.argv = ['penstock', '-A', 'tasks', 'health']\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'apsw', 'redis', 'asyncio', 'msgspec', 'tasks', 'penstock.app', 'sqlite3'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=plain.environment, cwd=plain.folder)
    assert done.returncode == 0


def test_a_folder_that_cannot_be_written(plain: Shell) -> None:
    said = plain("-A", "tasks", "worker", "--burst", PENSTOCK_RUN_DIR="/proc/nowhere")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "run_dir (PENSTOCK_RUN_DIR): /proc/nowhere" in said.err
    del plain.environment["PENSTOCK_RUN_DIR"]
    said = plain("-A", "tasks", "worker", "--burst", TMPDIR="/proc/nowhere")
    assert said.code == 0
    assert "penstock health cannot see this worker (/proc/nowhere/penstock-" in said.out


def test_the_folder_of_a_user(plain: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / f"penstock-{os.getuid()}"
    assert run_folder("") == folder
    assert open_folder("") == folder
    folder.chmod(0o777)
    del plain.environment["PENSTOCK_RUN_DIR"]
    said = plain("-A", "tasks", "worker", "--burst", TMPDIR=str(tmp_path))
    assert "belongs to somebody else or is open to others" in said.out
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_tidied_up_and_one_that_is_taken(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.0)
    file = run_dir / f"worker-{os.getpid()}.json"
    beat = Heartbeat(open_folder(str(run_dir)), TOLD, said.append, private=True)
    run_dir.rmdir()
    beat.beat("running")
    there(file)
    [(_, seen)] = read_all(run_dir).read
    assert isinstance(seen, Seen)
    assert seen.lives
    run_dir.chmod(0o777)
    for _ in range(2):
        beat.beat("running")
        wait_for(lambda: bool(said))
    assert len(said) == 1
    assert "is open to others; penstock health will take this worker for silent" in said[0]
    run_dir.chmod(0o700)
    file.unlink()
    beat.beat("running")
    there(file)
    file.unlink()
    run_dir.rmdir()
    run_dir.write_text("")
    beat.beat("running")
    wait_for(lambda: len(said) == 2)
    assert "File exists" in said[1]
    beat.end()
    run_dir.unlink()


def test_once_a_second(run_dir: Path) -> None:
    beat = Heartbeat(open_folder(str(run_dir)), TOLD, print)
    beat.beat("running")
    there(run_dir / f"worker-{os.getpid()}.json")
    beat.beat("quiet")
    [(_, seen)] = read_all(run_dir).read
    assert isinstance(seen, Seen)
    assert seen.state == "running"
    beat.end()
    assert read_all(run_dir).read == []


def test_processes_are_told_apart() -> None:
    assert process_started(os.getpid())
    assert process_started(os.getpid()) != process_started(os.getppid())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        while process_started(child.pid):  # not waited for, it is a zombie at last
            time.sleep(0.01)
    assert process_started(child.pid) is None
