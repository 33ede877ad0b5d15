"""The sign-up in each web framework: real HTTP, real workers, real mail, one database in web and worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import PATIENCE_S, Running
from tests.examples.mail import MailServer, mail_server
from tests.examples.site import FRAMEWORKS, REPOSITORY, Site


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as mail:
        yield mail


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["sqlite", "redis"])
def site(framework: str, tmp_path: Path, mail: MailServer, request: pytest.FixtureRequest) -> Site:
    folder = tmp_path / "typed"
    folder.mkdir()
    url = (
        request.getfixturevalue("redis_url")
        if request.param == "redis"
        else f"sqlite:///{tmp_path / 'queue.db'}"
    )
    return Site(FRAMEWORKS[framework], folder, url, mail.port)


def wait_for_done(site: Site, count: int) -> dict[int, int]:
    """Until the workers have told of so many successes: successes by process id."""
    mono_until = time.monotonic() + PATIENCE_S
    while True:
        workers = site.shell("workers", "--json").json()
        done = {worker["pid"]: worker["done"] for worker in workers}
        if sum(done.values()) >= count:
            return done
        assert time.monotonic() < mono_until, workers


def holds_open(pid: int, file: Path) -> bool:
    return any(link.resolve() == file for link in Path(f"/proc/{pid}/fd").iterdir())


def ended(worker: Running) -> None:
    assert worker.end() == 0, worker.text


def test_a_sign_up(site: Site, mail: MailServer) -> None:
    mail.hold()
    with site.web() as browser, site.shell.worker(app=site.framework.app) as worker:
        status, page = browser.try_to_sign_up("ada")
        assert status == site.framework.refusal
        assert "<h1>Welcome!</h1>" not in page
        assert "<form" in browser.form()
        assert "<h1>Welcome!</h1>" in browser.sign_up("ada@example.com")
        # The answer was there while the mail was on its way.
        mail.wait_until_held(1)
        assert [row[:2] for row in site.rows()] == [(1, "ada@example.com")]
        assert not mail.arrived
        mail.let_go()
        assert wait_for_done(site, 1) == {worker.process.pid: 1}
        ((_, _, welcomed_at),) = site.rows()
        # Nothing is held between jobs: a database that is restarted meanwhile does no harm.
        assert not holds_open(worker.process.pid, site.database)
        ended(worker)
    (message,) = mail.arrived
    assert (message["To"], message["Subject"]) == ("ada@example.com", "Welcome!")
    assert (welcomed_at is not None) == (site.framework.users[1] is not None)


def test_a_second_worker_takes_its_share(site: Site, mail: MailServer) -> None:
    people = [f"person{number}@example.com" for number in range(12)]
    mail.hold()
    with site.web() as browser, site.shell.worker("-c", "2", app=site.framework.app) as first:
        for person in people:
            browser.sign_up(person)
        mail.wait_until_held(2)
        with site.shell.worker("-c", "2", app=site.framework.app) as second:
            # Two slots each: four mails under way are two of each.
            mail.wait_until_held(4)
            mail.let_go()
            done = wait_for_done(site, len(people))
            assert set(done) == {first.process.pid, second.process.pid}
            assert all(done.values())
            ended(second)
        ended(first)
    assert sorted(message["To"] for message in mail.arrived) == sorted(people)


def test_how_long_they_are() -> None:
    for code in ("django_signup/signup/views.py", "fastapi_signup/web.py", "welcome/web.py"):
        assert len((REPOSITORY / "examples" / code).read_text().splitlines()) <= 40, code
