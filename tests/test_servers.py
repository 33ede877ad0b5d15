"""The servers of the tests themselves: that they start empty, come back where they were, and die with their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer, ServerFailed

Start = Callable[..., RedisServer]


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_an_empty_database(redis_url: str, turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left-by-turn", turn)


def test_a_killed_server_comes_back_on_its_port_with_what_it_acknowledged(start_redis: Start) -> None:
    server = start_redis(appendonly=True, appendfsync="always")
    url = server.url
    with redis.Redis.from_url(url) as client:
        client.set("key", "value")
        server.kill()
        assert not server.running
        server.start()
        assert server.url == url
        assert client.get("key") == b"value"


def test_a_server_without_persistence_comes_back_empty(start_redis: Start) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.restart()
        assert client.dbsize() == 0


def test_a_paused_server_does_not_answer_until_it_is_resumed(start_redis: Start) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_a_paused_server_can_be_stopped(start_redis: Start) -> None:
    server = start_redis()
    server.pause()
    server.stop()
    assert not server.running


def test_two_servers_do_not_meet(start_redis: Start) -> None:
    first, second = start_redis(), start_redis()
    assert first.port != second.port
    assert first.pid != second.pid


def test_a_setting_that_redis_refuses_is_told(start_redis: Start) -> None:
    with pytest.raises(ServerFailed, match="no-such-setting"):
        start_redis(options={"no-such-setting": "1"})


def test_a_server_dies_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.servers import RedisServer\n"
        "server = RedisServer(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        os.kill(pid, 0)
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline, "the server outlived its starter"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
