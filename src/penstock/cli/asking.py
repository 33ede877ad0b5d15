"""Asks a broker something for a command: opens it, gives up where nobody answers, closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from penstock.brokers import Address, connect, inspector
from penstock.cli.holding import held_back
from penstock.cli.target import Target
from penstock.errors import BrokerUnavailable, ConfigError
from penstock.ports.broker import Broker
from penstock.ports.inspector import Inspector

T = TypeVar("T")

GIVE_UP_AFTER_S: Final = 5.0


class Opened(NamedTuple):
    """A broker that answers.

    Attributes:
        broker: It moves jobs.
        inspector: The same, to look and to act.
        warnings: What it said when it was opened.
    """

    broker: Broker
    inspector: Inspector
    warnings: list[str]


def ask(target: Target, question: Callable[[Opened], Awaitable[T]], *, make: bool = False) -> T:
    """Opens the broker that ``target`` names, puts the question, and closes it.

    Args:
        target: What the command is about.
        question: Is given the open broker.
        make: Make a SQLite file that is not there yet, as enqueueing does.

    Raises:
        ConfigError: The broker's URL, or what it is asked to do, cannot work.
        BrokerUnavailable: It does not answer within 5 s.
    """
    return ask_at(target.address(), question, make=make)


def ask_at(address: Address, question: Callable[[Opened], Awaitable[T]], *, make: bool = False) -> T:
    """``ask`` for the broker at this address."""
    runner = asyncio.Runner()
    try:
        with held_back():  # Ctrl-C would leave half a loop behind, which complains as it goes
            runner.get_loop()
        return runner.run(_ask(address, question, make))
    finally:
        runner.close()


async def _ask(address: Address, question: Callable[[Opened], Awaitable[T]], make: bool) -> T:
    if not make:
        _there(address)
    broker = connect(address)
    if not broker.capabilities.shared:
        raise ConfigError(f"{address.shown()} lives inside one process; a command cannot look into it")
    try:
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            warnings = await broker.open()
        return await question(Opened(broker, inspector(broker), list(warnings)))
    except TimeoutError as error:
        raise BrokerUnavailable(f"{address.shown()}: no answer within {GIVE_UP_AFTER_S:g} s") from error
    finally:
        await broker.close()


def _there(address: Address) -> None:
    """Looking makes no file: one in the wrong folder would look like an empty broker."""
    if address.scheme == "sqlite":
        file = Path(address.url.removeprefix("sqlite:///"))
        if not file.exists():
            raise BrokerUnavailable(
                f"there is no file {file}: nothing was enqueued there yet, or the broker is another one (-A or -b)"
            )
