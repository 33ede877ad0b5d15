"""Reads the statements from their files: ``-- [name] what it does. ?1 what, ?2 what`` above each of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "sql"
_HEAD = re.compile(r"^-- \[(\w+)\].*$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


def script(name: str) -> str:
    """The file ``name``.sql whole."""
    return (_FOLDER / f"{name}.sql").read_text("utf-8")


def statements(name: str) -> dict[str, str]:
    """The statements of the file ``name``.sql by their names."""
    _, *parts = _HEAD.split(script(name))
    # The text of each goes to the prepared statement's cache and is compared there at every call: keep it short.
    return {
        name: " ".join(_COMMENT.sub("", text).split())
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
