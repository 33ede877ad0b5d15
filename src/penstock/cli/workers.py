"""``penstock workers``: who runs jobs; and orders to one of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import click
import msgspec
from click.shell_completion import CompletionItem

from penstock.cli.asking import Opened, ask
from penstock.cli.completing import complete
from penstock.cli.exits import Exit
from penstock.cli.guessing import near
from penstock.cli.tables import ago, cell, iso, print_json, print_table
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.errors import ConfigError
from penstock.ports.broker import WorkerCard

VERBS: Final = ("quiet", "resume", "stop", "dump")
_LOOK_EVERY_S: Final = 0.05
# As in a worker's own log lines: the milliseconds of its start.
SHORT_ID: Final = 13


class Answered(msgspec.Struct):
    """What ``--json`` tells of an order to one worker.

    Attributes:
        id: The worker's.
        verb: The order.
        done: Whether it was carried out.
        answer: What the worker said, or why it said nothing.
    """

    id: str
    verb: str
    done: bool
    answer: str


def _offer(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[Any]]:
    given: tuple[str, ...] = context.params.get("given") or ()
    if given and given[-1] in VERBS:
        return []
    ids = not context.params.get("everybody")
    return [
        each
        for each in complete("worker_words")(context, parameter, begun)
        if each.value in VERBS or (ids and each.value not in given)
    ]


@click.command()
@words
@click.argument("given", metavar="[ID]... [VERB]", nargs=-1, shell_complete=_offer)
@click.option("--all", "everybody", is_flag=True, help="An order to every worker.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=30.0, show_default=True,
              help="Seconds that the worker has to carry the order out; then it expires.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@click.pass_obj
def command(target: Target, /, given: tuple[str, ...], everybody: bool, wait_s: float, as_json: bool) -> int:
    """Who runs jobs; with ids (their beginnings are enough) or --all and a verb, an order to those workers.

    quiet takes nothing new, resume goes on, stop drains and ends, dump prints every stack.
    """
    if not given and not everybody:
        ask(target, lambda opened: _show(opened, as_json))
        return Exit.DONE
    ids, verb = _words(given, everybody)
    return ask(target, lambda opened: _order(opened, ids, verb, wait_s, as_json))


def _words(given: tuple[str, ...], everybody: bool) -> tuple[Sequence[str], str]:
    """Ids, none for all of them, and a verb."""
    verbs = ", ".join(VERBS)
    if everybody:
        if len(given) != 1 or given[0] not in VERBS:
            guess = near(given[-1], VERBS) if given and given[-1] not in VERBS else ""
            raise click.UsageError(f"--all: what shall the workers do? one of {verbs}, and no ids{guess}")
        return (), given[0]
    *ids, verb = given
    if not ids and verb in VERBS:
        raise click.UsageError(f"{verb} which workers? give the beginnings of their ids, or --all")
    if verb not in VERBS:
        guess = near(verb, VERBS)
        if len(given) == 1 and not guess:
            raise click.UsageError(f"what shall worker {verb} do? one of {verbs}")
        raise click.UsageError(f"{verb!r} is not one of the orders: {verbs}{guess}")
    return ids, verb


async def _show(opened: Opened, as_json: bool) -> None:
    workers = sorted(await opened.inspector.workers(), key=lambda card: (card.started_at, card.id))
    if as_json:
        print_json([_shown(card) for card in workers])
        return
    if not workers:
        print("no worker is running")
        return
    short = len({card.id[:SHORT_ID] for card in workers}) == len(workers)
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
        [_row(card, card.id[:SHORT_ID] if short else card.id) for card in workers],
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


async def _order(opened: Opened, ids: Sequence[str], verb: str, wait_s: float, as_json: bool) -> int:
    there = await opened.inspector.workers()
    cards = list({card.id: card for card in (_find(there, id) for id in ids)}.values()) if ids else there
    orders = {card.id: await opened.inspector.command(card.id, verb, wait_s) for card in cards}
    told = [answer async for answer in answers(opened, orders, verb, wait_s)]
    if as_json:
        print_json(told)
    elif not told:
        print("no worker is running")
    for each in () if as_json else told:
        # Of one, its own words; of several, whose they are.
        whose = f"{each.id[:SHORT_ID]}  " if len(cards) > 1 else ""
        for line in each.answer.splitlines():
            click.echo(f"{whose}{cell(line)}", err=not each.done)
    return Exit.DONE if all(each.done for each in told) else Exit.FAILED


async def answers(
    opened: Opened, orders: dict[str, str], verb: str, wait_s: float
) -> AsyncIterator[Answered]:
    """What becomes of each order, as it is known."""
    waiting, mono_until = dict(orders), time.monotonic() + wait_s
    while waiting:
        late = time.monotonic() >= mono_until
        there = {card.id for card in await opened.inspector.workers()}
        for id, order in list(waiting.items()):
            # Looked at after the list: who has gone since can have answered before.
            answer = await opened.inspector.answer(order)
            if answer is not None:
                yield Answered(id, verb, True, answer)
            elif id not in there:
                # A lost one is listed until its jobs are taken back; this one has ended, as a stop wants it to.
                yield Answered(id, verb, verb == "stop", f"worker {id} has stopped meanwhile")
            elif late:
                yield Answered(
                    id, verb, False, f"worker {id} has not answered in {wait_s:g} s; the order is void"
                )
            else:
                continue
            del waiting[id]
        if waiting:
            await asyncio.sleep(_LOOK_EVERY_S)


def _find(workers: Sequence[WorkerCard], id: str) -> WorkerCard:
    found = [card for card in workers if card.id.startswith(id)]
    match found:
        case [card]:
            return card
        case []:
            there = ", ".join(card.id[:SHORT_ID] for card in workers) or "none"
            raise ConfigError(f"no worker's id begins with {id!r}; there are: {there}")
        case _:
            raise ConfigError(
                f"several workers' ids begin with {id!r}: {', '.join(card.id for card in found)}"
            )
