"""An application with tasks of both kinds, so that its worker shares the slots between two lanes."""

from __future__ import annotations

from benchmarks import noop_app
from penstock import Penstock

app = Penstock("noop_mixed")


@app.task(name="noop", result_ttl=0)
def noop(number: int, address: str) -> None:
    """Nothing, and nothing is kept."""
    noop_app.count()


@app.task(name="noop_async", result_ttl=0)
async def noop_async(number: int, address: str) -> None:
    """Nothing, as a coroutine."""
    noop_app.count()


@app.task(name="told", result_ttl=0)
def told(path: str) -> None:
    """See ``noop_app.told``."""
    noop_app.tell(path)
