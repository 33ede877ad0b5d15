"""``penstock demo``: the story with real HTTP, a real worker and real mail; and that nothing is left of it."""

from __future__ import annotations

import signal
import smtplib
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import redis

from penstock.cli.demo import story
from penstock.cli.demo.mail import MailServer
from penstock.cli.program import run
from tests.cli.shell import Shell
from tests.servers import free_port


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path, None)
    made.environment["TMPDIR"] = str(tmp_path)
    return made


def nothing_left(shell: Shell) -> bool:
    """No file, and no process that has its folder in its environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found = f"DATABASE_URL=sqlite:///{shell.folder}".encode() in (process / "environ").read_bytes()
        except OSError:
            continue
        if found:
            return False
    return not list(shell.folder.iterdir())


@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_the_whole_story(shell: Shell, broker: str, request: pytest.FixtureRequest) -> None:
    words = ["--broker", request.getfixturevalue("redis_url")] if broker == "redis" else []
    if broker == "redis":  # somebody's who chose a like name
        with redis.Redis.from_url(words[1]) as client:
            client.hset("{demo-mine:default:0}:jobs", "id", "body")
    said = shell("demo", "--once", *words)
    assert said.code == 0, said.words
    lines = said.out.splitlines()

    def at(text: str) -> int:
        (found,) = (number for number, line in enumerate(lines) if text in line)
        return found

    assert at('says "Welcome!" after') < at("a mail to ada@example.com comes in") < at("has the mail:")
    assert at("refuses the mail to ada@example.com this once") < at("a mail to ada@example.com comes in")
    assert at("shows the job as scheduled") < at("shows the job as succeeded")
    assert "SMTPDataError in attempt 1 of 5. It runs again in" in said.out
    assert "    | Subject: Welcome!" in lines
    assert "All of it worked:" in lines
    assert f"{broker}://" in said.out
    assert nothing_left(shell)
    if broker == "redis":
        with redis.Redis.from_url(words[1]) as client:
            assert client.keys() == [b"{demo-mine:default:0}:jobs"]


def refused(url: str, form: bytes | None = None) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(url, form, timeout=10)
    with answer.value as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_looked_at_and_ended(shell: Shell, number: signal.Signals) -> None:
    port = free_port()
    with shell.running("demo", "--port", str(port)) as demo:
        line = demo.wait_for("in a browser and sign up")
        assert f"Open http://127.0.0.1:{port}/ " in line
        url = f"http://127.0.0.1:{port}/"
        with urllib.request.urlopen(url, timeout=10) as page:
            assert b"<form" in page.read()
        for job in ("zzz", "default:zzz", "%20:%20"):
            assert refused(f"{url}jobs/{job}")[0] == 404
        for email in ("", "ada", "@", "a @b", "a@b\r\nBcc: c@d"):
            code, text = refused(url, urllib.parse.urlencode({"email": email}).encode())
            assert (code, "That is no mail address." in text) == (400, True)
        assert demo.end(number) == 0
    assert nothing_left(shell)


def test_what_it_started_ends_with_it_even_if_it_is_killed(shell: Shell) -> None:
    with shell.running("demo") as demo:
        demo.wait_for("in a browser and sign up")
        # Its children hold its output open; that it comes to an end shows that they have ended.
        assert demo.end(signal.SIGKILL) == -signal.SIGKILL
        assert not demo._reader.is_alive()


def test_a_broker_that_is_not_there(shell: Shell) -> None:
    mono_began = time.monotonic()
    said = shell("demo", "--once", "-b", f"redis://u:secret@127.0.0.1:{free_port()}")
    assert time.monotonic() - mono_began < 15  # the worker would have been waited for for 30 s
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("penstock: redis://127.0.0.1:")
    assert "not reached" in said.err
    assert said.err.count("\n") == 1
    assert "secret" not in said.err
    assert nothing_left(shell)


def test_a_broker_that_no_two_processes_can_share(shell: Shell) -> None:
    said = shell("demo", "--once", "-b", "memory://")
    assert (said.code, said.out) == (2, "")
    assert "lives inside one process" in said.err


def test_a_broker_that_cannot_be(shell: Shell) -> None:
    said = shell("demo", "--once", "-b", "kafka://u:secret@h")
    assert said.code == 2
    assert "broker URL: kafka://... is not known" in said.err
    assert nothing_left(shell)


def test_a_port_that_is_taken(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = shell("demo", "--once", "--port", str(taken.getsockname()[1]))
    assert said.code == 1
    assert "demo failed: " in said.err
    assert "in use" in said.err
    assert nothing_left(shell)


def test_settings_of_the_environment_do_not_change_the_story(shell: Shell) -> None:
    said = shell("demo", "--once", PENSTOCK_QUEUES="elsewhere", PENSTOCK_BROKER_URL="redis://nowhere:1/0")
    assert said.code == 0, said.words


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("penstock.cli.demo.find_spec", lambda name: None)
    assert run(["demo"]) == 2
    assert capsys.readouterr().err == (
        "penstock: the demo needs flask and aiosmtpd: pip install 'penstock[demo]'\n"
    )


@pytest.fixture
def mail() -> Iterator[tuple[MailServer, list[str]]]:
    said: list[str] = []
    server = MailServer(said.append, takes_s=0)
    server.start()
    yield server, said
    server.stop()


def send(server: MailServer) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "Grüße"
    message.set_content("Schön.")
    host, port = server.url.removeprefix("smtp://").split(":")
    with smtplib.SMTP(host, int(port), timeout=10) as smtp:
        smtp.send_message(message)


def test_the_mail_server_refuses_once_and_keeps_the_rest(mail: tuple[MailServer, list[str]]) -> None:
    server, said = mail
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        send(server)
    assert (server.refused, server.arrived) == (1, [])
    send(server)
    send(server)
    assert server.refused == 1
    assert [arrived.message["Subject"] for arrived in server.arrived] == ["Grüße", "Grüße"]
    assert "    | Schön." in said[-1]


@pytest.mark.parametrize(
    ("states", "refused", "arrived", "expected"),
    [
        (["running", "scheduled", "running", "failed"], 1, 1, "the job did not succeed"),
        (["scheduled", "succeeded"], 1, 1, "never showed the job running"),
        (["running", "succeeded"], 1, 1, "never showed the job waiting for its retry"),
        (["running", "scheduled", "running", "succeeded"], 0, 1, "refused 0 times, not once"),
        (["running", "scheduled", "running", "succeeded"], 1, 0, "0 mails arrived, not one"),
    ],
)
def test_what_would_be_wrong_is_found(
    tmp_path: Path, states: list[str], refused: int, arrived: int, expected: str
) -> None:
    demo = story._Demo(tmp_path, None, free_port())
    demo._mail.start()
    try:
        demo._mail.refused = refused
        for _ in range(arrived):
            demo._mail.refused = 1
            demo._mail._takes_s = 0
            send(demo._mail)
        demo._mail.refused = refused
        with pytest.raises(story.DemoFailed, match=expected):
            demo._check_end(states)
    finally:
        demo._mail.stop()
