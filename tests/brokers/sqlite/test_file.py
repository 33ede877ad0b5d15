"""What cannot be opened, or can and should not: one clear error that names the file and says what to do."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import apsw
import pytest

from penstock import brokers
from penstock.brokers import Address
from penstock.brokers.sqlite import SQLiteBroker, SQLiteProducer, file, open_blocking
from penstock.brokers.sqlite.database import Database
from penstock.core.job import Job, Origin
from penstock.errors import BrokerError, BrokerMisconfigured, BrokerRejected, BrokerUnavailable
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import QueueCounts


def _open(broker: SQLiteBroker) -> list[str]:
    async def opened() -> list[str]:
        try:
            return list(await broker.open())
        finally:
            await broker.close()

    return asyncio.run(opened())


def _refusal(broker: SQLiteBroker, kind: type[BrokerError] = BrokerMisconfigured) -> str:
    with pytest.raises(kind) as caught:
        _open(broker)
    assert type(caught.value) is kind
    return str(caught.value)


def _mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n" + "".join(f"{line}\n" for line in lines)
    )
    monkeypatch.setattr(file, "MOUNTS", mounts)


def test_a_local_disk_is_taken_without_a_word(
    broker: SQLiteBroker, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mounts(monkeypatch, tmp_path)
    assert _open(broker) == []
    assert path.exists()


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"]
)
def test_a_network_file_system_is_refused(
    broker: SQLiteBroker, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    _mounts(monkeypatch, tmp_path, f"99 21 0:50 / {tmp_path} rw,relatime shared:5 - {kind} server:/share rw")
    assert f"{path}: it lies on a network file system ({kind})" in _refusal(broker)
    assert not path.exists()


def test_the_last_mount_on_the_nearest_point_counts(
    broker: SQLiteBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mounts(
        monkeypatch,
        tmp_path,
        f"98 21 0:50 / {tmp_path.parent} rw - nfs server:/share rw",
        f"99 21 0:51 / {tmp_path} rw - nfs server:/share rw",
        f"97 21 0:52 / {tmp_path}/elsewhere rw - nfs server:/share rw",
        f"96 21 0:53 / {tmp_path} rw - xfs /dev/sdb rw",
        "a line that is none",
    )
    assert _open(broker) == []


def test_names_in_the_mounts_are_read_as_the_kernel_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder\t\\"
    folder.mkdir()
    written = str(folder).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
    _mounts(monkeypatch, tmp_path, f"99 21 0:50 / {written} rw - nfs server:/share rw")
    with pytest.raises(BrokerMisconfigured, match="network file system"):
        file.check_place(folder / "jobs.db")


@pytest.mark.parametrize(("kind", "said"), [("tmpfs", "lies in memory"), ("fuse.mergerfs", "make sure")])
def test_a_doubtful_file_system_is_warned_about(
    broker: SQLiteBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    _mounts(monkeypatch, tmp_path, f"99 21 0:50 / {tmp_path} rw - {kind} none rw")
    (warning,) = _open(broker)
    assert said in warning


def test_where_the_system_does_not_tell_nothing_is_said(
    broker: SQLiteBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "MOUNTS", tmp_path / "nowhere")
    assert _open(broker) == []


def test_an_old_sqlite_is_refused(broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    assert "SQLite 3.40.1 can damage a file" in _refusal(broker)


def test_a_missing_folder(tmp_path: Path) -> None:
    broker = SQLiteBroker(tmp_path / "no" / "jobs.db", "penstock")
    assert f"there is no folder {tmp_path / 'no'}" in _refusal(broker)


def test_a_folder_in_its_place(broker: SQLiteBroker, path: Path) -> None:
    path.mkdir()
    assert f"{path}: this is a folder" in _refusal(broker)


def test_something_else_than_a_database(broker: SQLiteBroker, path: Path) -> None:
    path.write_bytes(b"not a database, but a text that is long enough to be one" * 100)
    assert f"{path}: it is not a SQLite database" in _refusal(broker)


def test_another_programs_database(broker: SQLiteBroker, path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE users (id INTEGER)")
    other.close()
    assert f"{path}: it holds another program's tables" in _refusal(broker)


def test_a_newer_schema(broker: SQLiteBroker, producer: SQLiteProducer, path: Path) -> None:
    producer.enqueue([], Origin("p", 1))
    producer._database.execute("PRAGMA user_version = 99")
    producer.close()
    assert f"{path}: its schema has version 99, this Penstock knows {file.VERSION}" in _refusal(broker)


def test_a_damaged_file(
    broker: SQLiteBroker, put: Callable[..., list[str]], producer: SQLiteProducer, path: Path
) -> None:
    put(*[b"x" * 500] * 200)
    producer.close()
    with path.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(os.urandom(path.stat().st_size - 4096))

    async def used() -> None:
        try:
            await broker.open()
            await broker.enqueue([Job("q:1", "q", b"secret")], Origin("p", 1))
        finally:
            await broker.close()

    with pytest.raises(BrokerRejected) as caught:
        asyncio.run(used())
    assert f"{path}: it is damaged" in str(caught.value)
    assert "secret" not in str(caught.value)


def _as_nobody(program: str, path: Path) -> str:
    """What ``program`` says as a user who owns nothing."""
    lines = f"""
