"""``penstock workers``: who runs jobs; and orders to one of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import click
import msgspec

from penstock.cli.asking import Opened, ask
from penstock.cli.exits import Exit
from penstock.cli.tables import ago, cell, iso, print_json, print_table
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.errors import ConfigError
from penstock.ports.broker import WorkerCard

VERBS: Final = ("quiet", "resume", "stop", "dump")
_LOOK_EVERY_S: Final = 0.05
# As in a worker's own log lines: the milliseconds of its start.
_SHORT_ID: Final = 13


@click.command()
@words
@click.argument("id", required=False)
@click.argument("verb", required=False, type=click.Choice(VERBS))
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=30.0, show_default=True,
              help="Seconds that the worker has to carry the order out; then it expires.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def command(target: Target, /, id: str | None, verb: str | None, wait_s: float, as_json: bool) -> int:
    """Who runs jobs; with an id (its beginning is enough) and a verb, an order to that worker.

    quiet takes nothing new, resume goes on, stop drains and ends, dump prints every stack.
    """
    if id is not None and verb is None:
        raise click.UsageError(f"what shall worker {id} do? one of {', '.join(VERBS)}")
    if id is None or verb is None:
        ask(target, lambda opened: _show(opened, as_json))
        return Exit.DONE
    return ask(target, lambda opened: _order(opened, id, verb, wait_s))


async def _show(opened: Opened, as_json: bool) -> None:
    workers = sorted(await opened.inspector.workers(), key=lambda card: (card.started_at, card.id))
    if as_json:
        print_json([_shown(card) for card in workers])
        return
    if not workers:
        print("no worker is running")
        return
    short = len({card.id[:_SHORT_ID] for card in workers}) == len(workers)
    print_table(
        [
            "id",
            "app",
            "host:pid",
            "state",
            "queues",
            "running",
            "done",
            "not done",
            "lost",
            "started",
            "seen",
        ],
        [_row(card, card.id[:_SHORT_ID] if short else card.id) for card in workers],
    )


def _row(card: WorkerCard, id: str) -> tuple[object, ...]:
    return (
        *(id, card.app, f"{card.host}:{card.pid}", card.state, ",".join(card.queues)),
        *(f"{card.running} of {card.concurrency}", card.done, card.failed, card.lost),
        *(ago(card.started_at), ago(card.seen_at)),
    )


def _shown(card: WorkerCard) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(card),
        "started_at": iso(card.started_at),
        "seen_at": iso(card.seen_at),
    }


async def _order(opened: Opened, id: str, verb: str, wait_s: float) -> int:
    worker = _find(await opened.inspector.workers(), id)
    order = await opened.inspector.command(worker.id, verb, wait_s)
    mono_until = time.monotonic() + wait_s
    while True:
        answer = await opened.inspector.answer(order)
        if answer is not None:
            for line in answer.splitlines():
                print(cell(line))
            return Exit.DONE
        if time.monotonic() >= mono_until:
            click.echo(f"worker {worker.id} has not answered in {wait_s:g} s; the order is void", err=True)
            return Exit.FAILED
        await asyncio.sleep(_LOOK_EVERY_S)


def _find(workers: Sequence[WorkerCard], id: str) -> WorkerCard:
    found = [card for card in workers if card.id.startswith(id)]
    match found:
        case [card]:
            return card
        case []:
            there = ", ".join(card.id[:_SHORT_ID] for card in workers) or "none"
            raise ConfigError(f"no worker's id begins with {id!r}; there are: {there}")
        case _:
            raise ConfigError(
                f"several workers' ids begin with {id!r}: {', '.join(card.id for card in found)}"
            )
