"""The modules that a page writes: each is run by a command of the page, or else imported once, so that it says no lies.

Which were imported is seen from what Python leaves beside them: a ``.pyc`` that names its source's time and size.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_IMPORT: Final = """
import importlib, runpy, sys
sys.path.insert(0, "")
name, file = sys.argv[1:]
importlib.import_module(name) if name else runpy.run_path(file)
"""


class Modules:
    """What is known of the modules in a page's folder.

    Args:
        folder: The page's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[Path, str] = {}

    def written(self, file: Path, place: str) -> None:
        """A block has written this module."""
        self._places[file] = place

    def ran(self, command: str) -> None:
        """A command has ended well: what it names as Python's program was run."""
        for name in re.findall(r"\bpython3?\s+(?:-[^mc\s]\S*\s+)*(\S+\.py|-m\s+[\w.]+)", command):
            file = f"{name[2:].strip().replace('.', '/')}.py" if name.startswith("-m") else name
            self._places.pop(self._folder / file, None)

    def unseen(self, file: Path) -> bool:
        """Whether it stands as a block wrote it and nobody has run it since."""
        if file not in self._places or not file.exists():
            return False
        # A .pyc begins with its magic number and flags; then the source's time and size follow, 4 bytes each.
        stat = file.stat()
        mark = b"".join(int(n).to_bytes(4, "little") for n in (stat.st_mtime, stat.st_size))
        left = (file.parent / "__pycache__").glob(f"{file.stem}.{sys.implementation.cache_tag}*.pyc")
        return all(pyc.read_bytes()[8:16] != mark for pyc in left)

    def refused(self, file: Path, environment: Mapping[str, str], patience_s: float) -> str:
        """Imports it in a process of its own; where, and what went wrong, or an empty text."""
        parts = file.relative_to(self._folder).with_suffix("").parts
        name = ".".join(parts) if all(part.isidentifier() for part in parts) else ""
        try:
            done = subprocess.run(
                [sys.executable, "-c", _IMPORT, name.removesuffix(".__init__"), str(file)],
                cwd=self._folder,
                env=dict(environment),
                capture_output=True,
                text=True,
                timeout=patience_s,
            )
        except subprocess.TimeoutExpired:
            return f"{self._places[file]}: its import has not ended after {patience_s:g} s"
        if done.returncode:
            return (
                f"{self._places[file]}: nothing runs this module, and it cannot be imported:\n{done.stderr}"
            )
        return ""

    def all_unseen(self) -> list[Path]:
        """Those that nobody has run."""
        return [file for file in self._places if self.unseen(file)]
