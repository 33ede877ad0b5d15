"""A script that waited for a result and ends without closing anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import RedisServer

SCRIPT = """
import sys
from penstock import Penstock, ResultTimeout
app = Penstock("script", broker=sys.argv[1])
@app.task(name="script.f")
def f() -> int: return 5
try:
    f.delay().result(timeout=0.2)
except ResultTimeout:
    print("waited", flush=True)
sys.stdin.read()
"""


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    """The script, in the mode in which Python complains of whatever was left behind."""
    return subprocess.Popen(
        # Sockets of the blocking connections end with the process; that they do is nothing to complain of.
        [sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", "-c", SCRIPT, url],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("broker", ["redis", "sqlite"])
def test_it_ends_without_a_word(broker: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("redis_url") if broker == "redis" else f"sqlite:///{tmp_path}/jobs.db"
    with start(url, tmp_path) as script:
        assert script.communicate(timeout=30) == ("waited\n", "")
    assert script.returncode == 0


def test_it_ends_beside_a_broker_that_is_silent(
    start_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = start_redis()
    with start(server.url, tmp_path) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "waited\n"
        server.pause()
        assert script.communicate(timeout=30) == ("", "")
    assert script.returncode == 0
