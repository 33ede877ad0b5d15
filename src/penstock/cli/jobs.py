"""``penstock jobs``: the jobs that wait, run or are dead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import click

from penstock.cli.asking import Opened, ask
from penstock.cli.described import JobShown, shown
from penstock.cli.filters import filters
from penstock.cli.tables import ago, print_json_array, print_table, shortened
from penstock.cli.target import Target
from penstock.cli.unserved import tell_unknown
from penstock.cli.words import words
from penstock.core.job import JobRecord
from penstock.core.lifecycle import JobState
from penstock.listing import LISTED, Filter, call_of

LIMIT: Final = 50
DEAD: Final = (JobState.FAILED, JobState.QUARANTINED)
_ERROR_LENGTH: Final = 60


@click.command()
@words
@filters
@click.option("--limit", type=click.IntRange(min=0), help="At most so many; 0: all [50, with --json all].")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@click.pass_obj
def command(target: Target, /, chosen: Filter, limit: int | None, as_json: bool) -> None:
    """The jobs that wait, run or are dead, by queue and state."""
    ask(target, lambda opened: show(opened, chosen, LISTED, limit, as_json))


async def show(
    opened: Opened, chosen: Filter, states: Sequence[JobState], limit: int | None, as_json: bool
) -> None:
    """Prints the jobs that match, at most ``limit`` (0: all; None: as many as a person reads, a program gets all)."""
    if as_json:
        await print_json_array(_described(opened, chosen, states, limit or 0))
        return
    rows, more = await _first(opened, chosen, states, LIMIT if limit is None else limit)
    if not rows:
        await tell_unknown(opened, chosen.queues)
        none = "no job is dead" if states == DEAD else "no job waits, runs or is dead"
        print("no such jobs" if chosen.names_any else none)
        return
    print_table(["id", "task", "state", "attempt", "when", "error"], rows)
    if more:
        print("and more; --limit 0 shows all, penstock queues counts them")


async def _described(
    opened: Opened, chosen: Filter, states: Sequence[JobState], limit: int
) -> AsyncIterator[JobShown]:
    given = 0
    async for records in chosen.scan(opened.inspector, states):
        for record in records:
            yield shown(record)
            given += 1
            if given == limit:
                return


async def _first(
    opened: Opened, chosen: Filter, states: Sequence[JobState], limit: int
) -> tuple[list[tuple[object, ...]], bool]:
    """Rows, and whether there are more."""
    rows: list[tuple[object, ...]] = []
    async for records in chosen.scan(opened.inspector, states):
        rows += map(_row, records)
        if limit and len(rows) > limit:
            return rows[:limit], True
    return rows, False


def _row(record: JobRecord) -> tuple[object, ...]:
    call = call_of(record)
    when = record.ended_at or (record.due_at if record.state is JobState.SCHEDULED else call.enqueued_at)
    error = "" if record.error is None else f"{record.error.type}: {record.error.message}"
    if record.cause and record.cause != "error":
        error = f"{record.cause}: {error}"
    return (
        record.id,
        call.task or "(undecodable)",
        record.state,
        record.attempt,
        ago(when),
        shortened(error, _ERROR_LENGTH),
    )
