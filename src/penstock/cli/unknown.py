"""What to say about a job whose task this worker does not know: mostly a module imported under another name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.app import Penstock


def advice(app: Penstock, name: str) -> str:
    """What would make ``name`` known: the ``-A`` that fits, a near name, or where to look."""
    module, _, attribute = app.reference.partition(":")
    for known in app.tasks:
        if name.endswith(f".{known}"):
            prefix = name[: -len(known) - 1]
            return _other(known, f"{prefix}.{module}:{attribute}", "from the folder above")
        if known.endswith(f".{name}"):
            prefix = known[: -len(name)]
            if module.startswith(prefix):
                folder = prefix.rstrip(".").replace(".", "/")
                return _other(
                    known, f"{module.removeprefix(prefix)}:{attribute}", f"from the folder {folder}"
                )
    near = difflib.get_close_matches(name, list(app.tasks), n=3)
    if near:
        return f"it knows {', '.join(near)}"
    return "start a worker whose application defines it, or keep its queue from this one with -Q"


def _other(known: str, reference: str, where: str) -> str:
    return (
        f"it knows {known}, the same function of a module imported under another name: "
        f"start it with -A {reference} ({where}), or give the task a name=..."
    )
