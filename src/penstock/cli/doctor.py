"""``penstock doctor``: opens the broker, says how it is, and what must change."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Final

import click

from penstock import __version__
from penstock.brokers import facts
from penstock.cli.asking import Opened, ask
from penstock.cli.exits import Exit
from penstock.cli.tables import cell, count, print_fields, print_json, print_line
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.errors import BrokerMisconfigured
from penstock.ports.broker import WorkerCard
from penstock.ports.inspector import QueueCounts

# Moments that producers give and the broker's own differ by this; waits between attempts do not.
CLOCK_TOLERATED_S: Final = 1.0
_MILLISECONDS: Final = 1000
_MOST_NAMES: Final = 10


@click.command()
@words
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.pass_obj
def command(target: Target, /, as_json: bool) -> int:
    """Check the broker's settings, version, clock, permissions, unserved and full queues; say what to change.

    The exit code is 1 where something must change.
    """
    fields: dict[str, object] = {
        "penstock": f"{__version__}, Python {platform.python_version()}",
        "broker": target.address().shown(),
    }
    try:
        problems = ask(target, lambda opened: _examine(target, opened, fields))
    except BrokerMisconfigured as error:
        problems = [str(error)]
    if as_json:
        print_json({**fields, "problems": problems})
    else:
        print_fields(fields.items())
        if problems:
            print_line(f"\n{count(len(problems), 'thing')} must change:", "bold red")
        else:
            print_line("\nall is well", "green")
        for problem in problems:
            print(f"  - {cell(problem)}")
    return Exit.FAILED if problems else Exit.DONE


async def _examine(target: Target, opened: Opened, fields: dict[str, object]) -> list[str]:
    """Fills ``fields``; returns what must change."""
    server, ahead_s, told, problems = await facts(target.address(), opened.broker)
    queues, workers = await opened.inspector.queues(), await opened.inspector.workers()
    fields["server"] = server
    fields["clock"] = (
        f"{abs(ahead_s) * _MILLISECONDS:.0f} ms {'ahead of' if ahead_s >= 0 else 'behind'} this machine's"
    )
    fields.update(told)
    fields["queues"] = len(queues)
    fields["dead jobs"] = sum(each.failed for each in queues)
    fields["quarantined"] = sum(each.quarantined for each in queues)
    fields["workers"] = len(workers)
    fields["full queues"] = full(queues, workers) or "none"
    fields["paused queues"] = paused(queues) or "none"
    found = [*opened.warnings, *problems, *unserved(queues, workers, target.reference or "...")]
    if abs(ahead_s) > CLOCK_TOLERATED_S:
        found.append(
            f"the broker's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s >= 0 else 'behind'} this machine's, "
            "so ETAs and expiries are off by that; synchronise both with NTP"
        )
    return found


def full(queues: Sequence[QueueCounts], workers: Sequence[WorkerCard]) -> str:
    """Where jobs wait while every worker of their queue runs as many as it can: a rush, or jobs that hang.

    No problem by itself, so it changes no exit code. Workers tell what they run with each beat, so it may be a few
    seconds old.
    """
    found: list[str] = []
    for each in queues:
        taking = [card for card in workers if card.state == "running" and each.queue in card.queues]
        if each.ready and taking and all(card.running >= card.concurrency for card in taking):
            slots = sum(card.concurrency for card in taking)
            found.append(
                f"{each.queue} ({count(each.ready, 'job')} waiting, {slots:,} of {count(slots, 'slot')} busy)"
            )
    if not found:
        return ""
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return f"{', '.join(found[:_MOST_NAMES])}{more}; see what holds them: penstock jobs --state running"


def paused(queues: Sequence[QueueCounts]) -> str:
    """Queues that nobody takes from until they are resumed. Somebody wanted that, so it changes no exit code."""
    found = [each for each in queues if each.paused]
    if not found:
        return ""
    shown = ", ".join(f"{each.queue} ({count(each.ready, 'job')} waiting)" for each in found[:_MOST_NAMES])
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return f"{shown}{more}; penstock resume {' '.join(each.queue for each in found[:_MOST_NAMES])} ends that"


def unserved(queues: Sequence[QueueCounts], workers: Sequence[WorkerCard], app: str = "...") -> list[str]:
    """A line where jobs are ready on queues that nobody takes from; a quiet or stopping worker takes nothing."""
    served = {name for card in workers if card.state == "running" for name in card.queues}
    left = [each for each in queues if each.ready and each.queue not in served]
    if not left:
        return []
    shown = ", ".join(f"{each.queue} ({each.ready:,})" for each in left[:_MOST_NAMES])
    more = f" and {len(left) - _MOST_NAMES} more" if len(left) > _MOST_NAMES else ""
    names = ",".join(each.queue for each in left[:_MOST_NAMES])
    line = f"no running worker serves {count(len(left), 'queue')} with ready jobs: {shown}{more}; "
    return [f"{line}start one: penstock -A {app} worker -Q {names}"]
