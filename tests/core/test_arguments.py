from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.arguments import INJECTED, Arguments, has_nonfinite
from penstock.core.codec import NO_KWARGS
from penstock.errors import ConfigError, InvalidArguments


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float = 0.0


class Shape(msgspec.Struct):
    name: str
    points: list[Point]


@attrs.define
class Size:
    width: int


class Row(TypedDict):
    id: int


RESOURCE = object()


class Model(pydantic.BaseModel):
    name: str
    at: datetime


def around(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the worker's function is called with."""
    arguments = Arguments(function, "t")
    return arguments.decode(*arguments.encode(args, kwargs))


def refused(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        Arguments(function, "tasks.t").encode(args, kwargs)
    assert isinstance(caught.value, TypeError)
    return str(caught.value)


def decoding_refused(function: Callable[..., Any], args: bytes, kwargs: bytes | None = None) -> str:
    named = NO_KWARGS if kwargs is None else msgspec.Raw(kwargs)
    with pytest.raises(InvalidArguments) as caught:
        Arguments(function, "tasks.t").decode(msgspec.Raw(args), named)
    return str(caught.value)


def takes(kind: Any) -> Callable[..., Any]:
    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": kind}
    return function


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 5),
        (int, 2**60),
        (float, 1.5),
        (str, "a\N{SNOWMAN}\x00"),
        (bool, True),
        (None, None),
        (bytes, bytes(range(256))),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (date, date(2026, 1, 2)),
        (timedelta, timedelta(days=1, microseconds=5)),
        (UUID, UUID(int=5)),
        (Decimal, Decimal("1.10")),
        (Colour, Colour.RED),
        (list[int], [1, 2]),
        (dict[str, int], {"a": 1}),
        (dict[int, str], {1: "a"}),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (Point, Point(1, 2.5)),
        (Shape, Shape("s", [Point(1)])),
        (Size, Size(3)),
        (Row, {"id": 1}),
        (int | str, "a"),
        (int | None, None),
        (list[datetime], [datetime(2026, 1, 1, tzinfo=UTC)]),
        (Model, Model(name="a", at=datetime(2026, 1, 1, tzinfo=UTC))),
        (Annotated[int, msgspec.Meta(ge=0)], 5),
    ],
)
def test_annotated_arguments_arrive_as_they_were(kind: Any, value: Any) -> None:
    assert around(takes(kind), value) == ((value,), {})
    assert around(takes(kind), value=value) == ((), {"value": value})


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
    max_leaves=10,
)


@given(st.lists(_plain, max_size=4), st.dictionaries(st.text(), _plain, max_size=3))
def test_without_annotations_json_arrives_unchanged(args: list[Any], kwargs: dict[str, Any]) -> None:
    def function(*args: Any, **kwargs: Any) -> None: ...

    def bare(*args, **kwargs): ...  # type: ignore[no-untyped-def]

    for one in (function, bare):
        assert around(one, *args, **kwargs) == (tuple(args), kwargs)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1: "a"},
        b"x",
        {1},
        datetime(2026, 1, 1, tzinfo=UTC),
        Decimal(1),
        UUID(int=1),
        Colour.RED,
        object(),
    ],
)
def test_without_annotations_anything_else_is_refused(value: Any) -> None:
    def function(value): ...  # type: ignore[no-untyped-def]

    text = refused(function, value)
    assert "'value'" in text
    assert "annotate it" in text
    assert type(value).__name__ in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, [float("-inf")]], {"a": float("nan")}])
def test_floats_that_are_not_finite_are_refused(value: Any) -> None:
    def bare(value): ...  # type: ignore[no-untyped-def]

    for function in (bare, takes(Any), takes(type(value))):
        assert "not finite" in refused(function, value)


def test_floats_that_are_not_finite_are_found_anywhere() -> None:
    nan = float("nan")
    assert has_nonfinite(nan)
    assert has_nonfinite({nan: 1})
    assert has_nonfinite((1, {2: [nan]}))
    assert has_nonfinite(Point(1, nan))
    assert has_nonfinite(frozenset({nan}))
    assert not has_nonfinite([1, "nan", None, Point(1, 2.0), b"x", UUID(int=0)])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, "5"),
        (int, 5.5),
        (int, None),
        (int, True),
        (str, 5),
        (bool, 1),
        (list[int], ["a"]),
        (tuple[int, int], (1, 2, 3)),
        (UUID, "not a uuid"),
        (datetime, "2026-01-01"),
        (Point, {"x": "a"}),
        (Point, object()),
        (Shape, Shape("s", ["no point"])),  # type: ignore[list-item]
        (Colour, "green"),
        (Annotated[int, msgspec.Meta(ge=0)], -1),
    ],
)
def test_wrong_arguments_are_refused_with_name_and_types_but_never_the_value(kind: Any, value: Any) -> None:
    text = refused(takes(kind), value)
    assert text.startswith("tasks.t: argument 'value': expected ")
    assert f"got {type(value).__name__}" in text
    assert text == refused(takes(kind), value=value)


