"""The demo's other processes: ``python -m ...``, their lines shown, stopped at the end, whatever that end is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

STOP_WITHIN_S: Final = 10.0
_LINES_KEPT: Final = 20


class Child:
    """``python -m`` with some arguments, in a session of its own so that Ctrl-C reaches the demo alone.

    Args:
        arguments: After ``python -m``.
        folder: Where it runs.
        environment: All of its variables.
        on_line: Given each line that it prints.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> None:
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._on_line = on_line
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock.cli.demo.actor", str(os.getpid()), *arguments],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def ended(self) -> int | None:
        """Its exit code once it has ended."""
        return self._process.poll()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())
            self._on_line(line.rstrip())

    def stop(self) -> None:
        """Asks it to end; kills it, with all that it started, where it does not."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(1.0)
        if not self._reader.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()
