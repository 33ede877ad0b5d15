"""Settings and where each came from: command line, environment, file, code, default, in this order of precedence."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from penstock.errors import ConfigError

if TYPE_CHECKING:
    from penstock.brokers import Address

log: logging.Logger = logging.getLogger("penstock")

DEFAULT_BROKER: Final = "sqlite:///penstock.db"
# Beyond these a number is a slip of the finger that takes the machine down: a process has tens of megabytes, a slot a
# thread or a coroutine and a job that was fetched for it.
MOST_PROCESSES: Final = 1_000
MOST_CONCURRENCY: Final = 10_000
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


_PREFIX: Final = "PENSTOCK_"
# Variables of ours that are no settings, and those that Kubernetes gives everybody beside a service named "penstock".
_NO_SETTINGS: Final = re.compile(
    r"PENSTOCK_(SUPERVISED|RELOADED|PYTHON|TEST_\w+|SERVICE_(HOST|PORT)\w*|PORT(_\d+_\w+)?)"
)
_SOURCES_OF_URL: Final = {
    "command line": "-b",
    "code": "the code: Penstock(broker=...)",
    "default": "the default",
}
# Names that this process has said something about.
_said: set[str] = set()


class OutsideError(ConfigError):
    """What is wrong stands in a file, in the environment or on the command line, so no line of code is to be shown."""


class _Known(NamedTuple):
    """One setting: its type, its default, what it means, the least and the most that it can be, and its words."""

    kind: type
    default: Any
    meaning: str
    least: float | None = None
    most: float = math.inf
    choices: tuple[str, ...] = ()


KNOWN: Final[dict[str, _Known]] = {
    "broker_url": _Known(str, DEFAULT_BROKER, "where jobs are kept"),
    "namespace": _Known(str, "penstock", "sets applications on one broker apart"),
    "default_queue": _Known(str, "default", "the queue of tasks that name none"),
    "lease": _Known(float, 15.0, "seconds that the broker waits for a silent worker", 0.1),
    "max_crashes": _Known(int, 3, "losses with their worker that make a job poison", 1),
    "max_body": _Known(int, 1_048_576, "bytes of the largest job body", 1),
    "enqueue_timeout": _Known(float, 5.0, "seconds after which an unanswered enqueue is an error", 0.01),
    "queues": _Known(
        str, "", "queues of a worker: mail,default in strict order, mail=3,default=1 with weights"
    ),
    "concurrency": _Known(int, 10, "jobs running at once in one process", 1, MOST_CONCURRENCY),
    "processes": _Known(int, 1, "worker processes", 1, MOST_PROCESSES),
    "grace": _Known(float, 25.0, "seconds that running jobs have when a worker stops", 0),
    "max_jobs_per_process": _Known(int, 0, "jobs after which a process is replaced; 0: no limit", 0),
    "max_memory_mb": _Known(int, 0, "megabytes above which a process is replaced; 0: no limit", 0),
    "run_dir": _Known(str, "", "folder of the workers' heartbeat files; empty: one of this user's"),
    "guard": _Known(bool, True, "a helper process keeps the lease while code holds the GIL"),
    "strict": _Known(bool, False, "refuse to start where the broker's settings are warned about"),
    "loglevel": _Known(str, "info", "how much is logged", choices=LEVELS),
}


class Setting(NamedTuple):
    """A value and its source, as ``penstock config`` prints them."""

    name: str
    value: Any
    source: str
    meaning: str


class Settings:
    """All settings of one application.

    Args:
        root: The folder where the search for pyproject.toml and penstock.toml begins, upwards.
        code: What was given in code; None means not given.
        command_line: What was given there; None means not given.
        environment: Instead of the process's own, for tests. A variable that is empty is not given.

    Raises:
        ConfigError: A value has the wrong type, a name is not known, or a file cannot be read.
    """

    def __init__(
        self,
        root: Path,
        code: Mapping[str, Any] | None = None,
        command_line: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder: Path | None
        self.file: Path | None
        self.folder, self.file, table = _read_file(root)
        environment = os.environ if environment is None else environment
        _warn_unknown(environment)
        self._all: dict[str, Setting] = {}
        for name, known in KNOWN.items():
            variable = f"{_PREFIX}{name.upper()}"
            value, source = known.default, "default"
            for where, found in (
                ("code", (code or {}).get(name)),
                (str(self.file), table.get(name)),
                (variable, environment.get(variable) or None),
                ("command line", (command_line or {}).get(name)),
            ):
                if found is not None:
                    value, source = _as(name, known, found, where), where
            self._all[name] = Setting(name, value, source, known.meaning)

    def __getitem__(self, name: str) -> Any:
        return self._all[name].value

    def says(self, name: str) -> bool:
        """Whether somebody has given this setting, be it the value that is the default too."""
        return self._all[name].source != "default"

    def all(self) -> list[Setting]:
        """Every setting, with its source."""
        return list(self._all.values())

    @property
    def url_source(self) -> str:
        """Where the broker's URL came from, in words."""
        source = self._all["broker_url"].source
        return _SOURCES_OF_URL.get(source, source)

    def address(self, folder: Path) -> Address:
        """Where the broker is.

        Args:
            folder: What a relative file is relative to where there is no settings file.

        Raises:
            ConfigError: Its URL or the namespace cannot work.
        """
        from penstock.brokers import address  # who only reads settings does without
        from penstock.core.job import check_namespace

        namespace = check_namespace(self["namespace"])
        try:
            return address(self["broker_url"], namespace, self.folder or folder)
        except ConfigError as error:
            if self._all["broker_url"].source == "code":  # a traceback shows the line
                raise
            raise OutsideError(f"{error}; the URL comes from {self.url_source}") from None


