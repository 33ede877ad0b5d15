"""``penstock job ID``: all that is known of one job."""

from __future__ import annotations

import click
import msgspec

from penstock.cli.asking import Opened, ask
from penstock.cli.described import JobShown, shown
from penstock.cli.exits import Exit
from penstock.cli.tables import ago, cell, print_fields, print_json
from penstock.cli.target import Target
from penstock.cli.words import words
from penstock.core.job import JobRecord, queue_of
from penstock.errors import JobNotFound
from penstock.listing import call_of


class JobToldWhole(JobShown):
    """What ``penstock job ID --json`` adds.

    Attributes:
        headers: What travels with it.
        progress: What it last said of itself, as it was stored.
        result: What it returned, as it was stored.
        traceback: Of its last error.
        body: With ``--body``: the stored body as text, arguments included.
    """

    headers: dict[str, str]
    progress: msgspec.Raw | None
    result: msgspec.Raw | None
    traceback: str | None
    body: str | None


@click.command()
@words
@click.argument("id")
@click.option("--body", "with_body", is_flag=True, help="Show the stored body too, arguments included.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.pass_obj
def command(target: Target, /, id: str, with_body: bool, as_json: bool) -> int:
    """All that is known of one job; its arguments only with --body."""
    queue_of(id)
    return ask(target, lambda opened: _show(opened, id, with_body, as_json))


async def _show(opened: Opened, id: str, with_body: bool, as_json: bool) -> int:
    record = await opened.inspector.get(id)
    if record is None:
        raise JobNotFound(f"no job {id} is stored: it ended and its state was let go, or it never was")
    if as_json:
        print_json(_told(record, with_body))
    else:
        _print(record, with_body)
    return Exit.DONE


def _told(record: JobRecord, with_body: bool) -> JobToldWhole:
    call = call_of(record)
    return JobToldWhole(
        **msgspec.structs.asdict(shown(record, call)),
        headers=call.headers,
        progress=None if record.progress is None else msgspec.Raw(record.progress),
        result=None if record.result is None else msgspec.Raw(record.result),
        traceback=record.error.traceback if record.error else None,
        body=record.body.decode(errors="backslashreplace") if with_body else None,
    )


def _print(record: JobRecord, with_body: bool) -> None:
    told = msgspec.structs.asdict(_told(record, with_body))
    moments = {
        "enqueued_at": call_of(record).enqueued_at,
        "due_at": record.due_at,
        "expires_at": record.expires_at,
        "ended_at": record.ended_at,
    }
    del told["traceback"]
    if record.error is not None:
        told["error"] = f"{record.error.type}: {record.error.message}"
    fields = [(name, _text(value)) for name, value in told.items() if value not in (None, "", [], {}, False)]
    print_fields(
        (name, f"{text}  ({ago(moments[name])})" if name in moments else text) for name, text in fields
    )
    for line in (record.error.traceback if record.error else "").splitlines():
        print(f"  {cell(line)}".rstrip())


def _text(value: object) -> str:
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    return cell(value)
