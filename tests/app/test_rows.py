"""A row of ``delay_many`` that does not fit: which one, and what is stored already."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock import InvalidArguments, PayloadTooLarge, Penstock
from penstock.producer import SLICE
from tests.app.test_producer import count


@pytest.mark.parametrize("many", ["delay_many", "adelay_many"])
@pytest.mark.parametrize(
    ("row", "stored", "told"),
    [
        (0, 0, "no row is stored"),
        (SLICE - 1, 0, "no row is stored"),
        (3 * SLICE + 7, 3 * SLICE, "the first 1,500 rows are stored, no other"),
    ],
)
def test_its_number_and_what_is_stored_are_told(
    app: Penstock, many: str, row: int, stored: int, told: str
) -> None:
    @app.task(name="add")
    def add(a: int) -> int:
        return a

    rows: list[Any] = [(n,) for n in range(row)] + [("bad",), (1,)]

    async def on_a_loop() -> None:
        await add.adelay_many(rows)

    with pytest.raises(InvalidArguments) as caught:
        add.delay_many(rows) if many == "delay_many" else asyncio.run(on_a_loop())
    assert str(caught.value) == f"row {row}: add: argument 'a': expected int, got str; {told}"
    assert asyncio.run(count(app)) == stored


def test_a_row_that_is_too_large_or_no_row_is_told_likewise(app: Penstock) -> None:
    @app.task(name="say")
    def say(word: str) -> None: ...

    with pytest.raises(PayloadTooLarge, match=r"^row 1: say: the job's body is .* no row is stored$"):
        say.delay_many([("a",), ("b" * app.max_body,)])
    with pytest.raises(InvalidArguments, match=r"^row 0: say: delay_many takes .* not str; no row"):
        say.delay_many(["word"])
