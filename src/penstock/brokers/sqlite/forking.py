"""What a fork does to connections.

SQLite remembers in the process which locks the process has on a file; the kernel does not give a child its parent's
locks. A child that opens a file which was open at the fork would trust in locks that it has not got, and could damage
it. So every connection is closed for the moment of a fork, and opened again by whoever uses it next, on either side.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forks(Protocol):
    """What wants to know of a fork."""

    def before_fork(self) -> None:
        """Closes what must not be open; it stays so until the fork is over."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """Goes on, in the parent or in the child."""
        ...


_known: weakref.WeakSet[Forks] = weakref.WeakSet()
_told: list[Forks] = []


def tell(who: Forks) -> None:
    """From now on ``who`` is told of forks, for as long as it lives."""
    _known.add(who)


def _before() -> None:
    _told[:] = list(_known)
    for who in _told:
        who.before_fork()


def _after(*, child: bool) -> None:
    for who in _told:
        who.after_fork(child=child)
    _told.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(child=False),
        after_in_child=lambda: _after(child=True),
    )
