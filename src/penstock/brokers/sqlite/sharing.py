"""What lies beside the file is for whom the file is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def share(path: Path, like: os.stat_result) -> None:
    """Gives ``path``, which is new, the group of the file ``like``, and its mode; who may read may enter a folder."""
    mode = like.st_mode & 0o666
    if path.is_dir():
        mode |= (mode & 0o444) >> 2
    if hasattr(os, "chown") and path.stat().st_gid != like.st_gid:
        with suppress(PermissionError):  # only a member of the file's group can; others keep to their own
            os.chown(path, -1, like.st_gid)
    path.chmod(mode)
