"""Finds the application that ``-A`` names: a module, ``module:attribute`` or a file."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from penstock.app import Penstock
from penstock.cli.lines import one_line
from penstock.errors import ConfigError
from penstock.settings import OutsideError

_MOST_NAMES: Final = 5


def find_app(reference: str) -> Penstock:
    """The application at ``reference``; remembers ``module:attribute`` in it, for child processes.

    Raises:
        ConfigError: It is not there, cannot be imported, or is not one application.
    """
    module_name, attribute = _module_and_attribute(reference)
    module = _import(module_name, reference)
    if attribute:
        app = _attribute(module, attribute)
    else:
        attribute, app = _only(module)
    app.reference = f"{module_name}:{attribute}"
    return app


def _module_and_attribute(reference: str) -> tuple[str, str]:
    """Puts the folder that the module is found from on the path."""
    place, _, attribute = reference.partition(":")
    if place.endswith(".py") or "/" in place:
        file = Path(place).resolve()
        if not file.is_file():
            raise ConfigError(f"-A {reference}: there is no file {file}")
        parts, folder = [file.stem], file.parent
        while (folder / "__init__.py").is_file():  # a package's module is imported by its full name
            parts, folder = [folder.name, *parts], folder.parent
        _on_path(folder)
        return ".".join(parts).removesuffix(".__init__"), attribute
    _on_path(Path.cwd())
    if not all(part.isidentifier() for part in place.split(".")):
        raise ConfigError(f"-A {reference}: expected MODULE, MODULE:ATTRIBUTE or a file.py")
    return place, attribute


def _on_path(folder: Path) -> None:
    # Like `python -m`: what lies in the folder comes before what is installed.
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _import(name: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"-A {reference}: there is no module {error.name!r}{_nearby(name)}") from error
        raise _broken(name, reference, error) from error
    except OutsideError:  # its text names the file or the variable, which the user's code has no part in
        raise
    except (Exception, SystemExit) as error:
        raise _broken(name, reference, error) from error


def _broken(name: str, reference: str, error: BaseException) -> ConfigError:
    """The error as one line, with the last place in the user's own code."""
    import traceback

    where = ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" at {_short(error.filename)}:{error.lineno}"
    else:
        own = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith("<") and not _is_ours(frame.filename)
        ]
        # An error that a framework raises is of use where the user's code called it.
        own = [frame for frame in own if not _is_installed(frame.filename)] or own
        if own:
            where = f" at {_short(own[-1].filename)}:{own[-1].lineno}"
    if isinstance(error, SystemExit):
        said = "it ends the program while it is imported"
    else:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        said = f"{type(error).__name__}: {one_line(text)}" if text else type(error).__name__
    return ConfigError(f"-A {reference}: importing {name} failed{where}: {said}{_advice(error)}")


def _advice(error: BaseException) -> str:
    """What to do, where the error is that of a newcomer and does not say so."""
    if type(error).__name__ == "AppRegistryNotReady":
        return " Let -A name a module that calls django.setup() before it imports the tasks"
    return ""


def _is_installed(filename: str) -> bool:
    """Whether a file is part of Python or of a package, and not of the user's project."""
    file = Path(filename)
    if "site-packages" in file.parts or "dist-packages" in file.parts:
        return True
    return file.is_relative_to(Path(os.__file__).parent)


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(__file__).parents[1]) and "_examples" not in filename


def _short(filename: str) -> str:
    file = Path(filename)
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else filename


def _nearby(name: str) -> str:
    """Modules that lie where this one was looked for, the likest first."""
    import difflib  # only who mistypes pays for it

    parent, _, last = name.rpartition(".")
    folder = Path.cwd().joinpath(*parent.split(".")) if parent else Path.cwd()
    if not folder.is_dir():
        folder, parent, last = Path.cwd(), "", name.partition(".")[0]
    there = sorted(
        {
            entry.stem
            for entry in folder.glob("*.py")
            if entry.stem.isidentifier() and not entry.stem.startswith("_")
        }
        | {entry.parent.name for entry in folder.glob("*/__init__.py")}
    )
    names = difflib.get_close_matches(last, there, n=_MOST_NAMES, cutoff=0.5) or there[:_MOST_NAMES]
    shown = ", ".join(f"{parent}.{found}" if parent else found for found in names)
    return f" in {folder}; there is {shown}" if shown else f" in {folder}, and no other module either"


def _attribute(module: ModuleType, attribute: str) -> Penstock:
    value: object = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if isinstance(value, Penstock):
        return value
    apps = ", ".join(_apps(module))
    hint = f"; its applications: {apps}" if apps else ""
    what = "has no" if value is None else f"is a {type(value).__name__}, not an application:"
    raise ConfigError(f"-A {module.__name__}:{attribute}: {module.__name__} {what} {attribute!r}{hint}")


def _only(module: ModuleType) -> tuple[str, Penstock]:
    apps = _apps(module)
    match list(apps.items()):
        case [(name, app)]:
            return name, app
        case []:
            raise ConfigError(f"-A {module.__name__}: the module makes no Penstock(...){_below(module)}")
        case _:
            raise ConfigError(
                f"-A {module.__name__}: the module has several applications; name one: "
                + " or ".join(f"-A {module.__name__}:{name}" for name in apps)
            )


def _apps(module: ModuleType) -> dict[str, Penstock]:
    """By the first name of each."""
    seen: set[int] = set()
    found: dict[str, Penstock] = {}
    for name, value in vars(module).items():
        if isinstance(value, Penstock) and id(value) not in seen:
            seen.add(id(value))
            found[name] = value
    return found


def _below(module: ModuleType) -> str:
    """Where a package makes none itself: the modules of it whose text does."""
    names: list[str] = []
    for folder in getattr(module, "__path__", ()):
        for file in sorted(Path(folder).glob("*.py")):
            try:
                makes = "Penstock(" in file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if makes:
                names.append(f"{module.__name__}.{file.stem}")
    return f"; did you mean -A {' or -A '.join(names)}?" if names else ""
