"""No statement of a job's way reads the backlog: each finds what it needs in an index."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.brokers.sqlite import SQLiteProducer
from penstock.brokers.sqlite.statements import script, statements
from penstock.core.job import Origin

_FILES = ("enqueue", "fetch", "inspect", "lease", "maintain", "numbers", "settle", "waking")
# Small by nature, whatever the backlog: rows a consumer, a command or a wait each.
_SMALL = {"consumers", "commands", "waiting", "watching", "queues", "numbers", "c", "q", "carray"}


def _all() -> Iterator[tuple[str, str]]:
    for file in _FILES:
        for name, statement in statements(file).items():
            yield f"{file}.{name}", statement


def _reads_all(step: str) -> bool:
    if "jobs_id (queue=?)" in step:  # a whole queue, looked up by no id
        return True
    what = step.split()[1]
    # Jobs that run, and only they, stand in that index: as many as workers hold.
    return step.startswith("SCAN") and not (what in _SMALL or "jobs_running" in step or what.startswith("("))


@pytest.mark.parametrize(("name", "statement"), [pytest.param(*each, id=each[0]) for each in _all()])
def test_it_is_found_in_an_index(producer: SQLiteProducer, name: str, statement: str) -> None:
    producer.enqueue([], Origin("opens", 1))
    connection = producer._database._connection
    assert connection is not None
    count = max((number for number in range(1, 12) if f"?{number}" in statement), default=0)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * count).fetchall()
    steps = [row[3] for row in plan]
    assert [step for step in steps if _reads_all(step)] == []
    if name != "maintain.oldest_dead":  # it puts two slices together
        assert [step for step in steps if "TEMP B-TREE" in step] == []


def test_every_file_says_what_it_is_for() -> None:
    for file in _FILES:
        assert script(file).startswith("-- ")


def test_every_statement_is_complete() -> None:
    for name, statement in _all():
        assert statement.endswith(";"), name
        assert statement.count(";") == 1, name
