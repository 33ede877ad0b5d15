"""A person at a terminal: one shell for a page, in which commands are typed one after another.

What a program like a worker or a web server says is read while it runs; all of them are ended by their process ids.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

POLL_S: Final = 0.01

# A pipe fails where one of its commands does; a failure inside "(...)" and "$(...)" is heard of too.
# Ends what still runs when the shell ends, however that comes.
_BEGIN: Final = """
set -o pipefail -o errtrace
trap 'for job in $(jobs -p); do kill -KILL -- "-$job" || kill -KILL "$job"; done 2>/dev/null' EXIT
"""


class Failed(Exception):
    """A block did not do what its page shows; the text says where, what was expected and what came."""


def pattern(shown: str) -> str:
    """The regular expression of shown output: a line ``...`` stands for any lines, ``...`` in a line for any text.

    Columns may be wider or narrower than shown: as many spaces as come.
    """
    lines = [line.rstrip() for line in shown.rstrip("\n").split("\n")]
    return "".join(
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(_spaced, line.split("..."))) + r"[ \t]*\n"
        for line in lines
    )


def _spaced(text: str) -> str:
    return re.sub(r" +", " +", re.escape(text).replace("\\ ", " "))


class Program:
    """A command that goes on: its output up to now, and how far the page has shown it."""

    def __init__(self, command: str, group: int, output: Path) -> None:
        self.command = command
        self.group = group
        self._output = output
        self._read = 0

    @property
    def text(self) -> str:
        return self._output.read_text(errors="replace")

    def running(self) -> bool:
        try:
            os.killpg(self.group, 0)
        except ProcessLookupError:
            return False
        return True

    def lives(self) -> bool:
        """Whether the process that was started is there, not only what it has left behind."""
        try:
            os.kill(self.group, 0)
        except ProcessLookupError:
            return False
        return True

    def wait_for(self, expression: str, patience_s: float, *, whole: bool = False) -> str:
        """Waits until what it says next begins with ``expression`` (``whole``: is it, to the end, once it has ended).

        Returns an empty text, or where that does not come what it said instead.
        """
        mono_until = time.monotonic() + patience_s
        while True:
            ended = not self.running()
            rest = self.text[self._read :]
            found = re.compile(expression + (r"\Z" if whole else "")).match(rest)
            if found and (ended or not whole):
                self._read += found.end()
                return ""
            if ended or time.monotonic() > mono_until:
                return f"{rest or '(nothing)'}\n({'it has ended' if ended else f'for {patience_s:g} s'})"
            time.sleep(POLL_S)


class Terminal:
    """One shell. Leave it as a context manager: everything that was started in it ends.

    Args:
        folder: Where it begins.
        scratch: A folder for what it needs itself.
        environment: The variables of its commands.
        patience_s: Seconds that one command may take.
    """

    def __init__(
        self, folder: Path, scratch: Path, environment: Mapping[str, str], patience_s: float = 60.0
    ) -> None:
        self.programs: list[Program] = []
        self._scratch = scratch
        self._patience_s = patience_s
        self._count = 0
        self._answers, theirs = os.pipe()
        self._theirs = theirs
        self._log = (scratch / "shell.log").open("wb")
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=folder,
            env=dict(environment),
            pass_fds=(theirs,),
            start_new_session=True,
        )
        os.close(theirs)
        self._say(_BEGIN)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        for program in reversed(self.programs):
            _signal(program.group, signal.SIGTERM)
        mono_until = time.monotonic() + self._patience_s
        while any(program.running() for program in self.programs) and time.monotonic() < mono_until:
            time.sleep(POLL_S)
        for program in self.programs:
            _signal(program.group, signal.SIGKILL)
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        try:
            self._shell.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            _signal(self._shell.pid, signal.SIGKILL)
            self._shell.wait()
        os.close(self._answers)
        self._log.close()

    def type(self, command: str) -> tuple[int, list[int], str]:
        """Types a command and waits for its end; its exit status, those of what failed on the way, and what it said.

        What a condition, ``||`` or ``!`` looks at has not failed: that is for them to say.

        Raises:
            Failed: It goes on beyond all patience.
        """
        failures = self._scratch / "failures"
        failures.write_text("")
        output = self._typed(
            f"trap 'echo $? >>{failures}' ERR\n{command}",
            "{ . %s; } </dev/null >%s 2>&1; echo $? >&%d; trap - ERR\n",
        )
        answer = self._answer()
        said = output.read_text(errors="replace")
        if answer is None:
            _signal(self._shell.pid, signal.SIGKILL)
            raise Failed(f"$ {command}\nhas not ended after {self._patience_s:g} s; it said:\n{said}")
        return answer, [int(status) for status in failures.read_text().split()], said

    def start(self, command: str) -> Program:
        """Types a command that goes on, as in a terminal of its own, and does not wait."""
        output = self._typed(
            command, "set -m; ( . %s ) </dev/null >%s 2>&1 & echo $! >&%d; set +m\n", separate=True
        )
        group = self._answer()
        assert group is not None
        program = Program(command, group, output)
        self.programs.append(program)
        return program

    def interrupt(self, program: Program) -> None:
        """Ctrl-C."""
        _signal(program.group, signal.SIGINT)

    # --- inside

    def _typed(self, command: str, line: str, *, separate: bool = False) -> Path:
        self._count += 1
        file, output = self._scratch / f"{self._count}.sh", self._scratch / f"{self._count}.out"
        file.write_text(f"exec {command}\n" if separate and _simple(command) else f"{command}\n")
        output.touch()
        self._say(line % (file, output, self._theirs))
        return output

    def _say(self, text: str) -> None:
        stdin: IO[bytes] | None = self._shell.stdin
        assert stdin is not None
        stdin.write(text.encode())
        stdin.flush()

    def _answer(self) -> int | None:
        ready, _, _ = select.select([self._answers], [], [], self._patience_s)
        if not ready:
            return None
        line = b""
        while not line.endswith(b"\n"):
            part = os.read(self._answers, 1)
            if not part:
                raise Failed("the shell has ended; its last command said exit?")
            line += part
        return int(line)


def _simple(command: str) -> bool:
    """Whether ``exec`` may stand before it, so that its process is the program's own."""
    return not re.search(r"[;&|(]|^\w+=", command)


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # it has ended: that is what was wanted
