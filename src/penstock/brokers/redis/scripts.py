"""The Lua scripts, each in a file of its own, and how a call of one is packed."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

from hiredis import pack_command

Arg = bytes | str | int | float


class Script:
    """One script; called by its digest, sent whole where the server does not know it."""

    def __init__(self, name: str, *, prelude: bool) -> None:
        folder = resources.files(__package__) / "lua"
        text = (folder / f"{name}.lua").read_text(encoding="utf-8")
        if prelude:
            text = (folder / "_queue.lua").read_text(encoding="utf-8") + text
        self.name = name
        self._text: Final = text.encode()
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
        self.args = args
        self.script = script

    def packed(self) -> bytes:
        """As it goes over the wire."""
        return pack_command(self.args)

    def whole(self) -> Command:
        """The same without the hope that the server knows the script."""
        assert self.script is not None  # noqa: S101 - only scripts are answered NOSCRIPT
        return Command(self.script.whole(self.args))


ENQUEUE = Script("enqueue", prelude=False)
FETCH = Script("fetch", prelude=True)
SETTLE = Script("settle", prelude=True)
BEAT = Script("beat", prelude=True)
JOIN = Script("join", prelude=True)
LEAVE = Script("leave", prelude=True)
EXTEND = Script("extend", prelude=True)
MAINTAIN = Script("maintain", prelude=True)
RECLAIM = Script("reclaim", prelude=True)
