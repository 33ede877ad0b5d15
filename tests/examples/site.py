"""A sign-up in a web framework as its users see it: programs started from a shell, a page over HTTP, a mailbox."""

from __future__ import annotations

import http.cookiejar
import re
import shutil
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.cli.shell import PATIENCE_S, Running, Shell, started
from tests.servers import free_port

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
_PORT_TRIES = 20


class Framework(NamedTuple):
    """How one of the examples is started, as its page says.

    Attributes:
        example: Its folder in ``examples/``.
        app: What ``penstock -A`` is given.
        serve: The command of its web server.
        ready: What that says when it listens.
        port: The environment variable that gives it a port, and the value with ``{}`` for the number.
        users: The table, and its column with the moment at which the mail was sent, if it has one.
        prepare: Commands before the first start.
        environment: Variables that the page exports.
        refusal: The status with which it answers an address that is none.
        package: Whether the folder itself is the Python package, and is run from the folder above.
    """

    example: str
    app: str
    serve: Sequence[str]
    ready: str
    port: tuple[str, str]
    users: tuple[str, str | None]
    refusal: int
    prepare: Sequence[Sequence[str]] = ()
    environment: Mapping[str, str] = {}
    package: bool = False


FRAMEWORKS = {
    "django": Framework(
        example="django_signup",
        app="mysite.worker",
        serve=["gunicorn", "django.core.wsgi:get_wsgi_application()"],
        ready="Listening at: http://",
        port=("GUNICORN_CMD_ARGS", "--bind=127.0.0.1:{}"),
        users=("signup_person", "welcomed_at"),
        refusal=200,
        prepare=[
            ["python", "-m", "django", "makemigrations", "signup"],
            ["python", "-m", "django", "migrate"],
        ],
        environment={"DJANGO_SETTINGS_MODULE": "mysite.settings"},
    ),
    "fastapi": Framework(
        example="fastapi_signup",
        app="tasks",
        serve=["uvicorn", "web:web"],
        ready="Uvicorn running on http://",
        port=("UVICORN_PORT", "{}"),
        users=("users", "welcomed_at"),
        refusal=422,
    ),
    "flask": Framework(
        example="welcome",
        app="welcome.tasks",
        serve=["flask", "--app", "welcome.web", "run"],
        ready="Running on http://",
        port=("FLASK_RUN_PORT", "{}"),
        users=("users", None),
        refusal=400,
        package=True,
    ),
}


class Site:
    """A copy of an example in an empty folder, and an environment that says where its database, broker and mail are."""

    def __init__(self, framework: Framework, folder: Path, broker_url: str, smtp_port: int) -> None:
        self.framework = framework
        self.database = folder / "users.db"
        self.shell = Shell(folder, broker_url)
        source = REPOSITORY / "examples" / framework.example
        shutil.copytree(
            source,
            folder / source.name if framework.package else folder,
            ignore=shutil.ignore_patterns("__pycache__", "*.db*"),
            dirs_exist_ok=True,
        )
        self.shell.environment |= {
            "DATABASE_PATH": str(self.database),
            "DATABASE_URL": f"sqlite:///{self.database}",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(smtp_port),
            "SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
            **framework.environment,
        }
        for command in framework.prepare:
            program, *words = command
            subprocess.run([BIN / program, *words], cwd=folder, env=self.shell.environment, check=True)

    @contextmanager
    def web(self) -> Iterator[Browser]:
        """Its web server, listening."""
        with serving(self.framework, self.shell.folder, self.shell.environment) as (_server, browser):
            yield browser

    def rows(self) -> list[tuple[int, str, str | None]]:
        """Number, address and moment of the mail (None in an example that does not keep it) of all users."""
        table, welcomed_at = self.framework.users
        with closing(sqlite3.connect(self.database)) as database:
            query = f"SELECT id, email, {welcomed_at or 'NULL'} FROM {table} ORDER BY id"
            return database.execute(query).fetchall()


@contextmanager
def serving(
    framework: Framework, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[Running, Browser]]:
    """The web server of an example, listening, and a browser that looks at it."""
    program, *words = framework.serve
    variable, value = framework.port
    for left in reversed(range(_PORT_TRIES)):
        port = free_port()
        with started(
            [BIN / program, *words], folder, {**environment, variable: value.format(port)}
        ) as server:
            try:
                server.wait_for(framework.ready)
            except AssertionError:
                # Somebody else took the port between our look and the server's.
                if left and "in use" in server.text:
                    continue
                raise
            yield server, Browser(port)
            return


class Browser:
    """Asks the pages on one port of this machine, and keeps their cookies."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/"
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def form(self) -> str:
        """The page with the form."""
        return self._ask(None)

    def sign_up(self, address: str) -> str:
        """Fills the form and sends it, hidden fields included; returns the page that answers."""
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', self.form())
        return self._ask(urllib.parse.urlencode([*hidden, ("email", address)]).encode())

    def try_to_sign_up(self, address: str) -> tuple[int, str]:
        """``sign_up``, whatever comes of it: the status of the answer, and the page."""
        try:
            return 200, self.sign_up(address)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def _ask(self, form: bytes | None) -> str:
        with self._opener.open(self._url, form, timeout=PATIENCE_S) as answer:
            text: str = answer.read().decode()
            return text
