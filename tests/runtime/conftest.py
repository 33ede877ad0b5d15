"""An application on a memory broker of its own, and workers beside it in this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from penstock import Penstock
from penstock.ids import new_id
from penstock.runtime.worker import Worker
from penstock.runtime.worker_settings import WorkerSettings

WITHIN_S = 20.0


class Beside:
    """A worker on a thread of its own, which is its main thread.

    Attributes:
        code: Its exit code, once it has ended.
        error: What it raised, if it did.
    """

    def __init__(self, app: Penstock, **settings: object) -> None:
        queues = settings.pop("queues", ["default"])
        on_beat = settings.pop("on_beat", lambda longest_s: None)
        on_unknown = settings.pop("on_unknown", lambda name: None)
        self.worker = Worker(
            app.tasks,
            app.connect,
            WorkerSettings(queues=queues, **settings),  # type: ignore[arg-type]
            on_beat=on_beat,  # type: ignore[arg-type]
            on_unknown=on_unknown,  # type: ignore[arg-type]
            middlewares=app.middlewares,
            hooks=app.hooks,
        )
        self.code: int | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="beside")
        self.thread.start()

    def _run(self) -> None:
        try:
            self.code = self.worker.run(signals=False)
        except BaseException as error:
            self.error = error

    def ready(self) -> Beside:
        assert self.worker.ready.wait(WITHIN_S)
        return self

    def stop(self, *, at_once: bool = False) -> None:
        self.worker.stop(at_once=at_once)

    def end(self) -> int:
        """Waits for its end; returns its exit code."""
        self.thread.join(WITHIN_S)
        assert not self.thread.is_alive(), self.worker._stacks()
        if self.error is not None:
            raise self.error
        assert self.code is not None
        return self.code


def wait_for(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """For what nobody signals: states in the broker, ends of other processes."""
    mono_until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < mono_until
        time.sleep(0.01)


class Doorbell:
    """Where other processes tell a test that something has happened; see ``ring``."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "bell")
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)

    def wait(self, text: str, within_s: float = WITHIN_S) -> str:
        """Waits for a word that begins so; returns what follows it."""
        mono_until = time.monotonic() + within_s
        while True:
            for at, heard in enumerate(self.heard):
                if heard.startswith(text):
                    del self.heard[at]
                    return heard.removeprefix(text).strip()
            self._socket.settimeout(max(mono_until - time.monotonic(), 0.001))
            try:
                self.heard.append(self._socket.recv(1_000).decode())
            except TimeoutError:
                raise AssertionError(f"{text!r} was not heard, but {self.heard}") from None

    def fades(self, text: str, quiet_s: float) -> None:
        """Waits until a word has not been heard for so long."""
        for _ in range(100):
            try:
                self.wait(text, quiet_s)
            except AssertionError:
                return
        raise AssertionError(f"{text!r} is heard again and again")

    def close(self) -> None:
        self._socket.close()


def ring(path: str, text: str) -> None:
    """In a task: tells the test."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), path)


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Doorbell]:
    with closing(Doorbell(tmp_path)) as made:
        yield made


Working = Callable[..., AbstractContextManager[Beside]]


@pytest.fixture
def app() -> Iterator[Penstock]:
    application = Penstock("test", broker=f"memory://{new_id()}")
    yield application
    application.close()


@pytest.fixture
def working(app: Penstock) -> Working:
    """``with working() as beside:`` runs a worker for the application until the block ends."""

    @contextmanager
    def run(**settings: object) -> Iterator[Beside]:
        beside = Beside(app, **settings).ready()
        try:
            yield beside
        finally:
            beside.stop(at_once=True)
            beside.end()

    return run
