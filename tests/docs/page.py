"""Types in a page of the documentation, from its top to its end, in a folder of its own, as a reader would.

In a ``console`` block a line that begins with ``$ `` is typed (``> `` continues it), and what follows is what it says:

- Output that is shown must be what comes, on both streams together. ``...`` stands for any text, or alone on its line
  for any lines, and columns may have other widths. Of a command that shows no output only the exit status counts: it
  must be 0, and that of every command in it, behind ``;``, in a pipe and in a loop. (One that is meant to fail shows
  it: ``$ penstock ...; echo "exit $?"``.) Shown output that is ``...`` alone would prove nothing, and is refused.
- A worker, a web server or a mail server is started and goes on, as in a terminal of its own, until the page's end. The
  page goes on once it is ready, and has said what the page shows. One that ends though no ``^C`` and no ``kill`` or
  ``workers ... stop`` asked it to fails the page. So does one that ``&`` put behind and
  that no ``wait`` asks for.
- A block without ``$ `` is what the last of those programs says next. ``^C`` interrupts it; what follows is the rest.

Every module that the page writes is imported at its end in a process of its own, unless something has run it before.

A reader has Redis at redis://localhost:6379/0, and free ports at 8000, 5000 and 1025; here they are replaced by the
test's own server and by ports that are free, in commands and in files, and put back in what is said. ``pip install``
fetches nothing (``pip.sh``).
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import yaml

from tests.docs.blocks import ADDED, PARSED, Block, blocks
from tests.docs.modules import Modules
from tests.docs.terminal import Failed, Program, Terminal, pattern

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]

# Programs that go on, and what each says when it is ready.
_READY: Final = {
    r"penstock\b.*\bworker\b(?!s)(?!.*--(?:burst|help))": " is ready: ",
    r"(?:flask|python -m flask)\b.*\brun\b": "Running on http",
    r"(?:python -m )?uvicorn\b": "Uvicorn running on",
    r"(?:python -m )?fastapi (?:dev|run)\b": "Uvicorn running on",
    r"python manage\.py runserver\b": "Starting development server",
    r"(?:python -m )?gunicorn\b": "Listening at",
    r"(?:python -m )?aiosmtpd\b": "Server is listening on",
}
# What may end programs that go on.
_ENDS: Final = re.compile(r"\bkill\b|\bworkers\b.*\bstop\b")
_BEHIND: Final = re.compile(r"(?<![&><])&(?![&>])")
# What shows that a command was meant to fail, and the line that this says.
_TOLD: Final = re.compile(r"; *echo \"exit \$\?\"$")
_STATUS: Final = re.compile(r"^exit (\d+)\n\Z", re.MULTILINE)
_REDIS: Final = "redis://localhost:6379/0"
_PORTS: Final = ("8000", "5000", "1025")


class Typing:
    """One page on its way.

    Args:
        file: The page.
        name: What it is called in messages.
        folder: An empty folder.
        redis_url: Gives the URL of an empty Redis database; called where the page names one.
        free_port: Gives a free port.
        patience_s: Seconds that a command, or what it says, may take.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        folder: Path,
        redis_url: Callable[[], str],
        free_port: Callable[[], int],
        patience_s: float = 60.0,
    ) -> None:
        self.blocks = blocks(file, name)
        self._name = name
        self._patience_s = patience_s
        self._folder, self._scratch = folder / "project", folder / "scratch"
        self._folder.mkdir()
        self._scratch.mkdir()
        whole = "".join(block.text for block in self.blocks if block.skipped is None)
        self._redis_url = redis_url() if _REDIS in whole else _REDIS
        self._ports = {port: str(free_port()) for port in _PORTS if re.search(rf"\b{port}\b", whole)}
        # Where "&" has put a program behind of which no "wait" has told the exit status yet.
        self._behind: str | None = None
        self._modules = Modules(self._folder)
        self._interpreter: Interpreter | None = None
        # Those that are to run until the page's end.
        self._going: list[Program] = []
        self._program: Program | None = None

    def run(self) -> None:
        """Types all of it in.

        Raises:
            Failed: The first block that does not do what the page shows.
        """
        with ExitStack() as stack:
            terminal = stack.enter_context(
                Terminal(self._folder, self._scratch, self._environment(), self._patience_s)
            )
            for block in self.blocks:
                if block.skipped is None:
                    self._block(block, terminal, stack)
            if self._behind is not None:
                raise Failed(
                    f"{self._behind}: '&' puts this behind; wait for its number, so that its status is seen"
                )
            # So that the shell has heard of what has ended.
            terminal.type("true")
            self._still_going(f"{self._name}: at the page's end")
            self._import(self._modules.all_unseen(), terminal)

    def _environment(self) -> Mapping[str, str]:
        commands = self._scratch / "bin"
        commands.mkdir()
        (commands / "pip").symlink_to(HERE / "pip.sh")
        unwanted = ("PENSTOCK_", "PYTEST_", "PYTHONDONTWRITE", "PYTHONPYCACHE")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        return kept | {
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self._scratch),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "120",
            "NO_COLOR": "1",
        }

    def _block(self, block: Block, terminal: Terminal, stack: ExitStack) -> None:
        text = self._ours(block.text)
        if block.language in PARSED:
            _parse(block)
        if block.title is not None:
            self._write(block, text, terminal)
        elif block.language == "console":
            self._console(block, terminal)
        elif block.language in {"python", "pycon"}:
            if self._interpreter is None:
                self._interpreter = Interpreter(self._folder, self._scratch, self._environment_now(terminal))
                stack.callback(self._interpreter.close)
            error = self._interpreter.run(block._replace(text=text), self._patience_s)
            if error:
                raise Failed(f"{block.place}: {self._theirs(error)}")

    def _environment_now(self, terminal: Terminal) -> dict[str, str]:
        """The shell's, with what the page has exported."""
        _, _, said = terminal.type("env -0")
        return dict(pair.split("=", 1) for pair in said.split("\0") if "=" in pair)

    def _write(self, block: Block, text: str, terminal: Terminal) -> None:
        assert block.title is not None
        file = self._folder / block.title.removesuffix(ADDED)
        if not file.resolve().is_relative_to(self._folder.resolve()):
            raise Failed(f"{block.place}: {block.title} is outside the page's folder")
        if block.title.endswith(ADDED):
            if not file.exists():
                raise Failed(f"{block.place}: there is no {file.name} yet to which this could be added")
            text = f"{file.read_text().rstrip()}\n\n\n{text}"
        elif self._modules.unseen(file):
            self._import([file], terminal)  # before it is written over
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if file.suffix == ".py":
            try:
                compile(text, block.title, "exec", dont_inherit=True)
            except SyntaxError as error:
                raise Failed(f"{block.place}: {error}") from None
            self._modules.written(file, block.place)

    def _import(self, files: list[Path], terminal: Terminal) -> None:
        environment = self._environment_now(terminal) if files else {}
        for file in files:
            error = self._modules.refused(file, environment, self._patience_s)
            if error:
                raise Failed(self._theirs(error))

    # --- commands

    def _console(self, block: Block, terminal: Terminal) -> None:
        for offset, command, shown in _typed(block.text):
            place = f"{block.page}:{block.line + offset}"
            _refuse_hidden(place, command, shown)
            self._still_going(place)
            ready = _ready(command)
            if not command:
                self._hear(place, shown, terminal)
            elif ready is None:
                if _ENDS.search(command):
                    self._going.clear()
                self._compare(place, command, shown, terminal)
            else:
                self._program = terminal.start(self._ours(command))
                self._going.append(self._program)
                self._hear(place, shown or f"...\n...{ready}...\n", terminal)

    def _still_going(self, place: str) -> None:
        for program in self._going:
            if not program.lives():
                raise Failed(
                    f"{place}: $ {program.command}\nhas ended, and nobody asked it to; it said:\n{program.text}"
                )

    def _compare(self, place: str, command: str, shown: str, terminal: Terminal) -> None:
        code, failures, said = terminal.type(self._ours(command))
        said = self._theirs(said)
        told = _STATUS.search(said) if _TOLD.search(command) else None
        # A status that is told is one failure, and no other.
        if told and failures == [int(told[1])]:
            failures = []
        if code or failures:
            status = code or failures[0]
            raise Failed(f"{place}: $ {command}\nended with exit status {status}; it said:\n{said}")
        self._modules.ran(command)
        if _BEHIND.search(_bare(command)):
            self._behind = place
        elif re.search(r"\bwait +[\"$]", command):
            self._behind = None
        if shown and not re.fullmatch(pattern(shown), said if said.endswith("\n") else f"{said}\n"):
            raise Failed(f"{place}: $ {command}\nthe page shows:\n{shown}\nit said:\n{said}")

    def _hear(self, place: str, shown: str, terminal: Terminal) -> None:
        """Waits until the program that goes on has said what is shown; ``^C`` ends it, and the rest must be all."""
        program = self._program
        if program is None:
            raise Failed(f"{place}: nothing runs here that could say this; a command begins with '$ '")
        before, interrupted, after = shown.partition("^C\n")
        for part, whole in ((before, False), (after, True)):
            if whole and interrupted:
                terminal.interrupt(program)
                self._going = [other for other in self._going if other is not program]
                self._program = None
            elif not part or whole:
                continue
            expression = pattern(self._ours(part)) if part else r"(?:.*\n)*"
            instead = program.wait_for(expression, self._patience_s, whole=whole)
            if instead:
                raise Failed(
                    f"{place}: $ {program.command}\nthe page shows:\n{part}\nit said:\n{self._theirs(instead)}"
                )

    # --- ports

    def _ours(self, text: str) -> str:
        return _replaced(text.replace(_REDIS, self._redis_url), self._ports)

    def _theirs(self, text: str) -> str:
        text = text.replace(self._redis_url, _REDIS)
        return _replaced(text, {ours: theirs for theirs, ours in self._ports.items()})


