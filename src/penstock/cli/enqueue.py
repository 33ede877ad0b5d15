"""``penstock enqueue NAME ARGS-JSON``: a job from a shell."""

from __future__ import annotations

import asyncio
import difflib
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock.app import Penstock
from penstock.cli.asking import GIVE_UP_AFTER_S
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.errors import BrokerUnavailable, InvalidArguments, UnknownTask
from penstock.handle import JobHandle


@click.command()
@words
@click.argument("name")
@click.argument("arguments", metavar="[ARGS-JSON]", default="[]")
@click.option("--queue", help="Another queue than the task's.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 to 9; higher runs first.")
@click.option("--countdown", type=click.FloatRange(min=0), help="Seconds until it is due.")
@click.option(
    "--expires",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which it is not started any more.",
)
@click.option("--job-id", help="An id of your own, unique in its queue.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; again for more.")
@click.pass_obj
def command(target: Target, /, name: str, arguments: str, **options: Any) -> None:
    """Enqueue a task by its name and print the job's id.

    ARGS-JSON is an array of positional or an object of keyword arguments: '[1, "a@b.c"]' or '{"user_id": 1}'. With -A
    they are checked against the task's annotations.
    """
    args, kwargs = _read(name, arguments)
    app = _app(target)
    spec = app.tasks.get(name)
    if spec is not None:
        decoded = spec.arguments.decode(_raw(args), _raw(kwargs))
        args, kwargs = list(decoded[0]), decoded[1]
    elif target.reference is not None:
        near = difflib.get_close_matches(name, list(app.tasks), n=3, cutoff=0.4) or list(app.tasks)[:5]
        raise UnknownTask(f"{app.reference} has no task {name!r}; it has {', '.join(near) or 'none'}")
    options["tags"] = options["tags"] or None
    job = asyncio.run(_send(app, name, args, kwargs, options))
    print(job.id)
    if not job.added:
        click.echo(f"{job.id}: a job of this id is stored already; nothing was added", err=True)


async def _send(
    app: Penstock, name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]
) -> JobHandle[Any]:
    async with app:
        try:
            async with asyncio.timeout(GIVE_UP_AFTER_S):
                return await app.asend(name, *args, options=options, **kwargs)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{app.address.shown()}: no answer within {GIVE_UP_AFTER_S:g} s; whether the job is stored is unknown"
            ) from error


def _app(target: Target) -> Penstock:
    if target.reference is not None:
        return target.app()
    app = Penstock("enqueue")
    app.configure(target.command_line, Path.cwd())
    return app


def _read(name: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        if text.lstrip().startswith("{"):
            return [], msgspec.json.decode(text, type=dict[str, Any])
        return msgspec.json.decode(text, type=list[Any]), {}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The parser's own text may quote what was given.
        raise InvalidArguments(
            f"{name}: the arguments are no JSON array or object; write e.g. '[1, \"a\"]' or '{{\"key\": 1}}'"
        ) from None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
