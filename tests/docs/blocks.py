"""The fenced blocks of a Markdown page: what stands in them, where, and what is to be done with each.

A block's language says how it is tried:

- ``python`` with a title (``python title="tasks.py"``, or the first line ``# tasks.py``) becomes that file; a title
  that ends in `` (added)`` goes to the end of a file of before. Without a title it is run, after those before it.
- ``pycon`` is run as a session of ``>>>`` lines, whose output is compared.
- ``console`` is typed into a shell; see ``page.py``.
- ``toml``, ``json``, ``yaml`` and ``ini`` are parsed, and become a file where they have a title.
- ``dockerfile``, ``html``, ``mermaid``, ``sql`` and ``text`` are only shown, and become a file where they have a title.

``<!-- skip: reason -->`` on the line above leaves a block out.

What would be shown as code and be seen by nobody is refused: indented code, code in a ``> `` quote or behind a list's
marker, ``<pre>``. So is a comment that tells what a line of Python gives, since nobody would compare it.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final, NamedTuple

RUN: Final = frozenset({"python", "pycon", "console"})
PARSED: Final = frozenset({"toml", "json", "yaml", "ini"})
SHOWN: Final = frozenset({"dockerfile", "html", "mermaid", "sql", "text"})
ADDED: Final = " (added)"

_FENCE: Final = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_SKIP: Final = re.compile(r"^\s*<!--\s*skip:(?P<reason>.*)-->\s*$")
_TITLE: Final = re.compile(r'\btitle="(?P<title>[^"]+)"')
_FILE: Final = re.compile(r"^# (?P<title>[\w./-]+\.py(?: \(added\))?)$")
_LIST: Final = re.compile(r"^ *(?:[-*+]|\d+[.)]) ")
# Code that this reader would not find, and what to do instead.
_UNSEEN: Final = {
    re.compile(r"^[ \t]*>[> \t]*(?:`{3}|~{3})|^ *> {5}"): "code in a quote is run by nobody; put it outside",
    re.compile(
        r"^ *(?:[-*+]|\d+[.)]) +(?:`{3}|~{3})"
    ): "code behind a list's marker is run by nobody; begin a line",
    re.compile(r"^ *\t"): "a tab at its beginning can make code of it that is run by nobody; use spaces",
    re.compile(r"<pre\b", re.IGNORECASE): "<pre> is run by nobody; use a fence",
}
# A comment of what a line of Python prints or returns.
_TOLD: Final = re.compile(r"#\s*(?:->|=>|→|>>>|prints?\b|outputs?\b|returns?\b)")


class Malformed(Exception):
    """A page whose blocks cannot be read; the text says where and what to do."""


class Block(NamedTuple):
    """One fenced block: the page's line of its first line of text, its language, its title, and why it is left out."""

    page: str
    line: int
    language: str
    title: str | None
    text: str
    skipped: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(file: Path, page: str) -> list[Block]:
    """The blocks of a page, in its order.

    Raises:
        Malformed: A fence has no language, one that nobody runs, or no end; a skip gives no reason; what is typed has
            a title; code stands where it is not seen; a comment tells what Python gives.
    """
    found: list[Block] = []
    lines = file.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opened = _FENCE.match(lines[number])
        if opened is None:
            _refuse_unseen(lines, number, page)
            number += 1
            continue
        first = number + 1
        number = _end(lines, first, opened, f"{page}:{first}")
        text = dedent("\n".join(lines[first:number])) + "\n"
        above = lines[first - 2] if first >= 2 else ""
        found.append(_block(page, first + 1, opened["info"].strip(), text, above))
        number += 1
    return found


def _end(lines: list[str], first: int, opened: re.Match[str], place: str) -> int:
    for number in range(first, len(lines)):
        closed = lines[number].strip()
        if closed.startswith(opened["fence"]) and not closed.strip(opened["fence"][0]):
            return number
    raise Malformed(f"{place}: this fence has no end")


def _block(page: str, line: int, info: str, text: str, above: str) -> Block:
    place = f"{page}:{line - 1}"
    language = info.split(" ", 1)[0]
    if not language:
        raise Malformed(f'{place}: this block names no language; use "text" for what is only shown')
    if language not in RUN | PARSED | SHOWN:
        raise Malformed(
            f"{place}: nobody runs {language!r}; there are {', '.join(sorted(RUN | PARSED | SHOWN))}"
        )
    skip = _SKIP.match(above)
    if skip is not None and not skip["reason"].strip():
        raise Malformed(f"{place}: say why it is left out: <!-- skip: reason -->")
    if language == "python" and skip is None:
        _refuse_told(text, page, line)
    titled = _TITLE.search(info) or (_FILE.match(text.split("\n", 1)[0]) if language == "python" else None)
    if titled and language in {"console", "pycon"}:
        raise Malformed(f"{place}: what is typed becomes no file; leave its title out")
    return Block(
        page,
        line,
        language,
        titled["title"] if titled else None,
        text,
        skip["reason"].strip() if skip else None,
    )


def _refuse_told(text: str, page: str, line: int) -> None:
    for token in _tokens(text):
        if token.type == tokenize.COMMENT and _TOLD.match(token.string):
            place = f"{page}:{line + token.start[0] - 1}"
            raise Malformed(
                f"{place}: nobody compares this comment; show what comes in a pycon block, or assert it"
            )


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    except (tokenize.TokenError, SyntaxError):
        return  # it does not compile either: that is told where it is tried


def _refuse_unseen(lines: list[str], number: int, page: str) -> None:
    for unseen, instead in _UNSEEN.items():
        if unseen.search(
            re.sub(r"`[^`]*`(?!`)", "", lines[number]) if "<pre" in unseen.pattern else lines[number]
        ):
            raise Malformed(f"{page}:{number + 1}: {instead}")
    _refuse_indented(lines, number, page)


def _refuse_indented(lines: list[str], number: int, page: str) -> None:
    """Four spaces after an empty line make a block that has no language and that nobody would run."""
    if not lines[number].startswith("    ") or (number and lines[number - 1].strip()):
        return
    before = next((line for line in reversed(lines[:number]) if line.strip()), "")
    if not before.startswith(" ") and not _LIST.match(before):
        raise Malformed(f"{page}:{number + 1}: indented code is run by nobody; put it between ``` fences")
