from __future__ import annotations

import time
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.job import check_job_name, check_namespace, check_queue_name, queue_of, uuid7
from penstock.errors import ConfigError
from penstock.ids import new_id

MILLISECONDS = st.integers(0, 2**48 - 1)
RANDOM = st.integers(0, 2**80 - 1)


@given(MILLISECONDS, RANDOM)
def test_an_id_is_laid_out_as_rfc_9562_says(milliseconds: int, random: int) -> None:
    text = uuid7(milliseconds, random)
    id = UUID(hex=text)
    assert text == id.hex
    assert (id.version, id.variant) == (7, RFC_4122)
    assert id.int >> 80 == milliseconds  # unix_ts_ms
    assert (id.int >> 64) & 0xFFF == random & 0xFFF  # rand_a
    assert id.int & (2**62 - 1) == (random >> 12) & (2**62 - 1)  # rand_b


def test_the_example_of_the_rfc() -> None:
    # RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    random = 0xCC3 | 0x18C4DC0C0C07398F << 12
    assert uuid7(0x017F22E279B0, random) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F").hex


@given(MILLISECONDS, MILLISECONDS, RANDOM, RANDOM)
def test_ids_are_ordered_by_their_millisecond(one: int, other: int, random: int, also: int) -> None:
    if one < other:
        assert uuid7(one, random) < uuid7(other, also)


def test_new_ids_are_of_this_moment_and_differ() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    assert all(before <= int(id[:12], 16) <= after for id in ids)


@pytest.mark.parametrize("name", ["a", "A-z_0.9", "_x", "9", "x" * 128])
def test_queue_names(name: str) -> None:
    assert check_queue_name(name) == name
    assert queue_of(f"{name}:a:b") == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a:b", "a b", "a\n", "ä", "x" * 129, "a/b", "{a}", "a*", None, 5, b"a"]
)
def test_wrong_queue_names_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="queue name"):
        check_queue_name(name)


@pytest.mark.parametrize("name", ["a", "order-17", "a:b", "x" * 200, "".join(map(chr, range(0x21, 0x7F)))])
def test_names_of_jobs(name: str) -> None:
    assert check_job_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\t", "ä", "x" * 201, "a\x00", "\x7f", None, 17, b"a"])
def test_wrong_names_of_jobs_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="job_id"):
        check_job_name(name)


@pytest.mark.parametrize("id", ["", "mail", "mail:", ":a", "ma il:a", "-mail:a", "a\n:b"])
def test_an_id_without_a_queue_is_refused(id: str) -> None:
    with pytest.raises(ConfigError, match="QUEUE:NAME"):
        queue_of(id)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a}b", "x" * 129, 3])
def test_a_namespace_is_refused_as_one(name: Any) -> None:
    with pytest.raises(ConfigError, match=f"namespace {name!r}: use letters, digits") as refused:
        check_namespace(name)
    assert "queue" not in str(refused.value)
    assert check_namespace("demo-1.a_B") == "demo-1.a_B"
