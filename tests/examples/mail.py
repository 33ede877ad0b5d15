"""A mail server that keeps what it gets, and can be told to keep the senders waiting."""

from __future__ import annotations

import asyncio
import email
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default as modern

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.cli.shell import PATIENCE_S


class MailServer:
    """Listens on a free loopback port while ``mail_server`` runs.

    Attributes:
        port: Where.
        arrived: The mails that it has taken.
    """

    def __init__(self) -> None:
        self.port = 0
        self.arrived: list[EmailMessage] = []
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._held = 0
        self._changed = threading.Condition()

    def hold(self) -> None:
        """From now on a mail is answered only after ``let_go``."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def let_go(self) -> None:
        """Answers those that wait, and all that come."""
        self._loop.call_soon_threadsafe(self._open.set)

    def wait_until_held(self, count: int) -> None:
        """Until so many senders wait for their answer at once."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held >= count, PATIENCE_S), f"{self._held} wait"

    def wait_until_arrived(self, count: int) -> None:
        """Until so many mails have been taken."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.arrived) >= count, PATIENCE_S)
            assert arrived, f"{len(self.arrived)} of {count} mails have arrived"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Answers a mail; called by aiosmtpd."""
        self._note(held=1)
        try:
            await self._open.wait()
        finally:
            self._note(held=-1)
        self._note(email.message_from_bytes(envelope.original_content or b"", policy=modern))
        return "250 OK"

    def _note(self, message: EmailMessage | None = None, held: int = 0) -> None:
        with self._changed:
            self._held += held
            self.arrived += [message] if message else []
            self._changed.notify_all()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server that runs on a thread of its own during the block."""
    mail = MailServer()
    loop = mail._loop
    thread = threading.Thread(target=loop.run_forever, name="mail")
    thread.start()
    try:
        listening = loop.create_server(lambda: SMTP(mail, hostname="localhost"), "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, loop).result()
        mail.port = server.sockets[0].getsockname()[1]
        yield mail
        asyncio.run_coroutine_threadsafe(mail._close(server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
