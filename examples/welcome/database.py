import os
import sqlite3


def connect() -> sqlite3.Connection:
    path = os.environ.get("DATABASE_URL", "sqlite:///welcome.db").removeprefix("sqlite:///")
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT NOT NULL)")
    return database
