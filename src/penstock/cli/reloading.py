"""``penstock worker --reload``: runs a worker as a child, and another in its place when a Python file has changed.

For development. This process never imports the application, so nothing in it can keep the watcher from watching.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock.errors import ConfigError
from penstock.runtime.ended import signal_name
from penstock.runtime.orphan import RELOADED

if TYPE_CHECKING:
    from types import FrameType

log: logging.Logger = logging.getLogger("penstock.reload")

# A change is made by somebody who waits for it: what runs has so long to end, then it is given back.
GRACE_S: Final = 2.0
CLOSE_WITHIN_S: Final = 8.0
# How long after a change another one belongs to it, as when an editor or git writes many files.
_GATHER_MS: Final = 200
_LOOK_MS: Final = 500
_STEP_MS: Final = 50
_MOST_NAMES: Final = 3
_STOPS: Final = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


class Reloader:
    """Runs until it is told to stop, or the worker has ended by itself.

    Args:
        argv: The command of the worker.
        folders: Those that are watched, with all below.
    """

    def __init__(self, argv: Sequence[str], folders: Sequence[Path]) -> None:
        self._argv = list(argv)
        self._folders = folders
        self._worker: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._code = 0

    def run(self) -> int:
        """Returns the exit code: the worker's last.

        Raises:
            ConfigError: watchfiles is not installed.
        """
        try:
            from watchfiles import PythonFilter, watch
        except ModuleNotFoundError as error:
            raise ConfigError("--reload needs watchfiles: pip install 'penstock[reload]'") from error
        before = {number: signal.signal(number, self._on_signal) for number in _STOPS}
        for number in (signal.SIGTSTP, signal.SIGUSR1):
            before[number] = signal.signal(number, self._pass_on)
        try:
            self._start()
            log.info("watching %s for changes of .py files", ", ".join(map(str, self._folders)))
            for changes in watch(
                *self._folders,
                watch_filter=PythonFilter(),
                debounce=_GATHER_MS,
                step=_STEP_MS,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                raise_interrupt=False,
            ):
                if self._stop.is_set():
                    break
                if changes:
                    self._changed([Path(name) for _, name in changes])
                elif self._has_ended():
                    return self._code
            self._wait()
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._code

    # --- signals

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The worker has a group of its own, so what a terminal sends comes here alone and is passed on once."""
        self._stop.set()
        # A supervisor would take a SIGHUP for the wish for fresh workers.
        self._pass_on(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM, None)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._worker is not None and self._worker.poll() is None:
            self._worker.send_signal(number)

    # --- the worker

    def _start(self) -> None:
        environment = {**os.environ, RELOADED: str(os.getpid())}
        # Python takes a compiled file for a source's by its size and its second: a quick change of one character would
        # run the code of before.
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        self._worker = subprocess.Popen(self._argv, env=environment, process_group=0)

    def _changed(self, files: Sequence[Path]) -> None:
        names = sorted(_short(file) for file in files)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        log.info("%s%s changed: the worker is restarted", ", ".join(names[:_MOST_NAMES]), more)
        self._end()
        if not self._stop.is_set():
            self._start()

    def _end(self) -> None:
        """Drains the worker; what runs after a moment is given back, and what does not even end then is killed."""
        worker = self._worker
        if worker is None:
            return
        steps = ((signal.SIGTERM, GRACE_S), (signal.SIGTERM, CLOSE_WITHIN_S), (signal.SIGKILL, None))
        for number, within_s in steps:
            if worker.poll() is not None:
                break
            worker.send_signal(number)
            try:
                worker.wait(within_s)
            except subprocess.TimeoutExpired:
                continue
        self._worker = None

    def _has_ended(self) -> bool:
        """Whether the worker has ended as it was told to; one that failed is waited for a change of."""
        worker = self._worker
        if worker is None or worker.poll() is None:
            return False
        self._worker, self._code = None, worker.returncode
        if self._code == 0:
            return True
        how = (
            f"ended with exit code {self._code}"
            if self._code > 0
            else f"was killed by {signal_name(-self._code)}"
        )
        log.error("the worker %s; another is started at the next change", how)
        return False

    def _wait(self) -> None:
        """It was told to stop and passed that on: the worker ends as it would without a watcher."""
        if self._worker is not None:
            self._code = self._worker.wait()
            self._worker = None


def run(argv: Sequence[str], reference: str, folders: Sequence[str]) -> int:
    """Watches and restarts a worker until told to stop; returns the exit code.

    Args:
        argv: The command of the worker.
        reference: The application, as ``-A`` names it.
        folders: What to watch in place of the application's folder.

    Raises:
        ConfigError: watchfiles is not installed, or a folder is not there.
    """
    watched = [Path(folder).resolve() for folder in folders] or [folder_of(reference)]
    for folder in watched:
        if not folder.is_dir():
            raise ConfigError(f"--reload-dir {folder}: there is no such folder")
    return Reloader(argv, watched).run()


def without_reload(arguments: Sequence[str]) -> list[str]:
    """The command line of the worker that is started and restarted."""
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--reload-dir":
            del rest[:1]
        elif word != "--reload" and not word.startswith("--reload-dir="):
            kept.append(word)
    return kept


def folder_of(reference: str) -> Path:
    """The folder of an application, found without importing it: that of its file, or of its outermost package."""
    place = reference.partition(":")[0]
    if place.endswith(".py") or "/" in place:
        folder = Path(place).resolve().parent
        while (folder / "__init__.py").is_file():
            folder = folder.parent
        return folder
    outermost = place.partition(".")[0]
    here = Path.cwd()
    if (here / outermost).is_dir() or (here / f"{outermost}.py").is_file():
        return here
    try:
        found = importlib.util.find_spec(outermost)
    except (ImportError, ValueError):
        found = None
    return here if found is None or found.origin is None else Path(found.origin).resolve().parent


def _short(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
