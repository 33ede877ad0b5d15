"""The Lua scripts, each in a file of its own, and how a call of one is packed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import resources
from threading import get_ident, main_thread
from typing import Any, Final

import hiredis

Arg = bytes | str | int | float

_hiredis: Any = hiredis
# Its own types promise tuples of one.
pack: Final[Callable[[tuple[Arg, ...]], bytes]] = _hiredis.pack_command


def _written(number: float) -> str:
    """As the driver writes it, whatever class of numbers it is of."""
    return int.__repr__(number) if isinstance(number, int) else float.__repr__(number)


class Script:
    """One script; called by its digest, sent whole where the server does not know it."""

    def __init__(self, name: str, *preludes: str) -> None:
        folder = resources.files("penstock.brokers.redis") / "lua"
        files = [(folder / f"{each}.lua").read_text(encoding="utf-8") for each in (*preludes, name)]
        self.name = name
        self._text: Final = "\n".join(files).encode()
        self._digest: Final = hashlib.sha1(self._text, usedforsecurity=False).hexdigest().encode()

    def call(self, keys: tuple[bytes, ...], args: tuple[Arg, ...] | list[Arg]) -> Command:
        """This script with its keys and arguments."""
        return Command((b"EVALSHA", self._digest, len(keys), *keys, *args), self)

    def whole(self, call: tuple[Arg, ...]) -> tuple[Arg, ...]:
        """The same call with the script's text, which also makes the server remember it."""
        return (b"EVAL", self._text, *call[2:])


class Command:
    """One command to the server, packed when it is sent; ``script`` where it is a script's call."""

    __slots__ = ("args", "script")

    def __init__(self, args: tuple[Arg, ...], script: Script | None = None) -> None:
        self.args: tuple[Arg, ...] = args
        self.script: Script | None = script

    def packed(self) -> bytes:
        """As it goes over the wire."""
        args = self.args
        if get_ident() == main_thread().ident:
            # hiredis 3.5 crashes the process where a signal's handler raises while it writes a number out. Handlers run
            # on the main thread, which a worker does not talk to the server from.
            args = tuple([arg if isinstance(arg, (bytes, str)) else _written(arg) for arg in args])
        return pack(args)

    def whole(self) -> Command:
        """The same without the hope that the server knows the script."""
        assert self.script is not None
        return Command(self.script.whole(self.args))


ENQUEUE = Script("enqueue")
FETCH = Script("fetch", "_queue")
PEEK = Script("peek", "_queue")
SETTLE = Script("settle", "_queue")
BEAT = Script("beat", "_queue")
JOIN = Script("join", "_queue")
LEAVE = Script("leave", "_queue")
EXTEND = Script("extend", "_queue")
MAINTAIN = Script("maintain", "_queue")
RECLAIM = Script("reclaim", "_queue")
PAUSE = Script("pause", "_queue")
COUNTS = Script("counts", "_queue")
RECORDS = Script("records", "_queue", "_locate")
CHANGE = Script("change", "_queue", "_locate")
PAGE = Script("page")
WORKER = Script("worker")
ORDER = Script("order")
