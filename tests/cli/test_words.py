"""What is shown and what is understood, word by word: tables, moments, filters, advice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from penstock import ConfigError, Penstock
from penstock.cli.described import shown
from penstock.cli.filters import moment
from penstock.cli.tables import (
    ago,
    cell,
    count,
    iso,
    print_fields,
    print_json_array,
    print_table,
    shortened,
    span,
)
from penstock.cli.unknown import advice
from penstock.core.job import JobError, JobRecord
from penstock.core.lifecycle import JobState
from penstock.listing import Filter, call_of

BODY = b'{"v":1,"task":"shop.add","args":["secret"],"at":1763820000.5,"tags":["vip"]}'


def record(**fields: object) -> JobRecord:
    known: dict[str, object] = {
        "id": "mail:1",
        "queue": "mail",
        "state": JobState.READY,
        "body": BODY,
        **fields,
    }
    return JobRecord(**known)  # type: ignore[arg-type]


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "jobs"], [("mail", 1_234_567), ("a", 5)])
    assert capsys.readouterr().out == "name       jobs\nmail  1,234,567\na             5\n"


def test_fields_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("a", True), ("long", None)])
    assert capsys.readouterr().out == "a     yes\nlong\n"


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    assert cell("a\x1b[31mb\nc\td\x00") == "a [31mb c d "
    assert cell("Grüße, 世界") == "Grüße, 世界"


async def _values(*values: object) -> AsyncIterator[object]:
    for value in values:
        yield value


@pytest.mark.anyio
async def test_a_json_array(capsys: pytest.CaptureFixture[str]) -> None:
    await print_json_array(_values())
    await print_json_array(_values({"a": 1}, 2))
    assert capsys.readouterr().out == '[]\n[{"a":1},\n 2]\n'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (1e6, "12 d")]
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_moments_as_text() -> None:
    assert iso(1763820000.5) == "2025-11-22T14:00:00.500Z"
    assert iso(0) is None
    assert iso(1e300) is None
    assert iso(float("nan")) is None
    assert ago(100, 130) == "30 s ago"
    assert ago(130, 100) == "in 30 s"
    assert ago(0) == ""


def test_counts_and_cuts() -> None:
    assert [count(n, "job") for n in (0, 1, 2000)] == ["0 jobs", "1 job", "2,000 jobs"]
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_moments_are_understood() -> None:
    now = time.time()
    assert moment("--since", "90s") == pytest.approx(now - 90, abs=5)
    assert moment("--since", "1.5h") == pytest.approx(now - 5400, abs=5)
    assert moment("--since", "2d") == pytest.approx(now - 172_800, abs=5)
    assert moment("--since", "2025-11-22T14:00:00Z") == 1763820000
    assert moment("--since", "2025-11-22T14:00:00+01:00") == 1763816400
    assert moment("--since", "2025-11-22T14:00") == datetime(2025, 11, 22, 14).timestamp()  # noqa: DTZ001 - local time is meant


@pytest.mark.parametrize("text", ["", "soon", "90", "-5s", "5 s", "25:00", "9" * 400 + "-01-01"])
def test_moments_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--since"):
        moment("--since", text)


@pytest.mark.parametrize(
    ("chosen", "matches"),
    [
        (Filter(), True),
        (Filter(task="shop.add"), True),
        (Filter(task="shop.*"), True),
        (Filter(task="SHOP.add"), False),
        (Filter(task="add"), False),
        (Filter(tag="vip"), True),
        (Filter(tag="vi"), False),
        (Filter(error="refused"), True),
        (Filter(error="OSERROR: ref"), True),
        (Filter(error="other"), False),
        (Filter(since_at=1763820001), False),
        (Filter(until_at=1763820001), True),
    ],
)
def test_a_filter(chosen: Filter, matches: bool) -> None:
    job = record(error=JobError("OSError", "Refused"))
    assert chosen.matches(job, call_of(job)) is matches


def test_what_has_ended_counts_by_its_end() -> None:
    job = record(state=JobState.FAILED, ended_at=1763829999.0)
    assert Filter(since_at=1763821000).matches(job, call_of(job))
    assert not Filter(until_at=1763821000).matches(job, call_of(job))


def test_a_job_without_an_error_matches_no_error() -> None:
    job = record()
    assert not Filter(error="x").matches(job, call_of(job))


def test_a_body_that_cannot_be_decoded_is_told_by_its_id() -> None:
    job = record(id="mail:019ab4f5c4007000800000000000000a", body=b"\xff")
    call = call_of(job)
    assert (call.task, call.tags) == (None, [])
    assert call.enqueued_at == 0x019AB4F5C400 / 1000
    assert shown(job).task is None
    assert call_of(record(id="mail:own", body=b"\xff")).enqueued_at == 0.0


def test_no_argument_is_among_the_fields() -> None:
    assert b"secret" not in repr(shown(record())).encode()


def app(reference: str, *tasks: str) -> Penstock:
    made = Penstock("test", broker="memory://advice")
    for name in tasks:
        made.task(name=name)(_nothing)
    made.reference = reference
    return made


def _nothing() -> None: ...


@pytest.mark.parametrize(
    ("reference", "known", "met", "expected"),
    [
        ("tasks:app", "tasks.f", "shop.tasks.f", "-A shop.tasks:app (from the folder above)"),
        ("shop.tasks:app", "shop.tasks.f", "tasks.f", "-A tasks:app (from the folder shop)"),
        ("a.b.tasks:app", "a.b.tasks.f", "tasks.f", "-A tasks:app (from the folder a/b)"),
        ("site:app", "site.jobs.f", "shop.site.jobs.f", "-A shop.site:app (from the folder above)"),
        ("main:app", "shop.tasks.f", "tasks.f", "it knows shop.tasks.f"),
        ("tasks:app", "tasks.send_mail", "tasks.send_mial", "it knows tasks.send_mail"),
        ("tasks:app", "tasks.f", "elsewhere.g", "start a worker whose application defines it"),
    ],
)
def test_advice(reference: str, known: str, met: str, expected: str) -> None:
    assert expected in advice(app(reference, known), met)
