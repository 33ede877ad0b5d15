"""Other processes: ``python -m tests.brokers.sqlite.programs NAME PATH ...``."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import apsw

from penstock import brokers
from penstock.brokers.sqlite import SQLiteBroker, SQLiteProducer, file, open_blocking, open_broker
from penstock.core.job import Job, Origin
from penstock.core.settlement import Done
from penstock.ports.broker import WorkerCard

MAX_BYTES = 1 << 22


def _broker(path: str) -> SQLiteBroker:
    return open_broker(brokers.address(f"sqlite:///{path}"))


def _producer(path: str) -> SQLiteProducer:
    return open_blocking(brokers.address(f"sqlite:///{path}"))


async def drain(path: str, name: str, lease_s: str) -> None:
    """Fetches, writes each job's id into ``PATH.NAME.done``, and settles, until it is killed or its input ends."""
    broker = _broker(path)
    await broker.open()
    card = WorkerCard(name, "tests", queues=["q"])
    consumer = await broker.consumer(["q"], window=50, lease_s=float(lease_s), card=card)
    number = 0
    with Path(f"{path}.{name}.done").open("a") as done:  # noqa: ASYNC230 - nothing else is on this loop
        print("draining", flush=True)
        while True:
            fetched = await consumer.fetch(50, MAX_BYTES, 0.2)
            await broker.maintain(["q"], 1000, float(lease_s))
            if not fetched.deliveries:
                continue
            number += 1
            lost = {d.token for d in await consumer.settle([Done(d) for d in fetched.deliveries], number)}
            for delivery in fetched.deliveries:
                if delivery.token not in lost:
                    done.write(f"{delivery.id}\n")
            done.flush()


async def wait_for_jobs(path: str, count: str) -> None:
    """Fetches one job after the other; prints the seconds since the moment in each body."""
    broker = _broker(path)
    await broker.open()
    card = WorkerCard("waiter", "tests", queues=["q"])
    consumer = await broker.consumer(["q"], window=1, lease_s=15, card=card)
    print("waiting", flush=True)
    for number in range(1, int(count) + 1):
        fetched = await consumer.fetch(1, MAX_BYTES, 30)
        print(time.time() - float(fetched.deliveries[0].body), flush=True)
        await consumer.settle([Done(delivery) for delivery in fetched.deliveries], number)
    await consumer.close()
    await broker.close()


def enqueue(path: str, name: str, count: str) -> None:
    """Enqueues one job after the other."""
    producer = _producer(path)
    for number in range(int(count)):
        producer.enqueue([Job(f"q:{name}-{number}", "q", b"{}", unique=True)], Origin(name, number))
    producer.close()


def hold(path: str) -> None:
    """Stands in the middle of a write until its input ends."""
    database = _producer(path)._database

    def stand(*_: object) -> None:
        print("holding", flush=True)
        sys.stdin.read()

    database.write(stand, durable=False)


def prepare(path: str) -> None:
    """Gives the file its schema, or what it lacks; stands in the middle of it until its input ends."""
    connection = apsw.Connection(path)
    told = False

    def stand(_: object, statement: str, __: object) -> bool:
        nonlocal told
        if not told and statement.lstrip().startswith(("CREATE", "ALTER")):
            told = True
            print("holds it", flush=True)
            sys.stdin.read()
        return True

    connection.exec_trace = stand
    file.prepare(connection, Path(path))
    connection.close()


def main() -> None:
    name, *arguments = sys.argv[1:]
    match name:
        case "drain":
            asyncio.run(drain(*arguments))
        case "wait":
            asyncio.run(wait_for_jobs(*arguments))
        case "enqueue":
            enqueue(*arguments)
        case "hold":
            hold(*arguments)
        case "prepare":
            prepare(*arguments)


if __name__ == "__main__":
    main()