import os, sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from penstock import brokers
from penstock.brokers.sqlite import open_blocking
from penstock.core.job import Job, Origin
from penstock.errors import BrokerError
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
producer = open_blocking(brokers.address("sqlite:///{path}"))
try:
    {program}
except BrokerError as error:
    print(type(error).__name__, error)
"""
    return subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout


def _reachable(path: Path) -> None:
    """Lets everybody come to where ``path`` is."""
    for folder in path.parents[:-1]:
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)


@pytest.mark.skipif(sys.platform == "win32", reason="it has other permissions")
class TestPermissions:
    def test_a_file_that_can_only_be_read(self, put: Callable[..., list[str]], path: Path) -> None:
        put(b"{}")
        _reachable(path)
        for beside in path.parent.iterdir():
            beside.chmod(0o444)
        said = _as_nobody("producer.enqueue([Job('q:1', 'q', b'')], Origin('p', 1))", path)
        assert said.startswith("BrokerMisconfigured")
        assert str(path) in said

    def test_a_folder_that_cannot_be_written(self, path: Path) -> None:
        _reachable(path)
        said = _as_nobody("producer.enqueue([Job('q:1', 'q', b'')], Origin('p', 1))", path)
        assert said.startswith(f"BrokerMisconfigured SQLite file {path}: Permission denied")

    def test_what_lies_beside_the_file_is_for_whom_the_file_is(
        self, broker: SQLiteBroker, path: Path
    ) -> None:
        path.touch()
        path.chmod(0o660)

        def check() -> None:
            modes = {
                entry.name: stat.S_IMODE(entry.stat().st_mode)
                for entry in (*path.parent.iterdir(), *Path(f"{path}-wake").iterdir())
            }
            assert modes.pop("jobs.db-wake") == 0o770
            assert set(modes) >= {"jobs.db", "jobs.db-turn", "jobs.db-write", "jobs.db-wal", "jobs.db-shm"}
            assert set(modes.values()) == {0o660}

        async def used() -> None:
            await broker.open()
            await broker.hang_bell()
            check()
            await broker.close()

        before = os.umask(0o077)
        try:
            asyncio.run(used())
        finally:
            os.umask(before)

    def test_a_new_file_is_not_for_others(self, put: Callable[..., list[str]], path: Path) -> None:
        before = os.umask(0)
        try:
            put(b"{}")
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_file_that_is_removed_is_made_anew_and_said(
    put: Callable[..., list[str]], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(b"{}")
    path.unlink()
    with caplog.at_level(logging.WARNING):
        ids = put(b"{}")
    assert f"{path} was removed or replaced" in caplog.text
    fresh = open_blocking(brokers.address(f"sqlite:///{path}"))
    fresh.enqueue([], Origin("opens", 1))
    assert fresh._database.rows("SELECT id FROM jobs") == [(ids[0],)]
    fresh.close()


def test_what_a_file_system_cannot_do_is_refused(
    broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Connection(apsw.Connection):
        def pragma(self, name: str, *value: Any) -> Any:
            return "delete" if name == "journal_mode" else super().pragma(name, *value)

    monkeypatch.setattr(apsw, "Connection", Connection)
    assert "its file system has no shared memory" in _refusal(broker)


def test_an_error_of_the_system_is_ours(broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(file, "make", broken)
    assert "Input/output error" in _refusal(broker, BrokerUnavailable)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make such a file")
def test_what_lies_beside_the_file_has_its_group(put: Callable[..., list[str]], path: Path) -> None:
    path.touch()
    os.chown(path, -1, 12345)
    put(b"{}")
    beside = [entry for entry in path.parent.iterdir() if entry.name.startswith("jobs.db")]
    assert {entry.stat().st_gid for entry in beside} == {12345}


def test_a_name_that_needs_quoting(tmp_path: Path) -> None:
    path = tmp_path / "jobs of me?mode=memory#x%20.db"
    producer = open_blocking(Address(f"sqlite:///{path}", "sqlite", "penstock"))
    producer.enqueue([Job("q:1", "q", b"")], Origin("p", 1))
    producer.close()
    assert path.exists()


def test_a_full_disk_is_refused_and_harms_nothing(
    producer: SQLiteProducer, put: Callable[..., list[str]]
) -> None:
    put(b"{}")
    database = producer._database
    (pages,) = database.one("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(BrokerRejected, match="the disk is full"):
        put(*[b"x" * 1000] * 100)
    database.execute("PRAGMA max_page_count = 1000000")
    put(*[b"x" * 1000] * 100)
    assert database.one("SELECT count(*) FROM jobs") == (101,)
    assert database.one("SELECT ready FROM queues") == (101,)


def test_a_full_disk_for_one_does_not_hurt_the_others(broker: SQLiteBroker) -> None:
    async def used() -> None:
        await broker.open()
        await broker.enqueue([Job("q:first", "q", b"")], Origin("first", 1))
        database = broker.writer.database
        (pages,) = database.one("PRAGMA page_count")
        database.execute(f"PRAGMA max_page_count = {pages + 4}")
        large = [Job(f"q:{n}", "q", b"x" * 1000) for n in range(200)]
        answers = await asyncio.gather(
            *(broker.enqueue([Job(f"q:small-{n}", "q", b"")], Origin(f"p{n}", 1)) for n in range(5)),
            broker.enqueue(large, Origin("large", 1)),
            *(broker.enqueue([Job(f"q:small-{n}", "q", b"")], Origin(f"p{n}", 1)) for n in range(5, 10)),
            return_exceptions=True,
        )
        refused = answers.pop(5)
        assert isinstance(refused, BrokerRejected)
        assert all(not isinstance(answer, BaseException) and answer[0].added for answer in answers)
        (counts,) = await broker.queues()
        assert counts.ready == 11
        await broker.close()

    asyncio.run(used())


def test_a_broker_that_was_closed_says_so(broker: SQLiteBroker) -> None:
    async def used() -> None:
        await broker.open()
        await broker.close()
        with pytest.raises(BrokerError, match="was closed"):
            await broker.queues()
        await broker.close()

    asyncio.run(used())


def test_a_disk_that_does_not_answer_ends_the_wait(
    broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.brokers.sqlite.writer._DEADLINE_S", 0.2)
    answers = Event()

    async def used() -> None:
        await broker.open()
        with pytest.raises(BrokerUnavailable, match="no answer within"):
            await broker.writer.run(lambda *_: answers.wait(30), durable=False)
        answers.set()
        assert await broker.queues() == []
        await broker.close()

    asyncio.run(used())


def test_an_older_file_gets_what_it_lacks(broker: SQLiteBroker, producer: SQLiteProducer, path: Path) -> None:
    producer.enqueue([Job("q:1", "q", b"1")], Origin("p", 1))
    _make_older(producer._database)
    assert _schema(producer._database) != _made_anew(path)
    producer.close()

    async def used() -> tuple[list[str], list[QueueCounts]]:
        try:
            await broker.open()
            consumer = await broker.consumer(["q"], window=1, lease_s=60, card=WorkerCard("w", "a"))
            await broker.pause(["q"])
            assert not (await consumer.fetch(1, 1_000, 0)).deliveries
            await broker.resume(["q"])
            ids = [delivery.id for delivery in (await consumer.fetch(1, 1_000, 0)).deliveries]
            return ids, list(await broker.queues())
        finally:
            await broker.close()

    assert asyncio.run(used()) == (["q:1"], [QueueCounts("q", running=1, enqueued_total=1)])
    producer.enqueue([Job("q:2", "q", b"2")], Origin("p", 2))
    assert _schema(producer._database) == _made_anew(path)


def _make_older(database: Database) -> None:
    """Takes away what version 1 did not have."""
    database.execute("DROP INDEX queues_paused")
    database.execute("ALTER TABLE queues DROP COLUMN paused")
    database.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("older", [True, False])
def test_another_process_may_be_faster_to_prepare_it(
    producer: SQLiteProducer, path: Path, older: bool
) -> None:
    """It holds the file for longer than anybody waits for their turn, and has changed it when it lets go."""
    if older:
        producer.enqueue([Job("q:1", "q", b"1")], Origin("p", 1))
        _make_older(producer._database)
        producer.close()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.brokers.sqlite.programs", "prepare", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holds it\n"
        connection = apsw.Connection(str(path))
        asked = Event()

        def waits(_: int) -> bool:
            """SQLite asks this where another connection writes; by then the version has been read."""
            if not asked.is_set():
                asked.set()
                other.communicate("\n", timeout=30)
            return True

        connection.set_busy_handler(waits)
        file.prepare(connection, path)
        assert asked.is_set()
        connection.close()
    assert other.returncode == 0
    producer.enqueue([Job("q:2", "q", b"2")], Origin("p", 2))
    assert _schema(producer._database) == _made_anew(path)


def _schema(database: Database) -> tuple[int, list[tuple[str, list[str]]]]:
    """The version, and the columns and indexes of each table; the new ones of an older file stand last."""
    tables = [name for (name,) in database.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    told = [
        (
            name,
            sorted(
                str(row[1:])
                for kind in ("table_info", "index_list")
                for row in database.rows(f"SELECT * FROM pragma_{kind}('{name}')")
            ),
        )
        for name in sorted(tables)
    ]
    return database.one("PRAGMA user_version")[0], told


def _made_anew(beside: Path) -> tuple[int, list[tuple[str, list[str]]]]:
    fresh = open_blocking(brokers.address(f"sqlite:///{beside.with_name('fresh.db')}"))
    fresh.enqueue([], Origin("p", 1))
    try:
        return _schema(fresh._database)
    finally:
        fresh.close()
