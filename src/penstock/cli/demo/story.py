"""The demo's story: what is started, what is said, and with ``--once`` what is checked."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from penstock.brokers import address
from penstock.cli.asking import Opened, ask_at
from penstock.cli.demo.browser import Browser, PageFailed
from penstock.cli.demo.children import Child
from penstock.cli.demo.mail import MailServer
from penstock.core.lifecycle import ENDED
from penstock.errors import BrokerError, ConfigError

EMAIL: Final = "ada@example.com"
READY_WITHIN_S: Final = 30.0
ENDED_WITHIN_S: Final = 30.0
LOOK_EVERY_S: Final = 0.02


class DemoFailed(Exception):
    """Something did not go as the story says; the text says what."""


def tell(broker_url: str | None, port: int, *, once: bool) -> int:
    """Runs the demo; returns the exit code: 0 where all of it worked."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder, contextlib.ExitStack() as stack:
            demo = _Demo(Path(folder), broker_url, port or _free_port())
            demo.look_at_broker()
            stack.callback(demo.stop)
            demo.start()
            if once:
                demo.sign_up_once()
            else:
                demo.wait()
    except KeyboardInterrupt:
        print("\nstopped")
        return 1 if once else 0
    except (DemoFailed, PageFailed) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    return 0


async def _nothing(_opened: Opened) -> None:
    """That it was opened says enough."""


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


