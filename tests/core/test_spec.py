from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from penstock.core.retry import Retry
from penstock.core.spec import (
    DeliveryMode,
    Lane,
    ResultRefused,
    TaskSpec,
    check_tags,
    declare,
    refuse_option,
)
from penstock.errors import ConfigError


def plain(a: int = 1) -> dict[str, Any] | None: ...


async def coroutine() -> int: ...  # type: ignore[empty-body]


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def test_the_defaults() -> None:
    spec = declare(plain, name="t")
    assert (spec.lane, spec.is_async, spec.queue, spec.retry) == (Lane.THREAD, False, None, Retry())
    assert (spec.timeout_s, spec.expires_s, spec.priority, spec.result_ttl_s) == (None, None, 0, 3600.0)
    assert (spec.at_most_once, spec.tags) == (False, ())
    assert declare(coroutine, name="t").lane is Lane.LOOP


def test_every_option_is_taken() -> None:
    spec = declare(
        plain,
        name="t",
        queue="mail",
        lane="process",
        retry=5,
        timeout=timedelta(seconds=3),
        expires=60,
        priority=7,
        result_ttl=0,
        tags=["a", "b"],
    )
    assert (spec.lane, spec.queue, spec.retry.attempts, spec.timeout_s) == (Lane.PROCESS, "mail", 5, 3.0)
    assert (spec.expires_s, spec.priority, spec.result_ttl_s, spec.tags) == (60.0, 7, 0.0, ("a", "b"))
    assert declare(coroutine, name="t", lane="process").lane is Lane.PROCESS
    assert declare(coroutine, name="t", lane="loop").lane is Lane.LOOP


def test_at_most_once_runs_once() -> None:
    for retry in (None, False, 1, Retry(attempts=1)):
        spec = declare(plain, name="t", delivery="at_most_once", retry=retry)
        assert spec.at_most_once
        assert spec.retry.attempts == 1
    with pytest.raises(ConfigError, match="runs a job once"):
        declare(plain, name="t", delivery="at_most_once", retry=3)
    assert [str(mode) for mode in DeliveryMode] == ["at_least_once", "at_most_once"]


@pytest.mark.parametrize(
    ("function", "options", "text"),
    [
        (plain, {"lane": "loop"}, 'lane="loop" is for async def'),
        (coroutine, {"lane": "thread"}, 'lane="thread" is for def'),
        (plain, {"lane": "fork"}, "use one of loop, thread, process"),
        (plain, {"delivery": "exactly_once"}, "use one of at_least_once, at_most_once"),
        (plain, {"timeout": 0}, "timeout must be above 0 s"),
        (plain, {"timeout": -1}, "timeout"),
        (plain, {"expires": 0}, "expires must be above 0 s"),
        (plain, {"result_ttl": "1h"}, "result_ttl"),
        (plain, {"priority": 10}, "priority"),
        (plain, {"queue": "a b"}, "queue name"),
        (plain, {"retry": "5"}, "retry="),
        (plain, {"tags": "mail"}, "tags="),
        (generator, {}, "a generator cannot be a task"),
        (async_generator, {}, "a generator cannot be a task"),
        (dict, {}, "a function is needed"),
        ("plain", {}, "a function is needed"),
        (plain, {"unknown": {"bind": True}}, "here that is nothing: use penstock.current_job"),
        (plain, {"unknown": {"max_retries": 3}}, r"here that is retry=Retry\(attempts=N \+ 1\)"),
        (plain, {"unknown": {"colour": "red"}}, "no option 'colour'; there are "),
    ],
)
def test_what_cannot_work_is_refused(function: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        declare(function, name="t", **options)


def test_a_refused_option_names_the_task() -> None:
    with pytest.raises(ConfigError, match=r"^task mail\.send: no option 'acks_late'; here that is "):
        refuse_option("task mail.send", "acks_late", ["queue"])
    with pytest.raises(ConfigError, match=r"no option 'queu'; did you mean 'queue'\?"):
        refuse_option("task mail.send", "queu", ["queue", "lane"])
    with pytest.raises(ConfigError, match=r"no option 'colour'; there are lane, queue$"):
        refuse_option("task mail.send", "colour", ["queue", "lane"])


def test_tags() -> None:
    assert check_tags([]) == ()
    assert check_tags(("a", "x" * 100)) == ("a", "x" * 100)
    for wrong in ("a", [""], ["x" * 101], [1], [None]):
        with pytest.raises(ConfigError, match="tags="):
            check_tags(wrong)  # type: ignore[arg-type]


def spec_of(function: Any) -> TaskSpec:
    return declare(function, name="t")


def test_results_are_written_and_read_back() -> None:
    def pair() -> tuple[int, str]: ...  # type: ignore[empty-body]

    spec = spec_of(pair)
    assert spec.decode_result(spec.encode_result((1, "a"), 100)) == (1, "a")
    assert spec.decode_result(spec.encode_result((2, "b"), 100)) == (2, "b")
    assert spec.encode_result(None, 100) is None
    assert spec.decode_result(None) is None
    assert spec_of(plain).encode_result("null", 100) == b'"null"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "not finite"),
        ({"a": [float("inf")]}, "not finite"),
        (object(), "object: TypeError"),
        ({1, "a", object()}, "set: TypeError"),
        ("x" * 99, r"101 bytes, above max_body=100; store it elsewhere"),
    ],
)
def test_results_that_cannot_be_stored_are_refused(value: Any, text: str) -> None:
    with pytest.raises(ResultRefused, match=text):
        spec_of(plain).encode_result(value, 100)
