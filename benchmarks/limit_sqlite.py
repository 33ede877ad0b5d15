"""The limit on SQLite: a bare loop that claims, decodes, calls and settles, with no engine around it.

One process, one connection, one table; batches of 200, and one transaction a batch, which settles the last batch and
claims the next, forced to the disk (``synchronous=FULL``): the least that still loses nothing when the worker is
killed or the power fails.

    python -m benchmarks.limit_sqlite /some/folder/limit.db [jobs]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal

import apsw
import msgspec

from benchmarks.limit_redis import BATCH, BODY, CONCURRENCY, Call, nothing, nothing_async

Mode = Literal["thread", "loop"]

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS jobs (key INTEGER PRIMARY KEY, id TEXT NOT NULL, lease_until REAL, body BLOB NOT NULL);
"""
_ADD = "INSERT INTO jobs (id, body) VALUES (?, ?)"
_CLAIM = """
UPDATE jobs SET lease_until = ?
WHERE key IN (SELECT key FROM jobs WHERE lease_until IS NULL ORDER BY key LIMIT ?) RETURNING key, body
"""
_SETTLE = "DELETE FROM jobs WHERE key = ?"

Row = tuple[int, bytes]


def path_of(url: str) -> str:
    """The limit's own file, beside the one that the URL names."""
    return str(Path(url.removeprefix("sqlite:///")).with_name("limit.db"))


def _open(path: str) -> apsw.Connection:
    connection = apsw.Connection(path)
    connection.execute(_SCHEMA).fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def fill(path: str, count: int) -> None:
    """Stores ``count`` jobs for the bare loop."""
    connection = _open(path)
    for start in range(0, count, 10_000):
        with connection:
            connection.executemany(
                _ADD, ((f"limit:{n:032d}", BODY) for n in range(start, min(start + 10_000, count)))
            )
    connection.close()


def _turn(connection: apsw.Connection, ended: list[Row], limit: int) -> list[Row]:
    """Settles what has ended and claims up to ``limit``, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    if ended:
        connection.executemany(_SETTLE, [(key,) for key, _ in ended])
    claimed: list[Any] = connection.execute(_CLAIM, (time.time() + 15, limit)).fetchall() if limit else []
    connection.execute("COMMIT")
    return claimed


def run(path: str, count: int, mode: Mode) -> dict[str, float]:
    """Drains ``count`` jobs; rate in jobs a second."""
    took = asyncio.run(_loop(path, count)) if mode == "loop" else _threads(path, count)
    return {"rate": count / took}


def _work(todo: SimpleQueue[list[Row] | None], done: SimpleQueue[list[Row]]) -> None:
    decode = msgspec.json.Decoder(Call).decode
    tasks: dict[str, Callable[..., None]] = {"tasks.nothing": nothing}
    while (part := todo.get()) is not None:
        for _, body in part:
            call = decode(body)
            tasks[call.task](*call.args)
        done.put(part)


def _threads(path: str, count: int) -> float:
    """Ten threads run parts of a batch, while the main thread settles the last one and claims the next."""
    todo: SimpleQueue[list[Row] | None] = SimpleQueue()
    done: SimpleQueue[list[Row]] = SimpleQueue()
    threads = [Thread(target=_work, args=(todo, done)) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    size = BATCH // CONCURRENCY
    began = time.perf_counter()
    connection = _open(path)
    settled = out = 0
    ended: list[Row] = []
    while settled < count:
        claimed = _turn(connection, ended, BATCH)
        settled += len(ended)
        ended = []
        for at in range(0, len(claimed), size):
            todo.put(claimed[at : at + size])
            out += 1
        while out and (not claimed or not done.empty() or out > CONCURRENCY):
            ended += done.get()
            out -= 1
    took = time.perf_counter() - began
    connection.close()
    for _ in threads:
        todo.put(None)
    for thread in threads:
        thread.join()
    return took


async def _loop(path: str, count: int) -> float:
    """Coroutines in one loop, a batch after another. The disk is waited for: there is nothing else to do meanwhile."""
    decode = msgspec.json.Decoder(Call).decode
    tasks: dict[str, Callable[..., Awaitable[None]]] = {"tasks.nothing": nothing_async}
    began = time.perf_counter()
    connection = _open(path)
    settled = 0
    ended: list[Row] = []
    while settled < count:
        claimed = _turn(connection, ended, BATCH)
        settled += len(ended)
        for _, body in claimed:
            call = decode(body)
            await tasks[call.task](*call.args)
        ended = claimed
    took = time.perf_counter() - began
    connection.close()
    return took


def main() -> None:
    """Prints medians of three interleaved runs."""
    from statistics import median

    path = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    rates: dict[Mode, list[float]] = {"thread": [], "loop": []}
    for _ in range(3):
        for mode, measured in rates.items():
            fill(path, count)
            measured.append(run(path, count, mode)["rate"])
    for mode, measured in rates.items():
        print(f"limit, {mode:8} {median(measured):10,.0f} jobs/s")


if __name__ == "__main__":
    main()
