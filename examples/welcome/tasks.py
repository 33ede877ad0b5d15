import os
import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from email.message import EmailMessage
from typing import Annotated
from urllib.parse import urlsplit

from penstock import INJECTED, Penstock, Retry

from .database import connect

app = Penstock("welcome")  # the broker: PENSTOCK_BROKER_URL, else a file


@app.resource(scope="job")
def db() -> Iterator[sqlite3.Connection]:
    with closing(connect()) as database:
        yield database


@app.task(retry=Retry(attempts=5, base=1))
def send_welcome_email(user_id: int, users: Annotated[sqlite3.Connection, db] = INJECTED) -> None:
    (email,) = users.execute("SELECT email FROM users WHERE id = ?", (user_id,)).fetchone()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "hello@example.com", email, "Welcome!"
    message.set_content("Good to have you with us.")
    server = urlsplit(os.environ.get("SMTP_URL", "smtp://localhost:1025"))
    with smtplib.SMTP(server.hostname or "localhost", server.port or 25) as smtp:
        smtp.send_message(message)