def test_a_secret_does_not_appear_in_an_error() -> None:
    assert "hunter2" not in refused(takes(int), "hunter2")
    assert "hunter2" not in refused(takes(list[int]), ["hunter2"])
    assert "hunter2" not in decoding_refused(takes(int), b'["hunter2"]')


def test_what_nests_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    circle: list[Any] = []
    circle.append(circle)

    def function(value): ...  # type: ignore[no-untyped-def]

    for value in (deep, circle):
        assert "'value'" in refused(function, value)


def test_arguments_must_fit_the_signature() -> None:
    def function(a: int, b: int = 2, *, c: int, d: int = 4) -> None: ...

    assert around(function, 1, c=3) == ((1,), {"c": 3})
    assert around(function, 1, 2, c=3, d=4) == ((1, 2), {"c": 3, "d": 4})
    assert around(function, a=1, b=2, c=3) == ((), {"a": 1, "b": 2, "c": 3})
    assert "missing argument(s) a, c" in refused(function)
    assert "missing argument(s) c" in refused(function, 1)
    assert "takes 2 positional argument(s), 3 were given" in refused(function, 1, 2, 3, c=3)
    assert "'a' was given twice" in refused(function, 1, a=1, c=3)
    assert "no parameter 'e'" in refused(function, 1, c=3, e=5)


def test_rest_and_extra_arguments() -> None:
    def function(a: int, *rest: int, **extra: str) -> None: ...

    assert around(function, 1, 2, 3, b="x", c="y") == ((1, 2, 3), {"b": "x", "c": "y"})
    assert "'rest'" in refused(function, 1, "x")
    assert "'extra'" in refused(function, 1, b=2)
    many = tuple(range(1000))
    assert around(function, *many) == (many, {})


def test_positional_only_arguments() -> None:
    def function(a: int, /, b: int, **extra: int) -> None: ...

    assert around(function, 1, 2) == ((1, 2), {})
    assert around(function, 1, b=2, a=3) == ((1,), {"b": 2, "a": 3})
    assert "missing argument(s) a" in refused(function, b=2)


def test_no_arguments_at_all() -> None:
    def function() -> None: ...

    raw = Arguments(function, "t").encode((), {})
    assert [bytes(part) for part in raw] == [b"[]", b"{}"]
    assert around(function) == ((), {})
    assert "takes 0 positional argument(s), 1 were given" in refused(function, 1)


def test_injected_parameters_are_not_carried() -> None:
    def function(a: int, pool: Annotated[Any, RESOURCE] = INJECTED) -> None: ...

    arguments = Arguments(function, "t")
    assert arguments.injected == {"pool": RESOURCE}
    assert around(function, 1) == ((1,), {})
    assert "'pool' is injected" in refused(function, 1, pool=2)
    assert "takes 1 positional argument(s), 2 were given" in refused(function, 1, 2)
    assert repr(INJECTED) == "INJECTED"


def test_injected_parameters_are_declared_rightly_or_refused() -> None:
    def bare(pool: Any = INJECTED) -> None: ...

    def two(pool: Annotated[Any, RESOURCE, 2] = INJECTED) -> None: ...

    def first(pool: Annotated[Any, RESOURCE] = INJECTED, a: int = 1) -> None: ...

    def extra(pool: Annotated[Any, RESOURCE] = INJECTED, **kwargs: int) -> None: ...

    for wrong in (bare, two):
        with pytest.raises(ConfigError, match=r"task t: parameter 'pool' = INJECTED: annotate it"):
            Arguments(wrong, "t")
    with pytest.raises(ConfigError, match="'a' stands after an injected one"):
        Arguments(first, "t")
    assert around(extra, b=1) == ((), {"b": 1})


def test_a_number_beyond_64_bits_arrives() -> None:
    assert Arguments(takes(int), "t").decode(msgspec.Raw(b"[99999999999999999999]"), NO_KWARGS) == (
        (10**20 - 1,),
        {},
    )


def test_a_sequence_of_another_kind_arrives_as_the_annotated_one() -> None:
    assert around(takes(list[int]), (1, 2)) == (([1, 2],), {})


def test_types_that_cannot_be_carried_are_refused_when_declared() -> None:
    def ambiguous(value: Point | Size) -> None: ...

    def unresolved(value: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigError, match="task t: parameter 'value'"):
        Arguments(ambiguous, "t")
    with pytest.raises(ConfigError, match=r"cannot be resolved.*import its name"):
        Arguments(unresolved, "t")


class Odd:
    """What JSON cannot hold."""


@dataclass(eq=False)
class Vector:
    """Like an array, equal to nothing in a way that can be asked."""

    x: int

    def __eq__(self, other: object) -> bool:
        raise ValueError("no truth value")

    __hash__ = None  # type: ignore[assignment]


