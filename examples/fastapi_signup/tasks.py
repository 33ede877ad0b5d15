import os
import smtplib
import sqlite3
from contextlib import closing
from email.message import EmailMessage

from penstock import Penstock, Retry

app = Penstock("signup")  # the broker: PENSTOCK_BROKER_URL, else a file


def connect() -> sqlite3.Connection:
    database = sqlite3.connect(os.environ.get("DATABASE_PATH", "users.db"))
    database.execute(
        "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT, welcomed_at TEXT)"
    )
    return database


@app.task(retry=Retry(attempts=5, base=1))
def send_welcome_email(user_id: int) -> None:
    with closing(connect()) as database:
        (email,) = database.execute("SELECT email FROM users WHERE id = ?", (user_id,)).fetchone()
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "hello@example.com", email, "Welcome!"
        message.set_content("Good to have you with us.")
        host, port = os.environ.get("SMTP_HOST", "localhost"), int(os.environ.get("SMTP_PORT", "1025"))
        with smtplib.SMTP(host, port) as smtp:
            smtp.send_message(message)
        with database:
            database.execute("UPDATE users SET welcomed_at = datetime('now') WHERE id = ?", (user_id,))
