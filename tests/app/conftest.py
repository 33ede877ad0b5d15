"""An application on a memory broker of its own, and a worker beside it in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from penstock import Penstock
from penstock.ids import new_id
from penstock.runtime.worker import Worker
from penstock.runtime.worker_settings import WorkerSettings

Working = Callable[..., AbstractContextManager[Worker]]


@pytest.fixture
def app() -> Iterator[Penstock]:
    application = Penstock("test", broker=f"memory://{new_id()}")
    yield application
    application.close()


@pytest.fixture
def working(app: Penstock) -> Working:
    """``with working():`` runs a worker for the application until the block ends."""

    @contextmanager
    def run(**settings: object) -> Iterator[Worker]:
        queues = settings.pop("queues", ["default", "mail", "bulk"])
        worker = Worker(app.tasks, app.connect, WorkerSettings(queues=queues, **settings))  # type: ignore[arg-type]
        thread = threading.Thread(target=worker.run, kwargs={"signals": False})
        thread.start()
        assert worker.ready.wait(10)
        try:
            yield worker
        finally:
            worker.stop()
            thread.join(10)
            assert not thread.is_alive()

    return run
