"""What ``retry``, ``cancel`` and ``purge`` have in common: ids or a filter, a look first, a question, slices."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import click
import msgspec

from penstock.cli.asking import Opened, ask
from penstock.cli.described import shown
from penstock.cli.exits import Exit
from penstock.cli.filters import filters
from penstock.cli.tables import cell, count, print_json, print_json_array
from penstock.cli.target import Target
from penstock.cli.terminal import bar
from penstock.cli.unserved import tell_unknown
from penstock.cli.words import words
from penstock.core.job import JobRecord, queue_of
from penstock.core.lifecycle import JobState
from penstock.listing import Filter, Scan, call_of

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
    """The options of an action: ids or a filter, ``--dry-run``, ``--yes`` and ``--json``."""
    decorated: Any = function
    for decorate in (
        click.option(
            "--json", "as_json", is_flag=True, help="What was done as a JSON object; with --dry-run the jobs."
        ),
        click.option("--yes", is_flag=True, help="Do not ask about a filter."),
        click.option("--dry-run", is_flag=True, help="Show the jobs that are meant and change nothing."),
        filters,
        click.argument("ids", nargs=-1),
        words,
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]  # the same callable, decorated


def carry_out(
    target: Target,
    action: Action,
    ids: tuple[str, ...],
    chosen: Filter,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
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
        return ask(target, lambda opened: _named(opened, action, list(dict.fromkeys(ids)), dry_run, as_json))
    if action.wants_yes and not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError(
            f"{action.verb} on a filter asks first, and without a terminal nobody can answer: say --yes, or look with "
            "--dry-run"
        )
    return ask(
        target,
        lambda opened: _filtered(opened, action, chosen, dry_run=dry_run, yes=yes, as_json=as_json),
    )


class Refused(NamedTuple):
    """A job that was named and that nothing was done to."""

    id: str
    why: str


class Told(msgspec.Struct):
    """What an action says with ``--json``.

    Attributes:
        action: ``retry``, ``cancel`` or ``purge``.
        applied: Jobs that it applied to.
        asked: Those of them that run, and were only asked to end.
        refused: Of the jobs that were named, those that it did not apply to: ``id`` and ``why``.
    """

    action: str
    applied: int
    asked: int
    refused: list[dict[str, str]]


async def _named(opened: Opened, action: Action, ids: list[str], dry_run: bool, as_json: bool) -> int:
    """The jobs with these ids. One that is not there or not in a state for it makes the exit code 1."""
    records: list[JobRecord] = []
    refused: list[Refused] = []
    for id in ids:
        record = await opened.inspector.get(id)
        if record is None:
            refused.append(Refused(id, "no such job is stored"))
        elif record.state not in action.possible:
            refused.append(Refused(id, f"it is {record.state}; {action.verb} does not apply"))
        else:
            records.append(record)
    if dry_run:
        _complain(refused)
        await _list(_one(records), as_json)
        return Exit.FAILED if refused else Exit.DONE
    applied, asked = await action.carried_out(opened, records)
    refused += [
        Refused(record.id, "it has moved on meanwhile; look again")
        for record in records
        if record.id not in applied
    ]
    _complain(refused)
    if as_json:
        print_json(Told(action.verb, len(applied), asked, [each._asdict() for each in refused]))
    else:
        print(f"{action.done} {len(applied) - asked:,} of {count(len(ids), 'job')}{_asked(asked)}")
    return Exit.DONE if len(applied) == len(ids) else Exit.FAILED


def _complain(refused: Sequence[Refused]) -> None:
    for id, why in refused:
        click.echo(f"{id}: {why}", err=True)


async def _filtered(
    opened: Opened, action: Action, chosen: Filter, *, dry_run: bool, yes: bool, as_json: bool
) -> int:
    await tell_unknown(opened, chosen.queues)
    if dry_run:
        meant = await _list(chosen.scan(opened.inspector, action.states), as_json)
        if not as_json:
            print(f"{count(meant, 'job')}; nothing was changed")
        return Exit.DONE
    if not yes and sys.stdin.isatty() and not await _confirmed(opened, action, chosen):
        click.echo("nothing was changed", err=as_json)
        if as_json:
            print_json(Told(action.verb, 0, 0, []))
        return Exit.FAILED
    total, asked = await _all_of(opened, action, chosen)
    if as_json:
        print_json(Told(action.verb, total, asked, []))
    else:
        print(f"{action.done} {count(total - asked, 'job')}{_asked(asked)}")
    return Exit.DONE


async def _all_of(opened: Opened, action: Action, chosen: Filter) -> tuple[int, int]:
    """Acts on all that a filter means; returns to how many it applied, and how many of those it has only asked."""
    total = asked = looked_at = 0
    with bar(action.verb) as advance:
        for _ in range(action.passes):
            before, scan = total, Scan(chosen, action.states)
            while (records := await scan.next(opened.inspector)) is not None:
                applied = await action.carried_out(
                    opened, [each for each in records if not action.skip(each)]
                )
                total += len(applied.ids)
                asked += applied.asked
                advance(looked_at + scan.seen, looked_at + scan.total)
            looked_at += scan.seen
            if total == before:
                break
    return total, asked


async def _confirmed(opened: Opened, action: Action, chosen: Filter) -> bool:
    meant = await _meant(chosen.scan(opened.inspector, action.states))
    if not meant:
        return True
    many = f"more than {_COUNT_TO:,} jobs" if meant > _COUNT_TO else count(meant, "job")
    return click.confirm(f"{action.verb} {many}?", err=True)


async def _meant(slices: AsyncIterator[list[JobRecord]]) -> int:
    meant = 0
    async for records in slices:
        meant += len(records)
        if meant > _COUNT_TO:
            break
    return meant


async def _one(records: list[JobRecord]) -> AsyncIterator[list[JobRecord]]:
    yield records


async def _list(slices: AsyncIterator[list[JobRecord]], as_json: bool) -> int:
    """Prints these jobs; returns how many they are."""
    listed = 0

    async def counted() -> AsyncIterator[JobRecord]:
        nonlocal listed
        async for records in slices:
            for record in records:
                listed += 1
                yield record

    if as_json:
        await print_json_array(shown(record) async for record in counted())
    else:
        async for record in counted():
            print(f"{record.id}  {cell(call_of(record).task or '(undecodable)')}  {record.state}")
    return listed
