"""What all tests share: servers of their own, and settings of the tools that hold everywhere.

``broker_url`` is an empty broker of each kind in turn. Redis, for any test: ``redis_url`` (emptied before each test,
the server shared by the tests of one process). For a test that stops, kills or configures its server: ``start_redis``,
which makes servers for this test alone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

from penstock.ids import new_id
from tests.servers import RedisServer, redis_program

# Timings are not tests: a deadline for each example fails on a busy machine and proves nothing.
settings.register_profile("penstock", deadline=None, print_blob=True)
settings.load_profile("penstock")

# Where coverage is measured it is so in the runners; in every process that they start only where that is asked for.
if "PYTEST_XDIST_WORKER" in os.environ and not os.environ.get("COVERAGE_CHILDREN"):
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


# A shell that was told to go on after its terminal has everything that it starts ignore it, and workers are sent it.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis server that the tests of this process share. Do not stop it: ``start_redis`` makes one to stop."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Our own server's URL, or that of the environment where no program is there to be started."""
    given = os.environ.get("PENSTOCK_TEST_REDIS_URL")
    if redis_program() is None and given:
        yield from _own_database(given)
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        yield server.url


@pytest.fixture
def redis_url(_shared_redis_url: str) -> str:
    """The URL of an empty Redis database that nobody else uses during this test."""
    with redis.Redis.from_url(_shared_redis_url) as client:
        client.flushdb()
    return _shared_redis_url


@pytest.fixture(params=["memory", "sqlite", "redis"])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A broker that nobody else uses, of each kind in turn."""
    match request.param:
        case "memory":
            return f"memory://{new_id()}"
        case "sqlite":
            return f"sqlite:///{tmp_path}/jobs.db"
        case _:
            return str(request.getfixturevalue("redis_url"))


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers that this test may do anything to; takes what ``RedisServer`` takes after its folder."""
    with ExitStack() as servers:
        count = 0

        def start(**arguments: Any) -> RedisServer:
            nonlocal count
            count += 1
            return servers.enter_context(RedisServer(tmp_path / f"redis-{count}", **arguments))

        yield start


@pytest.fixture
def no_blocking() -> Iterator[BlockBuster]:
    """Calls that block an event loop raise during this test, where Penstock's own code makes them."""
    with blockbuster_ctx("penstock") as guard:
        yield guard


def _own_database(url: str) -> Iterator[str]:
    """One database of the given server for each of the parallel runners, counted up from the one in the URL.

    It must be empty to begin with, because the first test would flush somebody's data away.
    """
    parts = urlsplit(url)
    runner = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    number = int(parts.path.strip("/") or 0) + runner
    own = parts._replace(path=f"/{number}").geturl()
    with redis.Redis.from_url(own) as client:
        if keys := client.dbsize():
            pytest.fail(
                f"database {number} of PENSTOCK_TEST_REDIS_URL holds {keys} keys; the tests need it empty"
            )
        yield own
        client.flushdb()
