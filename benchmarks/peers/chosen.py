"""What ``scripts/bench peers --choose`` found best for everybody, as ``chosen.json`` keeps it.

By library: when and on what it was measured, and for each of its settings and kinds of work the choice that was kept
beside the rates of all that were tried.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Choice

FILE = Path(__file__).parent / "chosen.json"
# By library; of each, "settings" by setting and kind of work.
Kept = dict[str, dict[str, Any]]


def load(file: Path = FILE) -> Kept:
    """What was kept; nothing where no choice was measured yet."""
    kept: Kept = json.loads(file.read_text()) if file.exists() else {}
    return kept


def of(kept: Kept, key: str, setting: str) -> dict[str, Choice]:
    """The choices of a setting, by kind of work."""
    kinds = kept.get(key, {}).get("settings", {}).get(setting, {})
    return {kind: Choice(*each["chosen"]) for kind, each in kinds.items()}


def told(kept: Kept, keys: Iterable[str]) -> list[str]:
    """When and on what the choices of these libraries were measured; and for which of them none was."""
    keys = list(keys)
    found = {f"{each['date']}, {each['machine']}" for key, each in kept.items() if key in keys}
    return [*sorted(found), *_without(kept, keys)]


def _without(kept: Kept, keys: Iterable[str]) -> Iterator[str]:
    if missing := ", ".join(key for key in keys if key not in kept):
        yield f"not measured for {missing}, which run the first candidate"
