"""What type checkers say of a user's program: wrong calls are refused and results inferred, by mypy and pyright alike.

In ``cases`` each line that ends in ``# E: CODES RULES`` must get exactly these complaints, of mypy and of pyright, each
joined by commas ("-" is none); no other line may get any. What is right is held by ``assert_type``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_TOP = Path(__file__).parents[2]
_CASES = sorted((Path(__file__).parent / "cases").glob("*.py"))
_MARK = re.compile(r"# E: (?P<mypy>\S+) (?P<pyright>\S+)(?: - .*)?$")

# A file, a line from 1, and a complaint's code.
Complaint = tuple[str, int, str]


def _run(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=_TOP, capture_output=True, text=True)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def _mypy() -> Iterator[tuple[Complaint, str]]:
    words = ["--output", "json", "--cache-dir", ".cache/mypy-cases", *map(str, _CASES)]
    for line in _run("mypy", *words).splitlines():
        said = json.loads(line)
        if said["severity"] == "error":
            yield (Path(said["file"]).name, said["line"], said["code"]), said["message"]


def _pyright() -> Iterator[tuple[Complaint, str]]:
    words = ["--pythonpath", sys.executable, "--outputjson", *map(str, _CASES)]
    for said in json.loads(_run("pyright", *words))["generalDiagnostics"]:
        if said["severity"] == "error":
            at = said["range"]["start"]["line"] + 1
            yield (Path(said["file"]).name, at, said.get("rule", "syntax")), said["message"]


def _marked(checker: str) -> set[Complaint]:
    marked: set[Complaint] = set()
    for file in _CASES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if "# E:" in line:
                mark = _MARK.search(line)
                assert mark, f"{file.name}:{number}: no mark of this form: # E: CODES RULES"
                marked |= {(file.name, number, code) for code in mark[checker].split(",") if code != "-"}
    return marked


@pytest.mark.timeout(300)  # a first run, without a cache, on a busy machine
@pytest.mark.parametrize(("checker", "said_by"), [("mypy", _mypy), ("pyright", _pyright)])
def test_it_complains_of_what_is_wrong_and_of_nothing_else(
    checker: str, said_by: Callable[[], Iterator[tuple[Complaint, str]]]
) -> None:
    said = dict(said_by())
    marked = _marked(checker)
    assert len(_CASES) >= 4
    lines = [
        f"{file}:{number}: {code}: {said[file, number, code]}"
        for file, number, code in sorted(said.keys() - marked)
    ]
    lines += [f"{file}:{number}: {code}: said nothing" for file, number, code in sorted(marked - said.keys())]
    assert not lines, "\n" + "\n".join(lines)


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert (files("penstock") / "py.typed").is_file()