def unsaid() -> None:
    """For a child process: what there is to say about its variables, its parent has said."""
    _said.update(os.environ)


def _warn_unknown(environment: Iterable[str]) -> None:
    """Says once, of each variable that looks like a setting and is none, what was probably meant."""
    for variable in environment:
        name = variable.removeprefix(_PREFIX).lower()
        if not variable.startswith(_PREFIX) or name in KNOWN or variable in _said:
            continue
        if _NO_SETTINGS.fullmatch(variable):
            continue
        _said.add(variable)
        near = _nearest(name)
        hint = f"did you mean {_PREFIX}{near.upper()}?" if near else "penstock config shows what there is"
        log.warning("%s in the environment is no setting and changes nothing; %s", variable, hint)


def _nearest(name: str) -> str | None:
    from difflib import get_close_matches  # only who made a mistake pays for it

    near = get_close_matches(name, KNOWN, 1, 0.65)
    return near[0] if near else None


def _read_file(root: Path) -> tuple[Path | None, Path | None, dict[str, Any]]:
    """The folder of the nearest settings file above ``root``, that file, and its table for Penstock."""
    for folder in (root, *root.parents):
        for name in ("penstock.toml", "pyproject.toml"):
            file = folder / name
            if not file.is_file():
                continue
            import tomllib  # a worker that finds no file does without

            try:
                content = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise OutsideError(f"{file}: {error}") from error
            return folder, file, _table(file, content)
    return None, None, {}


def _table(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    if file.name == "penstock.toml":
        found: Any = content.get("penstock", content)
    else:
        tool: Any = content.get("tool", {})
        found = cast("dict[str, Any]", tool).get("penstock", {}) if isinstance(tool, dict) else {}
    if not isinstance(found, dict):
        raise OutsideError(f"{file}: [tool.penstock] is not a table")
    table = cast("dict[str, Any]", found)
    for key in table:
        if key not in KNOWN and key != "broker":
            near = _nearest(key)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(sorted(KNOWN))}"
            raise OutsideError(f"{file}: no setting {key!r}; {hint}")
    # "broker" is how it is spelled in code.
    return {"broker_url": table["broker"], **table} if "broker" in table else table


def _as(name: str, known: _Known, value: Any, where: str) -> Any:
    expected = {str: "text", int: "a whole number", float: "a number of seconds", bool: "true or false"}[
        known.kind
    ]
    kind = ConfigError if where == "code" else OutsideError
    wrong = kind(f"setting {name} ({where}): expected {expected}, got {_shown(name, value)}")
    if name == "queues" and isinstance(value, list):  # as a TOML file says it
        value = ",".join(map(str, cast("list[object]", value)))
    try:
        made = _parse(known.kind, value)
    except (TypeError, ValueError):
        raise wrong from None
    if known.least is not None and not known.least <= made < math.inf:
        raise kind(f"setting {name} ({where}): at least {known.least:g}, got {made:g}")
    if known.least is not None and made > known.most:
        raise kind(f"setting {name} ({where}): at most {known.most:,}, got {made:,}; for more, start workers on "
                   "more machines")  # fmt: skip
    if known.choices:
        made = made.lower()
        if made not in known.choices:
            raise kind(f"setting {name} ({where}): one of {', '.join(known.choices)}; got {made!r}")
    return made


def _parse(kind: type, value: Any) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise ValueError(text)
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    if kind is int and isinstance(value, float):
        raise TypeError
    return kind(value)


def _shown(name: str, value: Any) -> str:
    return "something else" if name == "broker_url" else repr(value)
