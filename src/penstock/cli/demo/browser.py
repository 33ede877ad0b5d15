"""The demo's web page as a browser sees it: over real HTTP."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections.abc import Mapping
from typing import Final

import msgspec

ANSWER_WITHIN_S: Final = 10.0


class PageFailed(Exception):
    """The web application did not answer as it should; the text says how."""


class Browser:
    """Asks the web application on one port of this machine.

    Args:
        port: Where it listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.url: str = f"http://127.0.0.1:{port}/"

    def form(self) -> str:
        """The page with the form."""
        return self._ask("GET", "/")

    def sign_up(self, address: str) -> tuple[str, str]:
        """Sends the form; returns the page that comes back and the job's id on it."""
        page = self._ask("POST", "/", {"email": address})
        found = re.search(r"<code>([^<]+)</code>", page)
        if found is None:
            raise PageFailed("the page that answers the sign-up names no job")
        return page, found.group(1)

    def state(self, job: str) -> str:
        """The state that the page would show of the job."""
        answer = self._ask("GET", f"/jobs/{urllib.parse.quote(job)}")
        return msgspec.json.decode(answer, type=dict[str, str])["state"]

    def _ask(self, method: str, path: str, form: Mapping[str, str] | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_WITHIN_S)
        body = None if form is None else urllib.parse.urlencode(form)
        headers = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise PageFailed(f"{method} {self.url.rstrip('/')}{path}: {error}") from error
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise PageFailed(f"{method} {self.url.rstrip('/')}{path}: {answer.status} {answer.reason}")
        return text
