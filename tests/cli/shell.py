"""A person at a shell: types ``penstock ...`` in a folder, reads what comes, sends signals."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from penstock import Penstock

PENSTOCK = Path(sys.executable).with_name("penstock")
# Far above what anything takes: a machine may be busy.
PATIENCE_S = 40.0


class Said(NamedTuple):
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    @property
    def words(self) -> str:
        """Both streams, for what must not be in either."""
        return self.out + self.err


class Running:
    """A command that goes on; its lines can be waited for, each once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, text: str) -> str:
        """The next line that holds ``text``."""
        mono_until = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self._lines.get(timeout=max(mono_until - time.monotonic(), 0.01))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no {text!r} in:\n" + "\n".join(self.seen))
            self.seen.append(line)
            if text in line:
                return line

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals | None = signal.SIGTERM) -> int:
        """Sends a signal, reads to the end, returns the exit code."""
        if number is not None:
            self.send(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while (line := self._lines.get()) is not None:
            self.seen.append(line)
        return code

    @property
    def text(self) -> str:
        return "\n".join(self.seen)


@contextmanager
def started(words: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    """A command that goes on; at the end of the block whatever of it still runs is killed."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    running = Running(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        running._reader.join(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


class Shell:
    """A folder and an environment to type in."""

    def __init__(self, folder: Path, broker_url: str | None) -> None:
        self.folder = folder
        self.broker_url = broker_url
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        if broker_url is not None:
            self.environment["PENSTOCK_BROKER_URL"] = broker_url

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def __call__(self, *words: str, input: str = "", folder: Path | None = None, **environment: str) -> Said:
        """Types ``penstock`` and these words; waits for the end."""
        try:
            done = subprocess.run(
                [PENSTOCK, *words],
                cwd=folder or self.folder,
                env={**self.environment, **environment},
                input=input,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
        except subprocess.TimeoutExpired as error:
            said = b"\n".join(stream for stream in (error.stdout, error.stderr) if stream)
            raise AssertionError(f"{words} has not ended in {PATIENCE_S:g} s:\n{said.decode()}") from None
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
        """Types it and goes on; at the end of the block whatever still runs is killed."""
        with started([PENSTOCK, *words], self.folder, {**self.environment, **(environment or {})}) as running:
            yield running

    @contextmanager
    def worker(self, *words: str, app: str = "tasks", **environment: str) -> Iterator[Running]:
        """A worker that is ready."""
        with self.running("-A", app, "worker", *words, environment=environment) as running:
            running.wait_for(" is ready: ")
            yield running

    def enqueue(self, name: str, *args: Any, **options: Any) -> str:
        """Enqueues a job, from this process since that is quick; the keywords are options."""
        with self._app() as app:
            return app.send(name, *args, options=options).id

    def result(self, id: str) -> Any:
        """Waits for a job's result."""
        with self._app() as app:
            return app.job(id).result(PATIENCE_S)

    def state(self, id: str) -> str:
        with self._app() as app:
            return app.job(id).status()

    @contextmanager
    def _app(self) -> Iterator[Penstock]:
        app = Penstock("test", broker=self.broker_url)
        try:
            yield app
        finally:
            app.close()
