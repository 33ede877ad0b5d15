"""What there is to be offered to a shell; ``completing.py`` bounds it in time and keeps it silent."""

from __future__ import annotations

from typing import Final

from penstock.cli.asking import Opened, ask
from penstock.cli.target import Target
from penstock.cli.workers import SHORT_ID, VERBS
from penstock.errors import PenstockError

Found = list[tuple[str, str]]
"""Words, each with what it means."""

_VERB_MEANINGS: Final = dict(
    zip(VERBS, ("take nothing new", "go on", "drain and end", "print every stack"), strict=True)
)


def queues(target: Target) -> Found:
    """Every queue that has held a job."""

    async def look(opened: Opened) -> Found:
        return [(each.queue, f"{each.ready:,} ready") for each in await opened.inspector.queues()]

    return ask(target, look)


def worker_words(target: Target) -> Found:
    """The workers' ids as they are shown, and what can be ordered."""

    async def look(opened: Opened) -> Found:
        cards = await opened.inspector.workers()
        return [(card.id[:SHORT_ID], f"{card.app} {card.host}:{card.pid} {card.state}") for card in cards]

    try:
        ids = ask(target, look)
    except PenstockError:
        ids = []
    return [*ids, *_VERB_MEANINGS.items()]


def tasks(target: Target) -> Found:
    """The tasks of the application, where one is named."""
    if target.reference is None:
        return []
    app = target.app()
    return [(name, f"queue {spec.queue or app.default_queue}") for name, spec in app.tasks.items()]