class _Demo:
    """The three that take part, and what is seen of them."""

    def __init__(self, folder: Path, broker_url: str | None, port: int) -> None:
        self._mono_start = time.monotonic()
        self._saying = threading.Lock()
        self._broker_url = broker_url or f"sqlite:///{folder / 'penstock.db'}"
        # Other workers of this broker shall not take the demo's jobs: they have other users.
        self._address = address(self._broker_url, f"demo-{secrets.token_hex(4)}")
        self._browser = Browser(port)
        self._mail = MailServer(lambda text: self._say("mail server", text))
        self._worker_ready, self._web_ready = threading.Event(), threading.Event()
        self._children: dict[str, Child] = {}
        self._port = port
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        self._environment = ours | {
            "DATABASE_URL": f"sqlite:///{folder / 'users.db'}",
            "PENSTOCK_BROKER_URL": self._broker_url,
            "PENSTOCK_NAMESPACE": self._address.namespace,
            "PENSTOCK_RUN_DIR": str(folder),
        }

    def look_at_broker(self) -> None:
        """Fails at once where there is none; the worker itself would wait for it."""
        ask_at(self._address, _nothing, make=True)

    def start(self) -> None:
        """Starts the mail server, the web application and the worker, and returns when they are ready."""
        self._mail.start()
        self._environment["SMTP_URL"] = self._mail.url
        example = _example()
        self._run("worker", example, self._worker_line, "penstock", "-A", "welcome.tasks", "worker")
        self._run(
            "web page",
            example,
            self._web_line,
            "flask",
            "--app",
            "welcome.web",
            "run",
            "--port",
            str(self._port),
        )
        self._wait_for("web page", self._web_ready)
        self._wait_for("worker", self._worker_ready)
        print(f"Three programs are running; the source of the first two is {example}")
        print(f"  a web page       {self._browser.url}")
        print(f"  a worker         takes its jobs from {self._address.shown()}")
        print(f"  a mail server    {self._mail.url}, slow, refuses the first mail\n", flush=True)

    def stop(self) -> None:
        """Stops all of it."""
        for child in self._children.values():
            child.stop()
        if self._mail.url:
            self._mail.stop()
        self._clear_broker()

    def _clear_broker(self) -> None:
        """What the demo has stored on a server is removed; a SQLite file lies in the demo's own folder."""
        if self._address.scheme == "sqlite":
            return
        from penstock.brokers.redis.clearing import clear

        try:
            ask_at(self._address, lambda _opened: clear(self._address))
        except BrokerError as error:
            print(
                f"what the demo stored under {self._address.namespace} is left there: {error}",
                file=sys.stderr,
            )

    def wait(self) -> None:
        """Until a person has seen enough."""
        print(f"Open {self._browser.url} in a browser and sign up. Ctrl-C ends the demo.\n", flush=True)
        while True:
            self._all_alive()
            time.sleep(LOOK_EVERY_S * 10)

    def sign_up_once(self) -> None:
        """Does what a person would do, and checks what they would see."""
        _check("<form" in self._browser.form(), f"{self._browser.url} shows no form")
        self._say("you", f"sign up as {EMAIL}")
        mono_before = time.monotonic()
        page, job = self._browser.sign_up(EMAIL)
        mono_answered = time.monotonic()
        _check("<h1>Welcome!" in page, "the answer does not say Welcome!")
        _check(not self._mail.arrived, "the mail was there before the answer")
        self._say("web page", f'says "Welcome!" after {(mono_answered - mono_before) * 1000:.0f} ms')
        states = self._watch(job)
        waited_s = self._check_end(states) - mono_answered
        _check(waited_s > 0, "the mail was sent before the answer")
        print("\nAll of it worked:")
        print(f'  "Welcome!" was there {waited_s:.1f} s before the mail was sent')
        print(f"  the page showed the job as {' → '.join(states)}", flush=True)

    def _watch(self, job: str) -> list[str]:
        """The states that the page shows until the job has ended."""
        states: list[str] = []
        mono_until = time.monotonic() + ENDED_WITHIN_S
        while time.monotonic() < mono_until:
            self._all_alive()
            state = self._browser.state(job)
            if not states or state != states[-1]:
                states.append(state)
                self._say("web page", f"shows the job as {state}")
            if state in ENDED:
                return states
            time.sleep(LOOK_EVERY_S)
        raise DemoFailed(f"the job has not ended in {ENDED_WITHIN_S:g} s: {' → '.join(states)}")

    def _check_end(self, states: list[str]) -> float:
        """Checks what came of it; returns the moment when the mail had arrived, by the monotonic clock."""
        shown = " → ".join(states)
        _check(states[-1] == "succeeded", f"the job did not succeed: {shown}")
        _check("running" in states, f"the page never showed the job running: {shown}")
        _check("scheduled" in states, f"the page never showed the job waiting for its retry: {shown}")
        _check(self._mail.refused == 1, f"the mail server refused {self._mail.refused} times, not once")
        _check(len(self._mail.arrived) == 1, f"{len(self._mail.arrived)} mails arrived, not one")
        message, mono_at = self._mail.arrived[0]
        _check(message["To"] == EMAIL, f"the mail went to {message['To']}")
        return mono_at

    # --- what is seen

    def _say(self, who: str, text: str) -> None:
        with self._saying:
            print(f"{time.monotonic() - self._mono_start:6.2f} s  {who:<11}  {text}", flush=True)

    def _worker_line(self, line: str) -> None:
        if " is ready: " in line:
            self._worker_ready.set()
        elif found := re.search(r" (?:WARNING|ERROR|CRITICAL) +penstock\S*: (.*)", line):
            self._say("worker", found.group(1))

    def _web_line(self, line: str) -> None:
        if "Running on " in line:
            self._web_ready.set()
        elif "Error" in line:
            self._say("web page", line)

    # --- starting and waiting

    def _run(self, name: str, example: Path, on_line: Callable[[str], None], *arguments: str) -> None:
        self._children[name] = Child(arguments, example.parent, self._environment, on_line)

    def _wait_for(self, name: str, ready: threading.Event) -> None:
        mono_until = time.monotonic() + READY_WITHIN_S
        while not ready.wait(LOOK_EVERY_S):
            self._all_alive()
            if time.monotonic() > mono_until:
                raise DemoFailed(
                    f"the {name} is not ready after {READY_WITHIN_S:g} s:{self._last_lines(name)}"
                )

    def _all_alive(self) -> None:
        for name, child in self._children.items():
            if child.ended is not None:
                raise DemoFailed(f"the {name} ended with exit code {child.ended}:{self._last_lines(name)}")

    def _last_lines(self, name: str) -> str:
        return "".join(f"\n    {line}" for line in self._children[name].lines) or " it said nothing"


def _example() -> Path:
    """The folder of the example: beside this package in a wheel, at the top of a checkout."""
    package = Path(__file__).parents[2]
    for folder in (package / "_examples" / "welcome", package.parents[1] / "examples" / "welcome"):
        if (folder / "tasks.py").is_file():
            return folder
    raise ConfigError(f"the example is missing beside {package}; install Penstock again")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoFailed(otherwise)
