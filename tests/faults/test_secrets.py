"""Passwords and arguments appear in no log and no error, on no path and at no level of the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock import JobState, Penstock, PenstockError
from penstock.brokers import address, connect, connect_blocking
from penstock.core.job import Job, Origin
from penstock.ids import new_id
from tests.faults import secretive
from tests.faults.processes import ROOT, Process, ready, worker
from tests.faults.site import Site, open_site, record_of
from tests.servers import RedisServer, free_port

SECRET = "gehe1m"
PASSWORD = f"{SECRET}%40x"  # an encoded @
ARGUMENT = f"sk-{SECRET}-argument"

SHAPES: dict[str, list[Any]] = {
    "text": [[ARGUMENT], {ARGUMENT: 1}, 5, [ARGUMENT] * 3],
    "colour": [ARGUMENT, {ARGUMENT: 1}],
    "literal": [ARGUMENT],
    "known": [ARGUMENT, {ARGUMENT: 1}, {"name": "a", ARGUMENT: 1}, {"name": [ARGUMENT]}],
    "model": [ARGUMENT, {ARGUMENT: 1}, {"name": ARGUMENT}, {"name": 1, ARGUMENT: 2}],
    "record": [ARGUMENT, {ARGUMENT: 1}, {"name": ARGUMENT, "size": ARGUMENT}],
    "table": [ARGUMENT, {ARGUMENT: 1}, {"name": ARGUMENT}],
    "moment": [ARGUMENT],
    "number": [ARGUMENT],
    "uuid": [ARGUMENT],
}


@pytest.fixture
def guarded_site(broker: str, tmp_path: Path) -> Iterator[Site]:
    """A broker behind a password, where it knows of such."""
    with open_site(broker, tmp_path / "site", 2.0) as site:
        if site.server is not None:
            with redis.Redis.from_url(site.url) as client:
                client.config_set("requirepass", PASSWORD.replace("%40", "@"))
            site.url = site.url.replace("redis://", f"redis://:{PASSWORD}@")
        yield site


def _silent(text: str) -> None:
    at = text.find(SECRET)
    assert at < 0, text[max(0, at - 300) : at + 100]


def _whole(error: BaseException) -> str:
    """All that a traceback of it would show, its causes included."""
    import traceback

    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


def test_a_worker_says_nothing_of_arguments_and_passwords(guarded_site: Site) -> None:
    site = guarded_site
    with site.client() as app:
        _silent(repr(app))
        bodies = [
            json.dumps({"v": 1, "task": f"tests.faults.secretive.{name}", "args": [value]}).encode()
            for name, values in SHAPES.items()
            for value in values
        ]
        bodies += [
            f'{{"v":1,"task":"tests.faults.secretive.text","args":["{ARGUMENT}",'.encode(),
            json.dumps(
                {"v": 1, "task": "tests.faults.secretive.text", "kwargs": {"wrong": ARGUMENT}}
            ).encode(),
            json.dumps({"v": 1, "task": "nobody.knows", "args": [ARGUMENT]}).encode(),
            json.dumps({"v": 1, "task": 5, "args": [ARGUMENT]}).encode(),
            json.dumps(
                {"v": 1, "task": "tests.faults.secretive.text", "headers": {"a": [ARGUMENT]}}
            ).encode(),
        ]
        jobs = [Job(f"default:{new_id()}", "default", body) for body in bodies]
        app.enqueue(jobs)
        names = [
            "text",
            "fails",
            "rejects",
            "later",
            "too_long",
            "child",
            "coroutine",
            "result_that_cannot_be",
        ]
        handles = [app.send(f"tests.faults.secretive.{name}", ARGUMENT) for name in names]
        for handle in handles:
            _silent(repr(handle))
        with worker(site.environment(), app="tests.faults.secretive", more=["-l", "debug"]) as process:
            ready(process)
            for name, handle in zip(names, handles, strict=True):
                if name != "later":
                    _until_ended(app, handle.id)
            for job in jobs:
                if b"nobody" not in job.body:
                    _until_ended(app, job.id)
            process.signal(signal.SIGUSR1)
            process.wait_for("Thread|thread")
            process.signal(signal.SIGTERM)
            process.wait(15)
            _silent("\n".join(process.output()))
        for job in jobs:
            record = app.call(record_of(app, job.id))
            assert record is None or record.error is not None or record.state is not JobState.FAILED
            _silent(str(record.error) if record else "")
        for name, handle in zip(names, handles, strict=True):
            if name not in {"later", "text"}:
                with pytest.raises(PenstockError) as caught:
                    handle.result(1)
                _silent(_whole(caught.value))


def _until_ended(app: Penstock, id: str) -> None:
    mono_until = time.monotonic() + 20
    while (record := app.call(record_of(app, id))) is not None and not record.ended_at:
        if record.state in {JobState.FAILED, JobState.QUARANTINED, JobState.SUCCEEDED}:
            return
        assert time.monotonic() < mono_until, record
        time.sleep(0.02)


@pytest.mark.parametrize("name", SHAPES)
def test_a_caller_is_not_told_what_the_argument_was(name: str) -> None:
    secretive.app.configure({"broker_url": "memory://"})
    task = getattr(secretive, name)
    ways: list[Callable[[Any], object]] = [
        task.delay,
        lambda value: task.delay(wrong=value),
        lambda value: task.delay(value, value),
        lambda value: task.delay_many([(value,)]),
        lambda value: secretive.app.send(task.name, value),
        lambda value: asyncio.run(task.adelay(value)),
        lambda value: secretive.anything.delay({1: value}),
        lambda value: secretive.anything.delay((value,)),
        lambda value: secretive.text.delay(value * 1_000_000 if isinstance(value, str) else value),
    ]
    refused = 0
    for value in SHAPES[name]:
        for way in ways:
            with contextlib.suppress(_Fine):
                try:
                    way(value)
                except PenstockError as error:
                    refused += 1
                    text = str(error) + repr(error) + (str(error.__cause__) if error.__cause__ else "")
                    _silent(text)
                    _silent(_without_source(error))
    assert refused


class _Fine(Exception):
    pass


def _without_source(error: BaseException) -> str:
    """The messages of an error and of all behind it that a traceback would print."""
    texts: list[str] = []
    each: BaseException | None = error
    while each is not None:
        texts.append(f"{type(each).__name__}: {each}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\n".join(texts)


def _urls(port: int) -> dict[str, str]:
    return {
        "nobody there": f"redis://user:{PASSWORD}@127.0.0.1:{port}/0",
        "no such host": f"redis://user:{PASSWORD}@no-such-host.invalid:{port}/0",
        "encrypted": f"rediss://user:{PASSWORD}@127.0.0.1:{port}/0",
        "password in the query": f"redis://127.0.0.1:{port}/0?password={SECRET}",
        "slash in the password": f"redis://:{SECRET}/x@127.0.0.1:{port}/0",
        "hash in the password": f"redis://:{SECRET}#x@127.0.0.1:{port}/0",
        "question mark in the password": f"redis://:{SECRET}?x@127.0.0.1:{port}/0",
        "slash in front": f"redis://:/{SECRET}@127.0.0.1:{port}/0",
        "at in the password": f"redis://:x@{SECRET}@127.0.0.1:{port}/0",
        "bracket in the password": f"redis://:[{SECRET}@127.0.0.1:{port}/0",
        "no port": f"redis://:{SECRET}@127.0.0.1:port/0",
        "unknown scheme": f"reddis://:{SECRET}@127.0.0.1:{port}/0",
        "no scheme": f":{SECRET}@127.0.0.1:{port}/0",
        "one slash": f"redis:/:{SECRET}@127.0.0.1:{port}/0",
        "unknown option": f"redis://:{SECRET}@127.0.0.1:{port}/0?nonsense={SECRET}",
        "database of letters": f"redis://:{SECRET}@127.0.0.1:{port}/zero",
        "another's": f"postgresql://user:{SECRET}@127.0.0.1:{port}/zero",
    }


@pytest.mark.parametrize("which", list(_urls(0)))
def test_no_error_shows_a_password(which: str) -> None:
    url = _urls(free_port())[which]

    def everything() -> None:
        where = address(url)
        producer = connect_blocking(where)
        with contextlib.suppress(AttributeError):
            producer.answer_s = 0.2
        with pytest.raises(PenstockError) as caught:
            producer.enqueue([Job("q:1", "q", b"{}")], Origin("p", 1))
        _silent(_without_source(caught.value))
        asyncio.run(_open(where))

    try:
        everything()
    except PenstockError as error:
        _silent(_without_source(error))
    environment = {
        **os.environ,
        "PENSTOCK_BROKER_URL": url,
        "PYTHONPATH": str(ROOT),
        "FAULTS_EFFECTS": os.devnull,
    }
    for level, command in (("debug", ["queues"]), ("info", ["config"])):
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "-A", "tests.faults.app", *command, "-l", level],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=40,
        )  # fmt: skip
        _silent(done.stdout + done.stderr)
        assert command == ["config"] or done.returncode in {2, 3}, (done.returncode, done.stderr)


async def _open(where: Any) -> None:
    broker = connect(where)
    try:
        await broker.open()
    except PenstockError as error:
        _silent(_without_source(error))
    finally:
        await broker.close()


def test_a_wrong_password_is_told_and_not_shown(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "right")
    url = server.url.replace("redis://", f"redis://:{PASSWORD}@")
    environment = {"PENSTOCK_BROKER_URL": url, "FAULTS_EFFECTS": os.devnull}
    for more in (["-l", "debug"], []):
        with Process(["-m", "penstock", "-A", "tests.faults.app", "worker", *more], environment) as process:
            assert process.wait(20) == 2, process.output()
            process.all_gone(5)
            text = "\n".join(process.output())
            assert "password" in text
            _silent(text)
