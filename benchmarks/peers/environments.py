"""Each library's environment under ``.cache/peers``, made with uv from the pins in ``requirements/``."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.children import ROOT

REQUIREMENTS = Path(__file__).parent / "requirements"
FOLDER = ROOT / ".cache" / "peers"
_MADE_WITHIN_S = 300.0


class Absent(Exception):
    """A library that cannot be measured here; the message says why."""


def python(key: str) -> Path:
    """Makes the environment of one library where it is missing or its pins have changed; returns its programs."""
    folder, pins = FOLDER / key, REQUIREMENTS / f"{key}.txt"
    stamp = folder / "penstock-stamp"
    wanted = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest() + f" {folder}"
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(folder))
        interpreter = str(folder / "bin" / "python")
        _uv("pip", "install", "--require-hashes", "--python", interpreter, "-r", str(pins))
        stamp.write_text(wanted)
    return folder / "bin"


def _uv(*arguments: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        raise Absent("uv is not in .venv; scripts/setup says why it could not install it")
    try:
        done = subprocess.run(
            [str(uv), *arguments, "--quiet"],
            env=os.environ | _index(),
            capture_output=True,
            text=True,
            timeout=_MADE_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise Absent(f"`uv {arguments[0]}` did not end within {_MADE_WITHIN_S:g} s") from None
    if done.returncode:
        raise Absent(f"its pins cannot be installed: {told(done.stderr)}")


def told(error: str) -> str:
    """What an installer said, fit to be published: in one line, without addresses and the place of this checkout."""
    text = re.sub(r"\w+://[^\s`'\"]+", "(an address)", error.replace(str(ROOT), "."))
    return " ".join(text.split())[:400]


def _index() -> dict[str, str]:
    """What scripts/setup tells uv: it does not read pip's settings, where a machine's index usually stands."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    ).stdout
    found: dict[str, str] = {}
    for setting, variable in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        values = re.findall(rf"^[^=]*[.]{setting}='(.*)'$", listed, re.MULTILINE)
        if values and variable not in os.environ:
            found[variable] = values[-1]
    return found


def pinned(key: str) -> dict[str, str]:
    """The versions in a library's environment by package; of one that is not in Python, none."""
    file = REQUIREMENTS / f"{key}.txt"
    pins = file.read_text() if file.exists() else ""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", pins, re.MULTILINE))


def versions(key: str) -> str:
    """The pinned versions that matter: the library's own, and what it talks to Redis with."""
    pins = pinned(key)
    names = [
        key,
        *(name for name in ("taskiq-redis", "redis", "hiredis", "coredis", "uvloop") if name in pins),
    ]
    return ", ".join(f"{name} {pins[name]}" for name in names)


def own(key: str) -> Path:
    """Penstock from this checkout, built and installed as a user has it, with the pins of ``key``."""
    programs = python(key)
    with tempfile.TemporaryDirectory() as folder:
        built = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if built.returncode:
            raise Absent(f"it cannot be built: {told(built.stderr)}")
        (wheel,) = Path(folder).glob("*.whl")
        _uv("pip", "install", "--no-deps", "--reinstall", "--python", str(programs / "python"), str(wheel))
    return programs


def plain_versions() -> str:
    """The same of Penstock as ``own("penstock")`` installs it."""
    pins = pinned("penstock")
    return ", ".join(
        [
            f"penstock {version('penstock')}",
            *(f"{name} {pins[name]}" for name in ("redis", "hiredis", "msgspec")),
        ]
    )


def own_versions() -> str:
    """The same with what its best settings have beside."""
    fast = pinned("penstock-fast")
    return f"{plain_versions()}; in its best settings uvloop {fast['uvloop']} too, without it in all others"


def sidekiq() -> Path:
    """Where Debian's Sidekiq is; nothing is installed."""
    found = shutil.which("sidekiq")
    if found is None or not (Path(found).parent / "ruby").exists():
        raise Absent(
            "there is no `sidekiq` on the path (on Debian: apt-get install ruby-sidekiq ruby-hiredis)"
        )
    return Path(found).parent


def sidekiq_versions(programs: Path) -> str:
    """What it says of itself and of its Ruby."""
    said = [
        " ".join(
            subprocess.run(
                [str(programs / name), "--version"], capture_output=True, text=True
            ).stdout.split()[:2]
        )
        for name in ("sidekiq", "ruby")
    ]
    extras = {
        "hiredis": "require 'redis/connection/hiredis'",
        "YJIT": "exit RubyVM::YJIT.enabled?",
    }
    for name, program in extras.items():
        there = subprocess.run(
            [str(programs / "ruby"), "-e", program],
            env=os.environ | {"RUBY_YJIT_ENABLE": "1"},
            capture_output=True,
        )
        said.append(f"{name} {'absent' if there.returncode else 'in its best settings'}")
    return ", ".join(said)
