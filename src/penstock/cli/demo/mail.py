"""A mail server that takes its time: refuses the first mail, then takes each in five seconds and keeps it."""

from __future__ import annotations

import asyncio
import email
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import default as modern
from typing import Final, NamedTuple

from aiosmtpd.smtp import SMTP, Envelope, Session

TAKES_S: Final = 5.0


class Arrived(NamedTuple):
    """A mail that was taken, and when."""

    message: EmailMessage
    mono_at: float


class MailServer:
    """Runs on a thread of its own, on a free loopback port, from ``start`` to ``stop``.

    Args:
        say: Told in words what happens.
        takes_s: Seconds that it takes a mail.
    """

    def __init__(self, say: Callable[[str], None], takes_s: float = TAKES_S) -> None:
        self._say = say
        self._takes_s = takes_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mail", daemon=True)
        self.refused: int = 0
        self.arrived: list[Arrived] = []
        self.url: str = ""

    def start(self) -> None:
        """Begins to listen; ``url`` says where."""
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"smtp://{host}:{port}"

    def stop(self) -> None:
        """Stops listening and drops what is under way."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: SMTP(self, hostname="localhost"), "127.0.0.1", 0)

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Answers a mail; called by aiosmtpd."""
        to = ", ".join(envelope.rcpt_tos)
        if not self.refused:
            self.refused += 1
            self._say(f"refuses the mail to {to} this once: 451 try again later")
            return "451 4.3.0 Busy, try again later"
        self._say(f"a mail to {to} comes in; taking it needs {self._takes_s:g} s")
        await asyncio.sleep(self._takes_s)
        message = email.message_from_bytes(envelope.original_content or b"", policy=modern)
        self.arrived.append(Arrived(message, time.monotonic()))
        self._say(f"has the mail:\n{_shown(message)}")
        return "250 OK"


def _shown(message: EmailMessage) -> str:
    lines = [f"{name}: {message[name]}" for name in ("From", "To", "Subject")]
    lines += ["", *message.get_content().splitlines()]
    return "\n".join(f"    | {line}" for line in lines)
