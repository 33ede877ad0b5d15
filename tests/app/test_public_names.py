"""The names of ``penstock``: the list that type checkers read, what they take each for, and what loads it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_type_hints

import penstock
from penstock import SendOptions, Task


def test_the_lists_of_public_names_are_one() -> None:
    tree = ast.parse(Path(penstock.__file__).read_text())
    [typed] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in typed.body if isinstance(node, ast.ImportFrom)]
    seen = {(alias.name, alias.asname): node.module for node in imports for alias in node.names}
    assert seen == {(name, name): room for name, room in penstock._ROOMS.items()}
    assert sorted(penstock.__all__) == sorted([*penstock._ROOMS, "__version__"])


def test_a_star_gives_them_all() -> None:
    given: dict[str, object] = {}
    exec("from penstock import *", given)
    given.pop("__builtins__")
    assert set(given) == set(penstock.__all__)


def test_the_options_of_a_call_are_the_same_as_a_dict_and_as_arguments() -> None:
    arguments = get_type_hints(Task.options)
    del arguments["unknown"], arguments["return"]
    assert get_type_hints(SendOptions) == arguments