class Interpreter:
    """The Python of a page's unnamed blocks, in the page's folder."""

    def __init__(self, folder: Path, scratch: Path, environment: Mapping[str, str]) -> None:
        self._output = scratch / "python.out"
        self._log = self._output.open("wb")
        ours, theirs = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, HERE / "interpreter.py", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=folder,
            env=dict(environment),
            pass_fds=(theirs,),
        )
        os.close(theirs)
        self._answers = open(ours)  # noqa: SIM115, PTH123 - close() closes it; it is a number

    def run(self, block: Block, patience_s: float) -> str:
        """Runs a block; the text of its error, or an empty one."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(block._asdict()).encode() + b"\n")
        self._process.stdin.flush()
        timer = _Timer(patience_s, self._process.kill)
        with timer:
            answer = self._answers.readline()
        if not answer:
            why = f"did not end in {patience_s:g} s" if timer.rang else "ended the interpreter"
            return f"this block {why}; it said:\n{self._output.read_text()}"
        error: str = json.loads(answer)
        return f"{error}{self._output.read_text()}" if error else ""

    def close(self) -> None:
        """Ends it; its own clean-up at the exit is part of what is tried."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._log.close()


class _Timer:
    def __init__(self, seconds: float, action: Callable[[], Any]) -> None:
        import threading

        self.rang = False

        def ring() -> None:
            self.rang = True
            action()

        self._timer = threading.Timer(seconds, ring)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _typed(text: str) -> list[tuple[int, str, str]]:
    """The commands of a block: line, command, shown output. The first may be empty: output of what runs already."""
    found: list[tuple[int, str, str]] = []
    for offset, line in enumerate(text.splitlines()):
        if line.startswith("$ "):
            found.append((offset, line[2:], ""))
        elif found and not found[-1][2] and (line.startswith("> ") or found[-1][1].endswith("\\")):
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{line.removeprefix('> ')}", "")
        elif found:
            found[-1] = (*found[-1][:2], f"{found[-1][2]}{line}\n")
        else:
            found.append((offset, "", f"{line}\n"))
    return found


