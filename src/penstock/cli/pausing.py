"""What ``pause`` and ``resume`` have in common: queues by their names, a look first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import click
import msgspec

from penstock.cli.asking import Opened, ask
from penstock.cli.completing import complete
from penstock.cli.tables import print_json
from penstock.cli.target import Target
from penstock.cli.unserved import tell_unknown
from penstock.cli.words import words
from penstock.core.job import check_queue_names
from penstock.core.spec import queues_of

F = TypeVar("F", bound=Callable[..., Any])

# Filters of the other actions. A queue is paused whole, so they are refused in words, not as unknown.
_OF_JOBS: Final = ("--task", "--state", "--tag", "--error", "--since", "--until")


class Verb(NamedTuple):
    """``pause`` or ``resume``.

    Attributes:
        name: As it is typed.
        done: For the answer.
        before: What is said of a queue that was so already.
        paused: Which state it leads to.
        act: Carries it out; returns the queues that it changed.
    """

    name: str
    done: str
    before: str
    paused: bool
    act: Callable[[Opened, Sequence[str]], Awaitable[Sequence[str]]]


class Told(msgspec.Struct):
    """What ``--json`` tells.

    Attributes:
        action: ``pause`` or ``resume``.
        changed: Queues that it changed, or with ``--dry-run`` would.
        unchanged: Queues that were so already.
        dry_run: Nothing was changed.
    """

    action: str
    changed: list[str]
    unchanged: list[str]
    dry_run: bool


def naming(function: F) -> F:
    """The options of an order to queues; the command is given ``names`` (none for ``--all``)."""
    decorated: Any = function
    for decorate in (
        *(
            click.option(option, hidden=True, multiple=True, expose_value=False, callback=_of_jobs)
            for option in _OF_JOBS
        ),
        click.option("--json", "as_json", is_flag=True, help="What was done as a JSON object."),
        click.option("--dry-run", is_flag=True, help="Say what would change and change nothing."),
        click.option("--all", "everything", is_flag=True, help="Every queue that there is now."),
        click.option(
            "--queue",
            "more",
            multiple=True,
            metavar="NAME",
            shell_complete=complete("queues"),
            help="A queue, as an argument is; again for more.",
        ),
        click.argument("names", metavar="[QUEUE]...", nargs=-1, shell_complete=complete("queues")),
        words,
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]  # the same callable, decorated


def _of_jobs(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    if value:
        raise click.UsageError(
            f"{parameter.opts[0]} picks jobs, and {context.info_name} is for whole queues: name them"
        )


def carry_out(
    target: Target,
    verb: Verb,
    names: tuple[str, ...],
    more: tuple[str, ...],
    *,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Pauses queues, or ends their pause.

    Raises:
        click.UsageError: No queue was named, or some and all.
        ConfigError: A name cannot be a queue's.
    """
    wanted = check_queue_names([*names, *more])
    if bool(wanted) == everything:
        raise click.UsageError(
            f"{verb.name} which queues? give their names or --all{', not both' * everything}"
        )
    own: Sequence[str] = ()
    if target.reference is not None:
        app = target.app()
        own = queues_of(app.tasks.values(), app.default_queue)
    ask(target, lambda opened: _carry_out(opened, verb, wanted, own, dry_run=dry_run, as_json=as_json))


async def _carry_out(
    opened: Opened, verb: Verb, wanted: Sequence[str], own: Sequence[str], *, dry_run: bool, as_json: bool
) -> None:
    """``own``: the queues of the application's tasks, where one is named."""
    paused = {counts.queue: counts.paused for counts in await opened.inspector.queues()}
    names = wanted or list(paused)
    await tell_unknown(opened, [name for name in wanted if verb.paused or not paused.get(name)], own)
    changing = [name for name in names if paused.get(name, False) != verb.paused]
    changed = set(changing if dry_run else await verb.act(opened, names))
    told = Told(
        verb.name,
        [name for name in names if name in changed],
        [name for name in names if name not in changed],
        dry_run,
    )
    if as_json:
        print_json(told)
        return
    if not names:
        print("no queue has held a job yet")
    if told.changed:
        print(f"{f'would {verb.name}' if dry_run else verb.done} {', '.join(told.changed)}")
    if told.unchanged:
        print(f"{verb.before}: {', '.join(told.unchanged)}")
