"""A task's parameters: what may be passed, how it is written as JSON, and how it is read back.

Arguments are checked twice, when enqueued and when run, by the same rule: what is written must read back, by the
annotations, as what was given. A parameter without annotation takes what JSON gives back unchanged.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, cast, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from penstock.core.codec import NO_ARGS, NO_KWARGS
from penstock.errors import ConfigError, InvalidArguments

_NATIVE: Final = (bytes, bytearray, datetime, date, time, timedelta, UUID, Decimal)
_NATIVE_TYPES: Final = bytes | bytearray | datetime | date | time | timedelta | UUID | Decimal
_REASON_LENGTH: Final = 300


class _Injected:
    """The type of ``INJECTED``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "INJECTED"


INJECTED: Any = _Injected()
"""The default of a parameter that Penstock fills in from a resource; typed ``Any``."""


def _encode_hook(value: Any) -> Any:
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_UNREADABLE: Final = "cannot be read from JSON"


def _decode_hook(kind: Any, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise TypeError(f"{getattr(kind, '__name__', kind)} {_UNREADABLE}")


encode: Final = msgspec.json.Encoder(enc_hook=_encode_hook).encode


class Decoder:
    """Reads one type from JSON, and says in words what does not fit."""

    __slots__ = ("decode", "kind")

    def __init__(self, kind: Any) -> None:
        self.kind: Any = kind
        self.decode: Callable[[bytes | msgspec.Raw], Any] = msgspec.json.Decoder(
            kind, dec_hook=_decode_hook
        ).decode


def has_nonfinite(value: Any) -> bool:
    """Whether a NaN or an infinity is anywhere in ``value``; JSON has no word for them and would say null."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value)  # type: ignore[redundant-cast]  # pyright does not know its parts
        return any(has_nonfinite(key) or has_nonfinite(pairs[key]) for key in pairs)
    if isinstance(value, list | tuple | set | frozenset):
        return any(has_nonfinite(part) for part in cast("Sequence[Any]", value))
    if value is None or isinstance(value, str | int | _NATIVE_TYPES):
        return False
    return has_nonfinite(msgspec.to_builtins(value, enc_hook=_encode_hook, builtin_types=_NATIVE))


class _Parameter:
    """One parameter of a task, or what all extra arguments have in common."""

    __slots__ = ("annotated", "decoder", "kind", "name", "required")

    def __init__(self, name: str, kind: Any, annotated: bool, required: bool) -> None:
        self.name = name
        self.kind = kind
        self.annotated = annotated
        self.required = required
        try:
            self.decoder = Decoder(kind)
        except TypeError as error:
            raise ConfigError(f"parameter {name!r}: {_unsupported(kind, error)}") from error
        if not _can_be_carried(kind):
            raise ConfigError(
                f"parameter {name!r}: a {type_name(kind)} cannot be carried in JSON; pass its id, its parts, or a "
                "dataclass, msgspec.Struct, attrs or pydantic model"
            )

    def problem(self, value: Any) -> str | None:
        """Why ``value`` does not fit this parameter, or None where it does. The value itself is never quoted."""
        given = type(value).__name__
        expected = type_name(self.kind)
        if not self.annotated:
            expected = "str, int, finite float, bool, None, list or dict with str keys"
        refused = f"{self.name!r}: expected {expected}, got {given}"
        try:
            raw = encode(value)
            if b"null" in raw and has_nonfinite(value):
                return f"{self.name!r}: expected {expected}, got a float that is not finite"
            back = self.decoder.decode(raw)
        except msgspec.ValidationError as error:
            return f"{refused} ({told(error)})" if "$" in str(error) else refused
        except RecursionError:
            return f"{self.name!r}: nested too deeply"
        except (TypeError, ValueError, OverflowError) as error:
            return f"{refused} ({type(error).__name__})" if self.annotated else f"{refused}; annotate it"
        if _same(back, value):
            return None
        if not self.annotated:
            return f"{refused}; annotate it to pass a {given}"
        try:
            msgspec.convert(value, self.kind, builtin_types=_NATIVE, dec_hook=_decode_hook)
        except (msgspec.ValidationError, TypeError) as error:
            return f"{refused} ({told(error)})"
        return None


def told(error: BaseException) -> str:
    """What a validator says, in our words and without what it quotes of the value: no error and no log has those."""
    text, dash, path = str(error).rpartition(" - at `")
    if not dash:
        text, path = path, ""
    where = f", at {path.removesuffix('`')}" if dash else ""
    if error.__cause__ is not None and not text.endswith(
        _UNREADABLE
    ):  # a class's own words may hold anything
        text = type(error.__cause__).__name__
    elif text.startswith("Invalid enum value"):
        text = "invalid enum value"
    elif text.startswith("Invalid value"):
        text = "invalid value"
    elif text.startswith("Object contains unknown field"):
        text = "unknown field"
    elif text.startswith("Expected `"):
        text = text.replace("Expected", "expected", 1).replace("`", "")
    return text + where


def _unsupported(kind: Any, error: TypeError) -> str:
    text = str(error)
    if not text.startswith(("Type unions may not", "If a type union contains")):
        return text
    return (
        f"the members of {type_name(kind)} cannot be told apart in JSON; take one of them, or msgspec.Struct classes "
        "that each have tag=True"
    )


def _same(back: Any, value: Any) -> bool:
    try:
        return bool(back == value)
    except (TypeError, ValueError):  # a type whose == gives no truth value, e.g. an array
        return False


def _can_be_carried(kind: Any) -> bool:
    """Whether a class is one that can be written and read; what stands inside other types shows when it is used."""
    if (
        not isinstance(kind, type)
        or kind.__module__ == "builtins"
        or kind in _NATIVE
        or hasattr(kind, "model_validate")
    ):
        return True
    import msgspec.inspect

    return not isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)


def type_name(kind: Any) -> str:
    """A type as its annotation says it."""
    if get_origin(kind) is None and isinstance(kind, type):
        return kind.__name__
    return str(kind).replace("typing.", "")


class Arguments:
    """What a task takes.

    Args:
        function: The task's own function; ``self`` of a class task is already bound.
        where: The task's name, for messages.

    Attributes:
        injected: Name of each injected parameter and the resource (the annotation's metadata) that fills it.

    Raises:
        ConfigError: A parameter cannot be carried, or an injected one is declared wrongly.
    """

    def __init__(self, function: Callable[..., Any], where: str) -> None:
        self._where = where
        self.signature: inspect.Signature = inspect.signature(function)
        hints = _hints(function)
        self.result_kind: Any = hints.get("return", Any)
        self.injected: dict[str, Any] = {}
        self._positional: list[_Parameter] = []
        self._named: dict[str, _Parameter] = {}
        self._rest: _Parameter | None = None
        self._extra: _Parameter | None = None
        self._decoders: dict[int, Decoder] = {}
        try:
            for parameter in self.signature.parameters.values():
                self._add(parameter, hints)
        except ConfigError as error:
            raise ConfigError(f"task {where}: {error}") from error
        self._required = sum(1 for parameter in self._positional if parameter.required)
        self._only_named = any(p.required for p in self._named.values() if p not in self._positional)

    def _add(self, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> None:
        if parameter.default is INJECTED:
            metadata = (
                get_args(hints.get(parameter.name))[1:] if get_origin(hints.get(parameter.name)) else ()
            )
            if get_origin(hints.get(parameter.name)) is not Annotated or len(metadata) != 1:
                raise ConfigError(
                    f"parameter {parameter.name!r} = INJECTED: annotate it Annotated[Type, resource]"
                )
            self.injected[parameter.name] = metadata[0]
            return
        if any(getattr(part, "is_resource", False) for part in get_args(hints.get(parameter.name))[1:]):
            raise ConfigError(
                f"parameter {parameter.name!r} is annotated with a resource: add the default = INJECTED"
            )
        if self.injected and parameter.kind is not parameter.VAR_KEYWORD:
            raise ConfigError(
                f"parameter {parameter.name!r} stands after an injected one; injected ones come last"
            )
        annotated = parameter.annotation is not parameter.empty
        made = _Parameter(
            parameter.name,
            hints.get(parameter.name, Any) if annotated else Any,
            annotated and hints.get(parameter.name, Any) is not Any,
            parameter.default is parameter.empty,
        )
        match parameter.kind:
            case parameter.VAR_POSITIONAL:
                self._rest = made
            case parameter.VAR_KEYWORD:
                self._extra = made
            case parameter.KEYWORD_ONLY:
                self._named[made.name] = made
            case parameter.POSITIONAL_ONLY:
                self._positional.append(made)
            case _:
                self._positional.append(made)
                self._named[made.name] = made

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[msgspec.Raw, msgspec.Raw]:
        """The arguments as JSON.

        Raises:
            InvalidArguments: They do not fit; the text names the parameter and the types, never the value.
        """
        if not kwargs and self._required <= len(args) and not self._only_named:
            if not args and self._rest is None:
                return NO_ARGS, NO_KWARGS
            if len(args) <= len(self._positional) or self._rest is not None:
                raw = self._encode_positional(args)
                if raw is not None:
                    return msgspec.Raw(raw), NO_KWARGS
        return self._encode_slowly(args, kwargs)

    def _encode_positional(self, args: Sequence[Any]) -> bytes | None:
        """The quick way: write all, read all back, compare all at once. None where anything needs a closer look."""
        try:
            raw = encode(args)
            if b"null" in raw and has_nonfinite(args):
                return None
            return raw if bool(self._decoder(len(args)).decode(raw) == args) else None
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            return None

    def _encode_slowly(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[msgspec.Raw, msgspec.Raw]:
        parameters = self._bind(len(args), kwargs)
        for parameter, value in zip(parameters, (*args, *kwargs.values()), strict=True):
            problem = parameter.problem(value)
            if problem is not None:
                raise InvalidArguments(f"{self._where}: argument {problem}")
        return msgspec.Raw(encode(args)), msgspec.Raw(encode(kwargs)) if kwargs else NO_KWARGS

    def _bind(self, count: int, names: Mapping[str, Any]) -> list[_Parameter]:
        """The parameter of each positional, then each named argument.

        Raises:
            InvalidArguments: One is missing, given twice, or not known.
        """
        taken = self._positional[:count]
        if count > len(self._positional):
            if self._rest is None:
                raise InvalidArguments(
                    f"{self._where}: takes {len(self._positional)} positional argument(s), {count} were given"
                )
            taken = [*self._positional, *([self._rest] * (count - len(self._positional)))]
        given = {parameter.name for parameter in taken if parameter is not self._rest}
        named: list[_Parameter] = []
        for name in names:
            parameter = self._named.get(name) or self._extra
            if name in self.injected:
                raise InvalidArguments(f"{self._where}: argument {name!r} is injected; do not pass it")
            if name in given and name in self._named:
                raise InvalidArguments(f"{self._where}: argument {name!r} was given twice")
            if parameter is None:
                raise InvalidArguments(f"{self._where}: no parameter {name!r}; it takes {self.signature}")
            named.append(parameter)
        present = given | set(names)
        missing = [
            p.name for p in (*self._positional, *self._named.values()) if p.required and p.name not in present
        ]
        if missing:
            raise InvalidArguments(f"{self._where}: missing argument(s) {', '.join(dict.fromkeys(missing))}")
        return [*taken, *named]

    def decode(self, args: msgspec.Raw, kwargs: msgspec.Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the function takes them.

        Raises:
            InvalidArguments: They do not fit; the text names the parameter and the types.
        """
        if kwargs is NO_KWARGS and not self._only_named:
            if args is NO_ARGS and not self._required:
                return (), {}
            if self._rest is None:
                try:  # most calls give every argument by position; any other takes the long way
                    return self._decoder(len(self._positional)).decode(args), {}
                except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
                    pass
        return self._decode_slowly(bytes(args), bytes(kwargs))

    def _decode_slowly(self, raw: bytes, raw_named: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            values = _split_list(raw)
            named = _split_dict(raw_named) if raw_named != b"{}" else {}
            parameters = self._bind(len(values), named)
        except InvalidArguments:
            raise
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            # Without its cause, which quotes the value.
            reason = f"{self._where}: {type(error).__name__}: {told(error)}"
            raise InvalidArguments(reason[:_REASON_LENGTH]) from None
        if not named:
            with contextlib.suppress(msgspec.MsgspecError, TypeError, ValueError, RecursionError):
                return self._decoder(len(values)).decode(raw), {}
        # Each by itself, so that the one that does not fit can be named.
        decoded = [self._read(p, v) for p, v in zip(parameters, (*values, *named.values()), strict=True)]
        return tuple(decoded[: len(values)]), dict(zip(named, decoded[len(values) :], strict=True))

    def _read(self, parameter: _Parameter, raw: msgspec.Raw) -> Any:
        try:
            return parameter.decoder.decode(raw)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            kind = "" if isinstance(error, msgspec.ValidationError) else f"{type(error).__name__}: "
            reason = f"{self._where}: argument {parameter.name!r}: {kind}{told(error)}"
            raise InvalidArguments(reason[:_REASON_LENGTH]) from None

    def _decoder(self, count: int) -> Decoder:
        decoder = self._decoders.get(count)
        if decoder is None:
            kinds = [p.kind for p in self._positional[:count]]
            if self._rest is not None:
                kinds += [self._rest.kind] * (count - len(kinds))
            decoder = Decoder(tuple[tuple(kinds)])  # type: ignore[misc]  # a tuple type made at run time
            if (
                count <= len(self._positional) + 16
            ):  # a function of *args must not keep a decoder for each length
                self._decoders[count] = decoder
        return decoder


_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_split_dict = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"{function.__module__}.{function.__qualname__}: an annotation cannot be resolved ({error}); "
            "import its name at the top of the module, not under TYPE_CHECKING"
        ) from error
