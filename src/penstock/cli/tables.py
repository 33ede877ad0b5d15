"""Aligned columns, coloured on a terminal, and JSON, on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any, Final

import msgspec

from penstock.cli.terminal import is_coloured, print_coloured, print_coloured_table
from penstock.core.options import utc

_GAP: Final = "  "
_JSON: Final = msgspec.json.Encoder()
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; numbers stand to the right."""
    lines = [list(map(cell, row)) for row in rows]
    numeric = [all(_is_number(line[i]) for line in lines) and bool(lines) for i in range(len(heads))]
    if is_coloured(sys.stdout):
        print_coloured_table(heads, lines, numeric)
        return
    widths = [max(len(line[i]) for line in [list(heads), *lines]) for i in range(len(heads))]
    for line in [list(heads), *lines]:
        cells = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        print(_GAP.join(cells).rstrip())


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each."""
    pairs = [(name, cell(value)) for name, value in fields]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, text in pairs:
        print(f"{name.ljust(width)}{_GAP}{text}".rstrip())


def print_line(text: str, style: str) -> None:
    """A line; on a terminal in this style."""
    if is_coloured(sys.stdout):
        print_coloured(text, style)
    else:
        print(text)


def print_json(value: object) -> None:
    """One JSON value on one line."""
    print(_JSON.encode(value).decode())


async def print_json_array(values: AsyncIterable[Any]) -> None:
    """A JSON array, an element a line, without holding it in memory."""
    opening = "["
    async for value in values:
        print(opening + _JSON.encode(value).decode(), end="")
        opening = ",\n "
    print("[]" if opening == "[" else "]")


def cell(value: object) -> str:
    """A value as text: numbers with thousands apart, one line, no control characters that a terminal would obey."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else " " for character in text)


def shortened(text: str, most: int) -> str:
    """``text``, cut to ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def iso(moment_at: float) -> str | None:
    """A moment in UTC, RFC 3339 with milliseconds; None for 0, the unknown."""
    moment = utc(moment_at)
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ago(moment_at: float, wall_now: float | None = None) -> str:
    """How long ago, or in how long, by this machine's clock; empty for 0, the unknown."""
    if not moment_at:
        return ""
    seconds = (time.time() if wall_now is None else wall_now) - moment_at
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A duration in its largest sensible unit."""
    for size, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _is_number(text: str) -> bool:
    return not text or text.replace(",", "").replace(".", "").isdigit()
