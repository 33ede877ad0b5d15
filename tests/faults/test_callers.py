"""``delay()`` around forks, from threads and loops, and at the interpreter's exit."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import callers, outages
from tests.faults.processes import ROOT, Process
from tests.faults.site import Site, counts_of
from tests.servers import free_port


def _call(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.callers", *arguments],
        cwd=ROOT,
        env={**os.environ, **site.environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )


def _all_there(site: Site, ids: list[str]) -> None:
    assert len(set(ids)) == len(ids)
    with site.client() as app:
        counts = app.call(counts_of(app))
    assert counts.ready == len(ids), counts


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        (("fork",), 2 + 4 * 4 + 2),
        (("threads",), 16),
        (("loops",), 10),
        (("exit",), 3),
        (("exit", "after a use"), 4),
    ],
    ids=["fork", "threads", "loops", "exit", "exit-after-a-use"],
)
def test_delay_works_wherever_it_is_called(site: Site, arguments: tuple[str, ...], calls: int) -> None:
    done = _call(site, *arguments)
    assert done.returncode == 0, done.stderr
    noise = [
        line
        for line in done.stderr.splitlines()
        if "DeprecationWarning" not in line and "os.fork()" not in line
    ]
    assert noise == [], done.stderr
    ids = done.stdout.split()
    assert len(ids) == calls * callers.EACH + (arguments == ("fork",))
    _all_there(site, ids)


def test_delay_on_a_running_loop_works_and_warns_once(site: Site) -> None:
    done = _call(site, "on_a_loop")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("adelay") == 1, done.stderr
    _all_there(site, done.stdout.split())


@pytest.mark.parametrize("broker", ["sqlite"], indirect=True)
def test_delay_at_exit_waits_for_the_file(site: Site) -> None:
    """No thread can be started at the interpreter's exit, also not one that waits for others to leave the file."""
    with site.client() as app:
        app.send("any.task")
    with ThreadPoolExecutor(1) as pool:
        with outages.away(site, "stopped"):
            calling = pool.submit(_call, site, "exit")
            with pytest.raises(TimeoutError):
                calling.result(1.5)
        done = calling.result()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.split()) == 3 * callers.EACH, done.stderr


def test_an_application_that_enqueued_before_gunicorn_forked_it(site: Site) -> None:
    port = free_port()
    command = [
        "-m",
        "gunicorn",
        "--preload",
        "-w",
        "3",
        "-b",
        f"127.0.0.1:{port}",
        "tests.faults.callers:web",
    ]
    with Process(command, site.environment(FAULTS_PRELOAD="1")) as server:
        server.wait_for("Booting worker", times=3)

        def request(number: int) -> tuple[str, str]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{number}", timeout=20) as answer:
                pid, id = answer.read().decode().split()
                return pid, id

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(request, range(60)))
        assert not server.count("Traceback|Error"), server.output()
    assert len({pid for pid, _ in answers}) > 1, "one worker has answered everything"
    ids = [id for _, id in answers]
    assert len(set(ids)) == 60
    with site.client() as app:
        assert app.call(counts_of(app)).ready == 60 + 1 + callers.EACH
