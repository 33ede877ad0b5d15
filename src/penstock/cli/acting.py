"""What ``retry``, ``cancel`` and ``purge`` have in common: ids or a filter, a look first, a question, slices."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import click

from penstock.cli.asking import Opened, ask
from penstock.cli.exits import Exit
from penstock.cli.filters import filters
from penstock.cli.tables import cell, count
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.core.job import JobRecord, queue_of
from penstock.core.lifecycle import JobState
from penstock.listing import Filter, call_of

F = TypeVar("F", bound=Callable[..., Any])

# While workers take from a line, a slice may skip what moved up; another pass finds it.
PASSES: Final = 5
_COUNT_TO: Final = 10_000


@dataclass(frozen=True)
class Action:
    """A verb and what it applies to.

    Attributes:
        verb: For the question: ``cancel``.
        done: For the answer: ``cancelled``.
        states: Where a filter looks that names no states.
        possible: The states that it applies to.
        act: Carries it out; returns the ids that it applied to.
        passes: How often a filter's jobs are looked for, while there are any.
        skip: Tells the jobs of a filter that it was carried out on already.
        asks_running: Jobs that run are only asked; they are counted apart.
        wants_yes: On a filter it wants ``--yes`` where nobody is there to be asked.
    """

    verb: str
    done: str
    states: tuple[JobState, ...]
    possible: frozenset[JobState]
    act: Callable[[Opened, Sequence[JobRecord]], Awaitable[Sequence[str]]]
    passes: int = 1
    skip: Callable[[JobRecord], bool] = lambda _record: False
    asks_running: bool = False
    wants_yes: bool = False

    async def carried_out(self, opened: Opened, records: Sequence[JobRecord]) -> Applied:
        """Acts on these; tells which of them it applied to, and how many of those it has only asked."""
        ids = set(await self.act(opened, records)) if records else set[str]()
        asked = [record for record in records if record.id in ids and record.state is JobState.RUNNING]
        return Applied(ids, len(asked) if self.asks_running else 0)


class Applied(NamedTuple):
    """What an action applied to: the ids, and how many of them were only asked to end."""

    ids: set[str]
    asked: int


def _asked(number: int) -> str:
    return f"; asked {count(number, 'running job')} to stop (a thread decides itself)" if number else ""


def choosing(function: F) -> F:
    """The options of an action: ids or a filter, ``--dry-run`` and ``--yes``."""
    decorated: Any = function
    for decorate in (
        click.option("--yes", is_flag=True, help="Do not ask about a filter."),
        click.option("--dry-run", is_flag=True, help="Show the jobs that are meant and change nothing."),
        filters,
        click.argument("ids", nargs=-1),
        words,
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]  # the same callable, decorated


def carry_out(
    target: Target, action: Action, ids: tuple[str, ...], chosen: Filter, *, dry_run: bool, yes: bool
) -> int:
    """Runs an action on the jobs that were named; returns the exit code.

    Raises:
        click.UsageError: Neither ids nor a filter were given, or both.
        ConfigError: An id is none, or a state cannot be acted on so.
    """
    if not ids and not chosen.names_any:
        raise click.UsageError(f"{action.verb} which jobs? give their ids or a filter such as --queue mail")
    if ids and chosen.names_any:
        raise click.UsageError(f"{action.verb} which jobs? give their ids or a filter, not both")
    for state in chosen.states:
        if state not in action.possible:
            raise click.UsageError(
                f"--state {state}: {action.verb} is for {', '.join(sorted(action.possible))}"
            )
    if ids:
        for id in ids:
            queue_of(id)
        return ask(target, lambda opened: _named(opened, action, list(dict.fromkeys(ids)), dry_run))
    if action.wants_yes and not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError(
            f"{action.verb} on a filter asks first, and without a terminal nobody can answer: say --yes, or look with "
            "--dry-run"
        )
    return ask(target, lambda opened: _filtered(opened, action, chosen, dry_run, yes))


async def _named(opened: Opened, action: Action, ids: list[str], dry_run: bool) -> int:
    """The jobs with these ids. One that is not there or not in a state for it makes the exit code 1."""
    records: list[JobRecord] = []
    refused = 0
    for id in ids:
        record = await opened.inspector.get(id)
        if record is not None and record.state in action.possible:
            records.append(record)
            continue
        refused += 1
        why = (
            "no such job is stored"
            if record is None
            else f"it is {record.state}; {action.verb} does not apply"
        )
        click.echo(f"{id}: {why}", err=True)
    if dry_run:
        _list(records)
        return Exit.FAILED if refused else Exit.DONE
    applied, asked = await action.carried_out(opened, records)
    for record in records:
        if record.id not in applied:
            click.echo(f"{record.id}: it has moved on meanwhile; look again", err=True)
    print(f"{action.done} {len(applied) - asked:,} of {count(len(ids), 'job')}{_asked(asked)}")
    return Exit.DONE if len(applied) == len(ids) else Exit.FAILED


async def _filtered(opened: Opened, action: Action, chosen: Filter, dry_run: bool, yes: bool) -> int:
    if dry_run:
        meant = 0
        async for records in chosen.scan(opened.inspector, action.states):
            _list(records)
            meant += len(records)
        print(f"{count(meant, 'job')}; nothing was changed")
        return Exit.DONE
    if not yes and sys.stdin.isatty() and not await _confirmed(opened, action, chosen):
        print("nothing was changed")
        return Exit.FAILED
    total = asked = 0
    for _ in range(action.passes):
        before = total
        async for records in chosen.scan(opened.inspector, action.states):
            applied = await action.carried_out(opened, [each for each in records if not action.skip(each)])
            total += len(applied.ids)
            asked += applied.asked
        if total == before:
            break
    print(f"{action.done} {count(total - asked, 'job')}{_asked(asked)}")
    return Exit.DONE


async def _confirmed(opened: Opened, action: Action, chosen: Filter) -> bool:
    meant = await _meant(chosen.scan(opened.inspector, action.states))
    if not meant:
        return True
    many = f"more than {_COUNT_TO:,} jobs" if meant > _COUNT_TO else count(meant, "job")
    return click.confirm(f"{action.verb} {many}?")


async def _meant(slices: AsyncIterator[list[JobRecord]]) -> int:
    meant = 0
    async for records in slices:
        meant += len(records)
        if meant > _COUNT_TO:
            break
    return meant


def _list(records: Sequence[JobRecord]) -> None:
    for record in records:
        print(f"{record.id}  {cell(call_of(record).task or '(undecodable)')}  {record.state}")