def test_a_union_whose_members_json_cannot_tell_apart_is_refused_in_our_words() -> None:
    with pytest.raises(ConfigError) as caught:
        Arguments(takes(list[int] | tuple[int, int]), "tasks.t")
    assert str(caught.value) == (
        "task tasks.t: parameter 'value': the members of list[int] | tuple[int, int] cannot be told apart in JSON; "
        "take one of them, or msgspec.Struct classes that each have tag=True"
    )


def test_an_annotation_that_makes_no_sense_is_refused_with_its_reason() -> None:
    with pytest.raises(ConfigError, match=r"parameter 'value': .*Literal may only contain"):
        Arguments(takes(Literal[1.5]), "tasks.t")


def test_a_class_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="a Odd cannot be carried in JSON; pass its id"):
        Arguments(takes(Odd), "tasks.t")
    assert "annotate it" in refused(lambda value: None, Odd())
    text = decoding_refused(takes(list[Odd]), b"[[1]]")
    assert text == "tasks.t: argument 'value': Odd cannot be read from JSON, at $[0]"


def test_a_resource_without_its_default_is_refused() -> None:
    class Resource:
        is_resource = True

    def f(db: int) -> None: ...

    f.__annotations__["db"] = Annotated[int, Resource()]
    with pytest.raises(ConfigError, match="add the default = INJECTED"):
        Arguments(f, "f")


def test_a_class_that_cannot_be_compared_is_carried() -> None:
    ((vector,), _) = around(takes(Vector), Vector(5))
    assert (type(vector), vector.x) == (Vector, 5)


@pytest.mark.parametrize(
    ("kind", "text"), [(UUID, str(UUID(int=1))), (datetime, "2026-01-01T00:00:00Z"), (bytes, "aaaa")]
)
def test_text_that_json_would_turn_into_something_else_is_refused(kind: Any, text: str) -> None:
    assert f"expected {kind.__name__}, got str" in refused(takes(kind), text)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (b"[]", b"{}"),
        (b"[1,2]", b"{}"),
        (b'["x"]', b"{}"),
        (b"{}", b"{}"),
        (b"[1", b"{}"),
        (b"", b"{}"),
        (b"null", b"{}"),
        (b"[]", b'{"value":"x"}'),
        (b"[1]", b'{"value":1}'),
        (b"[]", b'{"other":1}'),
        (b"[]", b'{"value":'),
        (b"[]", b"[]"),
        (b"[" + b"[" * 100_000 + b"]" * 100_000 + b"]", b"{}"),
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_does_not_fit_is_refused_when_read(args: bytes, kwargs: bytes) -> None:
    text = decoding_refused(takes(int), args, kwargs)
    assert text.startswith("tasks.t: ")
    assert len(text) <= 300


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(b'["secret",2]', None), (b'["secret"]', b'{"y":2}'), (b"[]", b'{"y":2,"x":"secret"}')],
)
def test_the_parameter_that_does_not_fit_is_named_when_read(args: bytes, kwargs: bytes | None) -> None:
    def add(x: int, y: int = 1) -> None: ...

    assert decoding_refused(add, args, kwargs) == "tasks.t: argument 'x': expected int, got str"


def test_the_place_inside_an_argument_is_named_when_read() -> None:
    def add(x: int, y: list[int]) -> None: ...

    text = decoding_refused(add, b'[1,[2,"secret"]]')
    assert text == "tasks.t: argument 'y': expected int, got str, at $[1]"


def test_a_pydantic_model_is_validated_when_read() -> None:
    assert "ValidationError" in decoding_refused(takes(Model), b'[{"name":1}]')


def test_results_have_their_type() -> None:
    def function() -> Point: ...

    assert Arguments(function, "t").result_kind is Point
    assert Arguments(lambda: None, "t").result_kind is Any


class Cat(msgspec.Struct, tag=True):
    pass


class Dog(msgspec.Struct, tag=True):
    pass


class Checked(msgspec.Struct, forbid_unknown_fields=True):
    colour: Colour

    def __post_init__(self) -> None:
        raise ValueError("hunter2 is what somebody passed")


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (list[Colour], b'[["hunter2"]]'),
        (Checked, b'[{"colour":"red","hunter2":1}]'),
        (Checked, b'[{"colour":"red"}]'),
        (Model, b'[{"name":"a","at":"hunter2"}]'),
        (Cat | Dog, b'[{"type":"hunter2"}]'),
        (UUID, b'["hunter2"]'),
        (datetime, b'["hunter2"]'),
        (Annotated[str, msgspec.Meta(pattern="^a")], b'["hunter2"]'),
    ],
    ids=["enum", "unknown-field", "own-check", "pydantic", "tag", "uuid", "datetime", "pattern"],
)
def test_a_secret_does_not_appear_whatever_refuses_it(kind: Any, args: bytes) -> None:
    text = decoding_refused(takes(kind), args)
    assert "hunter2" not in text
    assert text.startswith("tasks.t: ")
    assert len(text) > len("tasks.t: ") + 5
