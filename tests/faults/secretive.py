"""Tasks whose arguments nobody else may see, in every shape that a validator likes to quote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pydantic

from penstock import Penstock, Reject, Retry, RetryLater, current_job

app = Penstock("secretive")


class Colour(Enum):
    RED = "red"


class Known(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: int


@dataclass
class Record:
    name: str
    size: int


class Table(TypedDict):
    name: int


@app.task(retry=False)
def text(value: str) -> str:
    return value


@app.task(retry=Retry(attempts=2, base=0.01))
def fails(value: str) -> None:
    raise ValueError("on purpose")


@app.task(retry=False)
def rejects(value: str) -> None:
    raise Reject("on purpose")


@app.task
def later(value: str) -> None:
    raise RetryLater(0.05)


@app.task(retry=False, timeout=0.2)
def too_long(value: str) -> None:
    while not current_job().cancelled():
        pass


@app.task(retry=False, lane="process")
def child(value: str) -> None:
    raise SystemExit(3)


@app.task(retry=False)
async def coroutine(value: str) -> None:
    raise KeyError


@app.task(retry=False)
def result_that_cannot_be(value: str) -> Any:
    return object()


@app.task(retry=False)
def colour(value: Colour) -> None: ...


@app.task(retry=False)
def literal(value: Literal["red", "blue"]) -> None: ...


@app.task(retry=False)
def known(value: Known) -> None: ...


@app.task(retry=False)
def model(value: Model) -> None: ...


@app.task(retry=False)
def record(value: Record) -> None: ...


@app.task(retry=False)
def table(value: Table) -> None: ...


@app.task(retry=False)
def moment(value: datetime) -> None: ...


@app.task(retry=False)
def number(value: Decimal) -> None: ...


@app.task(retry=False)
def uuid(value: UUID) -> None: ...


@app.task(retry=False)
def anything(value) -> None: ...  # type: ignore[no-untyped-def]
