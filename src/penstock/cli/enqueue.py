"""``penstock enqueue NAME ARGS-JSON``: a job from a shell, or one for each line of a file."""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click
import msgspec

from penstock.app import Penstock
from penstock.cli.asking import GIVE_UP_AFTER_S
from penstock.cli.completing import complete
from penstock.cli.guessing import near
from penstock.cli.tables import cell, count, print_json
from penstock.cli.target import Target
from penstock.cli.terminal import bar
from penstock.cli.words import words
from penstock.errors import BrokerUnavailable, ConfigError, InvalidArguments, UnknownTask
from penstock.handle import JobHandle
from penstock.task import SendOptions, by_name

if TYPE_CHECKING:
    from penstock.core.job import Enqueued


@click.command()
@words
@click.argument("name", shell_complete=complete("tasks"))
@click.argument("arguments", metavar="[ARGS-JSON]", required=False)
@click.option("--many", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
              help="A job for each line of this file, arguments as above; - is standard input.")  # fmt: skip
@click.option("--queue", shell_complete=complete("queues"), help="Another queue than the task's.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 to 9; higher runs first.")
@click.option("--countdown", type=click.FloatRange(min=0), help="Seconds until it is due.")
@click.option(
    "--expires",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which it is not started any more.",
)
@click.option("--job-id", help="An id of your own, unique in its queue.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; again for more.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object: id and added, with --many stored.")
@click.pass_obj
def command(
    target: Target,
    /,
    name: str,
    arguments: str | None,
    many: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Enqueue a task by its name and print the job's id.

    ARGS-JSON is an array of positional or an object of keyword arguments: '[1, "a@b.c"]' or '{"user_id": 1}'. With -A
    they are checked against the task's annotations. With --many FILE each line is one job's.
    """
    options["tags"] = options["tags"] or None
    if many is not None:
        if arguments is not None:
            raise click.UsageError("--many: the arguments stand in the file, a line for each job")
        if options["job_id"] is not None:
            raise click.UsageError("--job-id names one job; --many makes many")
        _enqueue_many(_app(target, name), name, many, options, as_json)
        return
    said = _read(name, "[]" if arguments is None else arguments)
    app = _app(target, name)
    args, kwargs = _typed(app, name, *said)
    job = asyncio.run(_send(app, name, args, kwargs, options))
    if as_json:
        print_json({"id": job.id, "added": job.added})
    else:
        print(job.id)
    if not job.added:
        click.echo(f"{job.id}: a job of this id is stored already; nothing was added", err=True)


async def _send(
    app: Penstock, name: str, args: Sequence[Any], kwargs: dict[str, Any], options: dict[str, Any]
) -> JobHandle[Any]:
    async with app:
        try:
            async with asyncio.timeout(GIVE_UP_AFTER_S):
                return await app.asend(name, *args, options=cast(SendOptions, options), **kwargs)
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"{app.address.shown()}: no answer within {GIVE_UP_AFTER_S:g} s; whether the job is stored is unknown"
            ) from error


def _enqueue_many(app: Penstock, name: str, file: Path, options: dict[str, Any], as_json: bool) -> None:
    """Streams the lines of ``file`` to the broker; holds a few slices of them at a time."""
    task = by_name(app, name).options(**options)
    where = "standard input" if str(file) == "-" else str(file)
    stored = 0
    try:
        with click.open_file(str(file), "rb") as lines, bar(f"enqueue {cell(name)}") as advance:
            reader = _Lines(app, name, lines, where)

            def took(answers: Sequence[Enqueued]) -> None:
                nonlocal stored
                stored += len(answers)
                advance(stored, reader.estimate(stored))

            task.store_many(reader, took)
    except OSError as error:
        raise ConfigError(f"--many {where}: {error.strerror}") from None
    except BaseException as error:
        # Whatever stopped it, whoever goes on must know where.
        if stored or isinstance(error, InvalidArguments):
            click.echo(f"stopped: the first {count(stored, 'line')} of {where} stored", err=True)
        raise
    finally:
        app.close()
    if as_json:
        print_json({"stored": stored})
    else:
        print(f"enqueued {count(stored, 'job')}")


class _Lines:
    """The calls that a file's lines describe, and how many they may be. A pipe has no length: 0 bytes."""

    def __init__(self, app: Penstock, name: str, lines: IO[bytes], where: str) -> None:
        self._app, self._name, self._lines, self._where = app, name, lines, where
        self._read = self._read_bytes = 0
        self._bytes = os.fstat(lines.fileno()).st_size

    def __iter__(self) -> Iterator[Sequence[Any] | dict[str, Any]]:
        for number, line in enumerate(self._lines, 1):
            self._read = number
            self._read_bytes += len(line)
            try:
                args, kwargs = _typed(self._app, self._name, *_read(self._name, line))
            except InvalidArguments as error:
                raise InvalidArguments(f"{self._where}, line {number}: {error}") from None
            yield kwargs or args

    def estimate(self, stored: int) -> int | None:
        """Lines in the whole file, by the length of those that were read; None for what has no length."""
        if not self._bytes or not self._read_bytes:
            return None
        return max(round(self._bytes / self._read_bytes * self._read), stored)


def _app(target: Target, name: str) -> Penstock:
    """The application, where one is named; it must know the task."""
    if target.reference is None:
        app = Penstock("enqueue")
        app.configure(target.command_line, Path.cwd())
        return app
    app = target.app()
    if name not in app.tasks:
        there = difflib.get_close_matches(name, list(app.tasks), n=3, cutoff=0.4) or list(app.tasks)[:5]
        said = near(name, app.tasks) or f"; it has {', '.join(there) or 'none'}"
        raise UnknownTask(f"{app.reference} has no task {name!r}{said}")
    return app


def _typed(
    app: Penstock, name: str, args: list[Any], kwargs: dict[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Arguments from JSON as the task's annotations want them, where the application knows it."""
    spec = app.tasks.get(name)
    return (args, kwargs) if spec is None else spec.arguments.decode(_raw(args), _raw(kwargs))


def _read(name: str, text: str | bytes) -> tuple[list[Any], dict[str, Any]]:
    try:
        if text.lstrip()[:1] in ("{", b"{"):
            return [], msgspec.json.decode(text, type=dict[str, Any])
        return msgspec.json.decode(text, type=list[Any]), {}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The parser's own text may quote what was given.
        raise InvalidArguments(
            f"{name}: the arguments are no JSON array or object; write e.g. '[1, \"a\"]' or '{{\"key\": 1}}'"
        ) from None


def _raw(value: Iterable[Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