def _bare(command: str) -> str:
    """A command without what stands in its quotes, which may be another language."""
    return re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", "_", command)


def _refuse_hidden(place: str, command: str, shown: str) -> None:
    """What would let a command fail, or say anything at all, without anybody seeing it."""
    bare = _bare(command)
    if re.search(r"&&[^\n]*;|(?:^|;) *![^;]*;", bare):
        raise Failed(f"{place}: $ {command}\nhides what fails before ';'; type one command a line")
    if _BEHIND.search(bare) and _ready(bare.split("&")[0]) is None:
        raise Failed(
            f"{place}: $ {command}\nputs behind by '&' what is no worker or server; nobody would see it fail"
        )
    if _TOLD.search(command) and not _STATUS.search(shown):
        raise Failed(f"{place}: $ {command}\nshow which status that is: exit N")
    if shown.strip() == "...":
        raise Failed(f"{place}: '...' alone as output proves nothing: show some of it, or none")


def _ready(command: str) -> str | None:
    """What a program that goes on says when it is ready; None of any other command, and of one put behind by ``&``."""
    bare = re.sub(r"^(?:\w+=(?:'[^']*'|\S*) +)+", "", command)  # without the variables that are set before it
    if re.search(r"(?<![&>])&(?![&>])", bare):
        return None
    return next((said for kind, said in _READY.items() if re.match(kind, bare)), None)


def _replaced(text: str, ports: Mapping[str, str]) -> str:
    if not ports:
        return text
    return re.sub(rf"\b(?:{'|'.join(ports)})\b", lambda found: ports[found[0]], text)


def _parse(block: Block) -> None:
    try:
        match block.language:
            case "toml":
                tomllib.loads(block.text)
            case "json":
                json.loads(block.text)
            case "yaml":
                yaml.safe_load(block.text)
            case _:
                configparser.ConfigParser(strict=False, interpolation=None).read_string(block.text)
    except (ValueError, yaml.YAMLError, configparser.Error) as error:
        raise Failed(f"{block.place}: this is no {block.language}: {error}") from None
