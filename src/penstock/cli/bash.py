"""Completion in bash, which hands on ``shop:app`` and ``--queue=mail`` as three words each.

So the line is asked for as it was typed, and read by the rules of a shell.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Final

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

# Behind these bash begins a word of its own (COMP_WORDBREAKS), and takes what is offered for the rest of that.
_BREAKS: Final = "=:"


class Bash(BashComplete):
    """Click's, but for whole words. A script of an earlier version, which has no line to tell, works as it did."""

    source_template: ClassVar[str] = BashComplete.source_template.replace(
        "env COMP_WORDS", 'env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDS'
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is typed, and that."""
        line = os.environ.get("COMP_LINE", "")
        if not line:
            return super().get_completion_args()
        words = split_arg_string(line)[1:]
        if line[-1].isspace():
            return words, ""
        return words[:-1], words[-1] if words else ""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """A line for the script: the kind, and the word without the part that bash keeps."""
        _, begun = self.get_completion_args()
        kept = begun[: max(begun.rfind(mark) for mark in _BREAKS) + 1]
        return f"{item.type},{item.value.removeprefix(kept)}"


def register() -> None:
    """Makes it what ``bash`` means to click."""
    add_completion_class(Bash)
