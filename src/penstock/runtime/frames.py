"""What a worker and its child processes say to each other: values with their length before them, on a socket pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from penstock.core.job import Delivery
from penstock.core.settlement import Again, Cancelled, Dead, Defer, Done, Release, Settlement
from penstock.runtime.limits import NO_LIMITS, Limits
from penstock.runtime.run import Ask


class Hello(msgspec.Struct, tag=True):
    """The worker's first words.

    Attributes:
        app_reference: Where the application is: ``module:attribute``.
        path: The worker's ``sys.path``, on which that module was found.
        command_line: Settings that the worker was given there.
        limits: When the child is to be replaced.
        log_levels: Levels by logger's name; the child's records come to the worker unless its application set up
            logging by itself.
    """

    app_reference: str
    path: list[str]
    command_line: dict[str, Any]
    log_levels: dict[str, int]
    limits: Limits = NO_LIMITS


class Work(msgspec.Struct, tag=True):
    """Run this delivery."""

    delivery: Delivery
    stopping: bool
    max_result: int
    shell: str


class Asked(msgspec.Struct, tag=True):
    """The delivery of this token is asked to end."""

    token: int
    why: Ask


class Stopping(msgspec.Struct, tag=True):
    """The worker drains."""


class Ready(msgspec.Struct, tag=True):
    """The child has loaded the application.

    ``warning`` says what is wrong with its limits; empty for nothing.
    """

    warning: str = ""


class Unfit(msgspec.Struct, tag=True):
    """The child cannot run jobs: why."""

    reason: str


class Told(msgspec.Struct, tag=True):
    """Progress of the delivery of this token, as JSON. It may come after that one's settlement."""

    token: int
    data: bytes


class Logged(msgspec.Struct, tag=True):
    """A log record of the child's, already formatted."""

    name: str
    level: int
    text: str
    path: str
    line: int
    created_at: float


class Settled(msgspec.Struct, tag=True):
    """The running job has ended; ``body`` is its settlement, of the type named by ``kind``.

    ``worn`` says why the child is to be replaced; empty while it is not.
    """

    kind: str
    body: msgspec.Raw
    worn: str = ""


class Worn(msgspec.Struct, tag=True):
    """The child has fallen idle and is to be replaced: why. The next job may be on its way to it already."""

    why: str


ToChild = Hello | Work | Asked | Stopping
FromChild = Ready | Unfit | Told | Logged | Settled | Worn

_KINDS: Final = {kind.__name__: kind for kind in (Done, Again, Defer, Dead, Cancelled, Release)}
_LENGTH: Final = 4
_encoder = msgspec.msgpack.Encoder()
_decode: Callable[..., Any] = msgspec.msgpack.decode
decode_to_child: Final = msgspec.msgpack.Decoder(ToChild).decode
decode_from_child: Final = msgspec.msgpack.Decoder(FromChild).decode


def frame(value: ToChild | FromChild) -> bytes:
    """``value`` as it goes over the wire."""
    data = _encoder.encode(value)
    return len(data).to_bytes(_LENGTH) + data


class Inbox:
    """Cuts what was received into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes received bytes; gives the frames that are whole now."""
        self._data += data
        while len(self._data) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._data[:_LENGTH])
            if len(self._data) < end:
                return
            part = bytes(self._data[_LENGTH:end])
            del self._data[:end]
            yield part


def settled(settlement: Settlement, worn: str = "") -> Settled:
    """A settlement for the way back: without the job's body, which the worker has."""
    delivery = settlement.delivery
    settlement.delivery = Delivery(delivery.id, delivery.queue, b"", delivery.token)
    return Settled(type(settlement).__name__, msgspec.Raw(_encoder.encode(settlement)), worn)


def settlement_of(said: Settled, delivery: Delivery) -> Settlement:
    """The settlement that a child sent, of this delivery."""
    settlement: Settlement = _decode(said.body, type=_KINDS[said.kind])
    settlement.delivery = delivery
    return settlement
