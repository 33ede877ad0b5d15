"""A task called plainly: its function, with what a worker would inject passed by the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

import pytest

from penstock import INJECTED, InvalidArguments, Penstock

app = Penstock("plain", broker="memory://plain")


@app.resource
def number() -> Iterator[int]:
    yield 1


@app.task(name="uses")
def uses(a: int, c: Annotated[int, number] = INJECTED) -> int:
    return a + c


@app.task(name="awaits")
async def awaits(*, c: Annotated[int, number] = INJECTED, d: Annotated[int, number] = INJECTED) -> int:
    return c + d


def test_what_a_worker_injects_is_passed_or_asked_for() -> None:
    assert uses(1, c=2) == uses(1, 2) == 3
    assert asyncio.run(awaits(c=1, d=2)) == 3
    with pytest.raises(InvalidArguments) as caught:
        uses(1)
    assert str(caught.value) == "uses: a worker injects c; a plain call must pass c=..."
    with pytest.raises(
        InvalidArguments, match=r"^awaits: a worker injects c, d; a plain call must pass c=\.\.\., d"
    ):
        awaits()
    with pytest.raises(InvalidArguments, match=r"injects d; "):
        awaits(c=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        uses(1, wrong=2)  # type: ignore[call-arg]
    with pytest.raises(InvalidArguments, match="is injected; do not pass it"):
        uses.delay(1, c=2)
