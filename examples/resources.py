"""What tasks share: a pool of connections for coroutines, and a transaction for each job.

In one terminal, and in another:

    penstock -A resources worker
    python resources.py
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Annotated

from penstock import INJECTED, JobFailed, Penstock

app = Penstock("bank")


def connect() -> sqlite3.Connection:
    path = os.environ.get("DATABASE_PATH", "bank.db")
    return sqlite3.connect(path, timeout=20, check_same_thread=False)


class Pool:
    """Connections that are open already; who wants one while all are taken waits for it."""

    def __init__(self, connections: list[sqlite3.Connection]) -> None:
        self._free: asyncio.Queue[sqlite3.Connection] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[sqlite3.Connection]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)


@app.resource
async def pool() -> AsyncIterator[Pool]:
    """Opened on first use in each worker process, closed when that stops."""
    connections = [connect() for _ in range(3)]
    print("the pool is open")
    try:
        yield Pool(connections)
    finally:
        for connection in connections:
            connection.close()
        print("the pool is closed")


@app.resource(scope="job")
def transaction() -> Iterator[sqlite3.Connection]:
    """One for each job: committed when the job succeeds, rolled back when it raises."""
    with closing(connect()) as connection, connection:
        yield connection


@app.task(retry=False)
def transfer(
    source: str, target: str, amount: int, bank: Annotated[sqlite3.Connection, transaction] = INJECTED
) -> None:
    bank.execute("UPDATE accounts SET balance = balance + ? WHERE name = ?", (amount, target))
    bank.execute("UPDATE accounts SET balance = balance - ? WHERE name = ?", (amount, source))
    (left,) = bank.execute("SELECT balance FROM accounts WHERE name = ?", (source,)).fetchone()
    if left < 0:
        raise ValueError(f"{source} has not so much")


@app.task
async def balance(name: str, connections: Annotated[Pool, pool] = INJECTED) -> int:
    async with connections.connection() as bank:
        query = "SELECT balance FROM accounts WHERE name = ?"
        row = await asyncio.to_thread(lambda: bank.execute(query, (name,)).fetchone())
    return int(row[0])


def main() -> None:
    with closing(connect()) as bank, bank:
        bank.execute("DROP TABLE IF EXISTS accounts")
        bank.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, balance INTEGER)")
        bank.execute("INSERT INTO accounts VALUES ('ada', 100), ('bob', 0)")
    transfer.delay("ada", "bob", 70).result(timeout=20)
    try:
        transfer.delay("ada", "bob", 70).result(timeout=20)
    except JobFailed as error:
        print(error.error_message)
    jobs = balance.delay_many([("ada",), ("bob",)] * 5)
    print([job.result(timeout=20) for job in jobs][:2])


if __name__ == "__main__":
    main()
