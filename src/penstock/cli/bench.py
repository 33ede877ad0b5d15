"""``penstock bench``: how fast this machine and this broker are, with jobs that do nothing.

Nobody else's jobs are touched. On a server everything is stored under a namespace made up for this run, and removed at
the end; a SQLite file is not measured itself, but one of its own in a folder beside it, on the same disk.
"""

from __future__ import annotations

import itertools
import logging
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click
import msgspec

from penstock import __version__
from penstock.app import Penstock
from penstock.brokers import Address, facts
from penstock.cli.asking import ask_at
from penstock.cli.tables import print_fields, print_json, print_table
from penstock.cli.target import Target
from penstock.cli.terminal import bar
from penstock.cli.words import words
from penstock.core.job import Enqueued
from penstock.errors import BrokerError, ConfigError, PenstockError
from penstock.ids import new_id
from penstock.producer import SLICE
from penstock.runtime.worker import Worker
from penstock.runtime.worker_settings import WorkerSettings
from penstock.settings import MOST_CONCURRENCY

QUEUE: Final = "bench"
_STAMPS: Final = "bench-latency"
_LATENCIES: Final = 200
_LOOK_EVERY_S: Final = 0.001
_BAR_EVERY_S: Final = 0.1
_WORKER_WITHIN_S: Final = 10.0


class Rate(msgspec.Struct):
    """How long so many jobs took; ``per_second`` is None where there were none."""

    jobs: int
    seconds: float
    per_second: float | None


class Latency(msgspec.Struct):
    """From ``delay()`` to the first line of the task, in milliseconds, one job at a time on an idle worker."""

    jobs: int
    p50_ms: float | None
    p99_ms: float | None


class Measured(msgspec.Struct):
    """What ``--json`` gives. Each step ends at its number of jobs or its seconds, whichever comes first.

    Attributes:
        penstock: Its version.
        python: Python's.
        cpus: Of this machine.
        broker: The broker's URL without its password.
        server: What it says that it is.
        concurrency: Threads of the worker.
        enqueue_one: ``delay()``, one call after the other, one producer.
        enqueue_many: ``delay_many()``.
        drain: One worker process with jobs that do nothing, their outcomes stored.
        latency: From enqueueing to the start.
    """

    penstock: str
    python: str
    cpus: int
    broker: str
    server: str
    concurrency: int
    enqueue_one: Rate
    enqueue_many: Rate
    drain: Rate
    latency: Latency


@click.command()
@words
@click.option("--jobs", type=click.IntRange(min=1), default=50_000, show_default=True,
              help="At most so many in each step.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True,
              help="At most so long for each step.")  # fmt: skip
