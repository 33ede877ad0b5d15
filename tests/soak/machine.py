"""What the figures were taken on."""

from __future__ import annotations

import subprocess


def redis_version() -> str:
    """Of the server that the runs start."""
    said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    return next((word[2:] for word in said.split() if word.startswith("v=")), "?")
