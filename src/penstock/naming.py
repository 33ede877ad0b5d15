"""How a task and its application are called: by the module in which they are made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any


def module_name(frame: FrameType) -> str:
    """The module that a frame's code belongs to."""
    name: str = frame.f_globals.get("__name__", "")
    return _script_name(frame.f_globals) if name == "__main__" else name


def _script_name(names: Mapping[str, Any]) -> str:
    """The module name of a script run as ``__main__``: a worker knows its tasks by that."""
    spec = names.get("__spec__")
    if spec is not None and spec.name:
        return str(spec.name).removesuffix(".__main__")
    file = names.get("__file__")
    return Path(file).stem if file else "__main__"


def folder_of(frame: FrameType) -> Path:
    """Where that module lies; the current folder where it is no file."""
    file = frame.f_globals.get("__file__")
    return Path(file).resolve().parent if file else Path.cwd()


def task_name(function: Callable[..., Any]) -> str:
    """``module.function``."""
    module = getattr(function, "__module__", "") or ""
    if module == "__main__":
        module = _script_name(vars(sys.modules["__main__"]))
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"
