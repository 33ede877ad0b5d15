from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.queue_list import MOST_WEIGHT, QueueList, read_queue_list
from penstock.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "names", "weights"),
    [
        ("mail", ["mail"], None),
        (" mail, default,mail ", ["mail", "default"], None),
        ("mail=3,default=1", ["mail", "default"], [3, 1]),
        ("mail=3,default", ["mail", "default"], [3, 1]),
        ("default,mail = 1000 ,a-b.c=1", ["default", "mail", "a-b.c"], [1, 1000, 1]),
        ("mail=01", ["mail"], [1]),
    ],
)
def test_it_is_read(text: str, names: list[str], weights: list[int] | None) -> None:
    assert read_queue_list(text) == QueueList(names, weights)


@pytest.mark.parametrize(
    "weight", ["0", "1001", "-1", "+3", "1.5", "3x", "", " ", "1_0", "٣", "²", "1" * 5_000]
)
def test_a_weight_that_is_none_is_refused_with_what_to_type(weight: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"the weight of 'mail' is a whole number from 1 to 1000, not .*: -Q mail=3,default=1",
    ):
        read_queue_list(f"mail={weight},default")


def test_its_parts_may_be_given_and_the_message_says_where() -> None:
    assert read_queue_list(["mail=3", "default"]) == QueueList(["mail", "default"], [3, 1])
    assert read_queue_list(name for name in ("mail", "default")) == QueueList(["mail", "default"])
    with pytest.raises(ConfigError, match=r"^queues: \[5\]: names as text, such as 'mail' or 'mail=3'"):
        read_queue_list([5], "queues: ")  # type: ignore[list-item]  # what is refused
    with pytest.raises(ConfigError, match=r"^queues: mail=0: the weight .*: queues: mail=3,default=1"):
        read_queue_list("mail=0", "queues: ")


def test_what_names_no_queue_or_one_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="-Q ', ,' names no queue"):
        read_queue_list(", ,")
    for wrong in ("mail,", ",mail", "mail,,default", "mail=3, ,default"):
        with pytest.raises(ConfigError, match="a name between two commas, or at an end, is empty"):
            read_queue_list(wrong)
    with pytest.raises(ConfigError, match="'mail' is named twice; give it one weight"):
        read_queue_list("mail=3,default,mail=2")
    for wrong in ("mail,3", "mail,3,default,1", "7"):
        with pytest.raises(ConfigError, match=r"weights are written -Q mail=3; a queue '\d' as \d=1"):
            read_queue_list(wrong)
    assert read_queue_list("mail,3=1") == QueueList(["mail", "3"], [1, 1])
    for wrong in ("ma il", "ma il=3", "=3", "mail=3,=1"):
        with pytest.raises(ConfigError, match="queue name"):
            read_queue_list(wrong)


def test_all_names_that_cannot_be_are_told() -> None:
    for wrong in ("a b,mail,c!,=", "a b=2,mail,c!,=1"):
        with pytest.raises(ConfigError, match=r"^queue names 'a b', 'c!', '': use letters"):
            read_queue_list(wrong)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers(1, MOST_WEIGHT), min_size=1))
def test_what_is_shown_can_be_given(weights: dict[str, int]) -> None:
    for made in (QueueList(list(weights)), QueueList(list(weights), list(weights.values()))):
        assert read_queue_list(str(made)) == made