@click.option("-c", "--concurrency", type=click.IntRange(1, MOST_CONCURRENCY), default=10, show_default=True,
              help="Threads of the worker that drains.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.pass_obj
def command(target: Target, /, jobs: int, seconds: float, concurrency: int, as_json: bool) -> None:
    """Measure this machine and this broker, with jobs that do nothing and a queue of their own.

    Enqueues one by one and many at once, drains with one worker, and measures the time from enqueueing to the start.
    What it stores is removed at the end.
    """
    logging.getLogger("penstock").setLevel((target.loglevel or "error").upper())
    shown = target.address().shown()
    with _scratch(target.address()) as (address, server):
        bench = _Bench(address, target, jobs, seconds, concurrency)
        try:
            one, many, drain, latency = bench.run()
        finally:
            bench.close()
    measured = Measured(
        __version__,
        platform.python_version(),
        os.cpu_count() or 1,
        shown,
        server,
        concurrency,
        one,
        many,
        drain,
        latency,
    )
    if as_json:
        print_json(measured)
    else:
        _print(measured)


@contextmanager
def _scratch(address: Address) -> Generator[tuple[Address, str]]:
    """A place of our own on the same broker, empty, that is removed at the end whatever happens; and what that is.

    Raises:
        BrokerUnavailable: It does not answer within 5 s.
    """
    namespace = f"penstock-bench-{new_id()}"
    signal.signal(signal.SIGTERM, _stopped)
    if address.scheme == "sqlite":
        folder = Path(address.url.removeprefix("sqlite:///")).parent
        try:
            with tempfile.TemporaryDirectory(prefix="penstock-bench-", dir=folder) as own, _undisturbed():
                file = Address(f"sqlite:///{Path(own) / 'bench.db'}", "sqlite", namespace)
                yield file, _server(file)
        except OSError as error:
            raise ConfigError(f"bench wants a folder in {folder}: {error.strerror}") from error
        return
    own_address = address._replace(namespace=namespace)
    server = _server(own_address)
    try:
        with _undisturbed():
            yield own_address, server
    finally:
        _clear(own_address)


def _server(address: Address) -> str:
    return ask_at(address, lambda opened: facts(address, opened.broker), make=True).server


@contextmanager
def _undisturbed() -> Generator[None]:
    """What follows the block is not interrupted: a second Ctrl-C must not leave half of it behind."""
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _stopped(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _clear(address: Address) -> None:
    from penstock.brokers.redis.clearing import clear

    try:
        ask_at(address, lambda _opened: clear(address))
    except BrokerError as error:
        print(f"what bench stored under {address.namespace} is left there: {error}", file=sys.stderr)


class _Bench:
    """An application with two tasks, and a worker for them in this process."""

    def __init__(self, address: Address, target: Target, jobs: int, seconds: float, concurrency: int) -> None:
        self._jobs = jobs
        self._seconds = seconds
        self._app = app = Penstock("bench")
        app.configure(
            {**target.command_line, "broker_url": address.url, "namespace": address.namespace}, Path.cwd()
        )
        self._stored = 0
        self._ran = itertools.count(1)
        self._last = 0
        self._began_at = 0.0
        self._all_ran = threading.Event()
        self._started = threading.Event()
        self._latencies_s: list[float] = []
        # A result of None would be kept for a minute.
        self._nothing = app.task(name="bench.nothing", queue=QUEUE, result_ttl=0)(self._do_nothing)
        self._stamp = app.task(name="bench.stamp", queue=_STAMPS, result_ttl=0)(self._take_time)
        settings = WorkerSettings(
            queues=[QUEUE, _STAMPS], concurrency=concurrency, app_name="bench", grace_s=1.0
        )
        self._worker = Worker(app.tasks, app.connect, settings)
        self._thread = threading.Thread(
            target=self._worker.run, kwargs={"signals": False}, name="bench-worker", daemon=True
        )

    # --- what the worker runs

    def _do_nothing(self) -> None:
        self._last = ran = next(self._ran)
        if ran == 1:
            self._began_at = time.perf_counter()
        if ran == self._stored:
            self._all_ran.set()

    def _take_time(self, sent_at: float) -> None:
        self._latencies_s.append(time.perf_counter() - sent_at)
        self._started.set()

    # --- the steps

    def run(self) -> tuple[Rate, Rate, Rate, Latency]:
        """All steps, one after the other."""
        self._nothing.delay()  # the connection and the first use of everything are not what is measured
        self._stored = 1
        return self._enqueue_one(), self._enqueue_many(), self._drain(), self._latency()

    def _enqueue_one(self) -> Rate:
        began_at = time.perf_counter()
        done, taken_s = 0, 0.0
        with bar("enqueue one by one") as advance:
            while done < self._jobs and taken_s < self._seconds:
                self._nothing.delay()
                done += 1
                taken_s = time.perf_counter() - began_at
                advance(done, self._jobs)
        self._stored += done
        return _rate(done, taken_s)

    def _enqueue_many(self) -> Rate:
        done = 0
        began_at = time.perf_counter()

        def rows() -> Iterator[tuple[()]]:
            for made in range(self._jobs):
                if made % SLICE == 0 and time.perf_counter() - began_at >= self._seconds:
                    return
                yield ()

        with bar("enqueue many") as advance:

            def took(answers: Sequence[Enqueued]) -> None:
                nonlocal done
                done += len(answers)
                advance(done, self._jobs)

            self._nothing.store_many(rows(), took)
        self._stored += done
        return _rate(done, time.perf_counter() - began_at)

    def _drain(self) -> Rate:
        self._thread.start()
        if not self._worker.ready.wait(_WORKER_WITHIN_S):
            raise PenstockError(f"the worker of bench was not ready within {_WORKER_WITHIN_S:g} s")
        mono_until = time.monotonic() + self._seconds
        with bar("drain") as advance:
            while not self._all_ran.wait(_BAR_EVERY_S) and time.monotonic() < mono_until:
                advance(self._last, self._stored)
        # Looking costs the broker something, so nobody looks before the last has run; its outcome follows at once.
        while True:
            settled = sum(each.succeeded_total for each in self._app.queues())
            now_at = time.perf_counter()
            if settled >= self._stored or time.monotonic() >= mono_until:
                return _rate(settled, now_at - self._began_at if settled else 0.0)
            time.sleep(_LOOK_EVERY_S)

    def _latency(self) -> Latency:
        """One job at a time, on a worker that has nothing else to do: what was not drained waits."""
        self._app.call(self._pause())
        mono_until = time.monotonic() + self._seconds
        for _ in range(min(self._jobs, _LATENCIES)):
            self._started.clear()
            self._stamp.delay(time.perf_counter())
            if not self._started.wait(max(mono_until - time.monotonic(), 0.0)):
                break
        found = sorted(self._latencies_s)
        return Latency(len(found), _percentile_ms(found, 0.5), _percentile_ms(found, 0.99))

    async def _pause(self) -> None:
        await (await self._app.inspector()).pause([QUEUE])

    def close(self) -> None:
        """Ends the worker at once and closes the connections."""
        if self._thread.is_alive():
            self._worker.stop(at_once=True)
            self._thread.join(_WORKER_WITHIN_S)
        self._app.close()


def _rate(jobs: int, seconds: float) -> Rate:
    return Rate(jobs, round(seconds, 6), round(jobs / seconds, 1) if jobs and seconds else None)


def _percentile_ms(found: list[float], part: float) -> float | None:
    """The nearest rank of a sorted list of seconds."""
    if not found:
        return None
    return round(found[min(int(part * len(found)), len(found) - 1)] * 1000, 3)


def _print(measured: Measured) -> None:
    print_fields(
        [
            ("penstock", f"{measured.penstock}, Python {measured.python}, {measured.cpus} CPUs"),
            ("broker", f"{measured.broker}, {measured.server}"),
        ]
    )
    print()
    steps = (
        ("enqueue one by one", measured.enqueue_one),
        ("enqueue many", measured.enqueue_many),
        (f"drain, {measured.concurrency} threads", measured.drain),
    )
    print_table(
        ["step", "jobs", "seconds", "jobs/s"],
        [
            (
                name,
                rate.jobs,
                f"{rate.seconds:.3f}",
                "" if rate.per_second is None else round(rate.per_second),
            )
            for name, rate in steps
        ],
    )
    latency = measured.latency
    if latency.p50_ms is None:
        print("\nenqueue to start: no job was started in time")
    else:
        print(
            f"\nenqueue to start: p50 {latency.p50_ms:.2f} ms, p99 {latency.p99_ms:.2f} ms, {latency.jobs} jobs, "
            "one at a time"
        )
