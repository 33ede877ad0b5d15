"""One line, whatever is in it; and streams that can show whatever is in it."""

from __future__ import annotations

import io
import sys


def one_line(text: str) -> str:
    """``text`` without line breaks."""
    return " ".join(text.split())


def prepare_streams(*, line_buffered: bool = False) -> None:
    """What a terminal's encoding does not have is shown escaped, not refused; a worker's lines come one by one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=line_buffered or None)
