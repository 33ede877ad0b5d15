"""Which queues a worker takes from, and in which order: ``mail,default`` strictly, ``mail=3,default=1`` by weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from penstock.core.job import check_queue_names
from penstock.errors import ConfigError

MOST_WEIGHT: Final = 1_000


class QueueList(NamedTuple):
    """Queues, each once.

    Attributes:
        names: In the order in which they were written.
        weights: How often each comes first, in proportion to the others'; None: in strict order.
    """

    names: Sequence[str]
    weights: Sequence[int] | None = None

    def __str__(self) -> str:
        """As it is shown: ``mail, default`` or ``mail=3, default=1``."""
        if self.weights is None:
            return ", ".join(self.names)
        return ", ".join(f"{name}={weight}" for name, weight in zip(self.names, self.weights, strict=True))


def read_queue_list(given: str | Iterable[str], where: str = "-Q ") -> QueueList:
    """Reads what ``-Q`` takes; where one queue has a weight, those without have 1.

    Args:
        given: ``mail=3,default``, or its parts.
        where: What stands before it where it was given, for the message.

    Raises:
        ConfigError: It names no queue, a name cannot be a queue's, or a weight is none.
    """
    try:
        text = given if isinstance(given, str) else ",".join(given)
    except TypeError:
        raise ConfigError(f"{where}{given!r}: names as text, such as 'mail' or 'mail=3'") from None
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise ConfigError(f"{where}{text!r} names no queue")
    if not all(parts):
        raise ConfigError(
            f"{where}{text!r}: a name between two commas, or at an end, is empty; write {where}mail,default"
        )
    names = check_queue_names(part.partition("=")[0].strip() for part in parts)
    if "=" not in text:
        for part in parts:
            # Sidekiq's spelling; it would be a worker that serves a queue which nobody uses.
            if part.isdigit():
                raise ConfigError(
                    f"{where}{text}: weights are written {where}mail=3; a queue {part!r} as {part}=1"
                )
        return QueueList(names)
    weights: dict[str, int] = {}
    for part in parts:
        name, equals, weight = part.partition("=")
        name = name.strip()
        if name in weights:
            raise ConfigError(
                f"{where}{text}: {name!r} is named twice; give it one weight: {where}mail=3,default=1"
            )
        weights[name] = (
            _weight(weight.strip(), f"{where}{text}: the weight of {name!r}", where) if equals else 1
        )
    return QueueList(list(weights), list(weights.values()))


def _weight(weight: str, what: str, where: str) -> int:
    # Not int() alone, which also reads "+3", "1_0" and other scripts' digits.
    if weight.isascii() and weight.isdigit() and 1 <= int(weight[:9]) <= MOST_WEIGHT:
        return int(weight)
    raise ConfigError(
        f"{what} is a whole number from 1 to {MOST_WEIGHT}, not {weight!r}: {where}mail=3,default=1"
    )
