"""Exit codes; an absent broker; and that no password or argument is ever shown."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from penstock.cli.asking import GIVE_UP_AFTER_S
from penstock.cli.exits import Exit, exit_code_of, report
from penstock.errors import (
    BrokerMisconfigured,
    BrokerRejected,
    BrokerUnavailable,
    ConfigError,
    InvalidArguments,
    JobNotFound,
    UnknownTask,
)
from tests.cli.shell import PATIENCE_S, Shell
from tests.servers import RedisServer, free_port

COMMANDS = [
    ["queues"],
    ["jobs"],
    ["job", "default:1"],
    ["dead"],
    ["workers"],
    ["workers", "123", "quiet"],
    ["enqueue", "tasks.add", "[1, 2]"],
    ["retry", "default:1"],
    ["cancel", "--queue", "default"],
    ["purge", "--queue", "default", "--dry-run"],
    ["doctor"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_broker_that_is_not_there_is_3(plain: Shell, words: list[str]) -> None:
    said = plain("-b", f"redis://user:secret@127.0.0.1:{free_port()}/0", *words)
    assert (said.code, said.out) == (3, "")
    assert said.err.count("\n") == 1
    assert "secret" not in said.err


@pytest.mark.parametrize("words", [["queues"], ["enqueue", "tasks.add", "[1, 2]"]], ids=" ".join)
def test_a_broker_that_does_not_answer_is_3_after_5_s(plain: Shell, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mono_before = time.monotonic()
        waited_s: list[float] = []
        patient = threading.Thread(target=lambda: waited_s.append(_waited_s(silent)))
        patient.start()
        said = plain("-b", f"redis://user:secret@127.0.0.1:{silent.getsockname()[1]}/0", *words)
        took_s = time.monotonic() - mono_before
        patient.join()
    assert (said.code, said.out) == (3, "")
    assert said.err.count("\n") == 1
    assert "secret" not in said.err
    assert took_s > GIVE_UP_AFTER_S - 1
    assert waited_s[0] < GIVE_UP_AFTER_S + 4  # without the time that a process takes to start


def _waited_s(silent: socket.socket) -> float:
    """How long the first to connect waits for an answer that never comes."""
    silent.settimeout(PATIENCE_S)
    connected, _ = silent.accept()
    mono_before = time.monotonic()
    with connected, contextlib.suppress(ConnectionError):
        connected.settimeout(PATIENCE_S)
        while connected.recv(4096):
            pass
    return time.monotonic() - mono_before


def test_a_broker_that_stops_answering_is_3(plain: Shell, start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    server.pause()
    try:
        said = plain("-b", server.url, "jobs")
    finally:
        server.resume()
    assert said.code == 3
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("kafka://u:secret@h/0", "broker URL: kafka://... is not known; use one of memory, redis"),
        ("u:secret@h", "a URL without a scheme is not known"),
        ("redis://u:secret@h:port/0", "broker URL: redis://...: "),
        ("sqlite://secret.db", "sqlite:///file.db (relative) or sqlite:////full/path/file.db (absolute)"),
    ],
)
def test_a_wrong_url_is_2(plain: Shell, url: str, expected: str) -> None:
    for words in (["-b", url, "queues"], ["-b", url, "-A", "tasks", "worker"]):
        said = plain(*words)
        assert (said.code, said.out) == (2, "")
        assert expected in said.err
        assert said.err.count("\n") == 1
        assert "secret@" not in said.err
    assert plain("queues", PENSTOCK_BROKER_URL=url).code == 2


def test_a_wrong_password_is_told_without_it(plain: Shell, redis_url: str) -> None:
    said = plain("-b", redis_url.replace("redis://", "redis://user:secret@"), "queues")
    assert said.code == 2
    assert "secret" not in said.err
    assert said.err.count("\n") == 1


def test_ctrl_c_is_no_traceback(plain: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with plain.running("-b", url, "queues") as running, silent.accept()[0]:
            assert running.end(signal.SIGINT) == 1
        assert running.text.strip() == "penstock: stopped"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), Exit.USAGE),
        (BrokerMisconfigured("x"), Exit.USAGE),
        (InvalidArguments("x"), Exit.USAGE),
        (UnknownTask("x"), Exit.USAGE),
        (BrokerUnavailable("x"), Exit.UNREACHABLE),
        (BrokerRejected("x"), Exit.FAILED),
        (JobNotFound("x"), Exit.FAILED),
        (ZeroDivisionError("x"), Exit.FAILED),
    ],
)
def test_the_code_of_each_error(error: Exception, code: Exit) -> None:
    assert exit_code_of(error) is code


def test_an_error_that_nobody_foresaw_shows_its_place_and_not_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="secret") as raised:
        int("secret")
    assert report(raised.value, debug=False) is Exit.FAILED
    said = capsys.readouterr().err
    assert said.startswith("penstock: ValueError at ")
    assert "secret" not in said
    assert said.count("\n") == 1


_INTERRUPTED_WHILE_A_LOOP_IS_MADE = """
import asyncio.selector_events, os, signal, sys
from penstock.cli import main

whole = asyncio.selector_events.BaseSelectorEventLoop._make_self_pipe

def interrupted(self):
    os.kill(os.getpid(), NUMBER)
    whole(self)

asyncio.selector_events.BaseSelectorEventLoop._make_self_pipe = interrupted
sys.argv = ["penstock", "-b", sys.argv[1], *sys.argv[2:]]
main()
"""


@pytest.mark.parametrize(
    ("number", "words"), [("signal.SIGINT", ["queues"]), ("signal.SIGTERM", ["bench"])], ids=str
)
def test_interrupted_while_a_loop_is_made_it_says_no_more_than_that(
    shell: Shell, number: str, words: list[str]
) -> None:
    assert shell.broker_url is not None
    shell.enqueue("tasks.add", 1, 2)
    code = _INTERRUPTED_WHILE_A_LOOP_IS_MADE.replace("NUMBER", number)
    done = subprocess.run(
        [sys.executable, "-c", code, shell.broker_url, *words],
        cwd=shell.folder, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", "penstock: stopped")
