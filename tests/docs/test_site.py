"""The site builds without a warning, shows every page, and asks a reader's browser for no other host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

import penstock
from penstock import errors
from penstock.settings import KNOWN
from tests.docs.page import ROOT

# What a browser fetches by itself, as opposed to a link that a reader follows.
_FETCHED: Final = {
    "link": "href",
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
}


def _build(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What the site is made of, in a folder where it may be broken."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    return tmp_path


@pytest.mark.timeout(120)
def test_it_builds_and_asks_no_other_host(project: Path) -> None:
    done = _build(project)
    assert done.returncode == 0, done.stdout + done.stderr
    site = project / ".cache/site"
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list(_pages()))
    asked = {url for page in pages for url in _fetched(page) if re.match(r"(?:https?:)?//", url)}
    assert not asked
    # The theme's own scripts know of hosts from which they would fetch what these classes ask for.
    for page in pages:
        for word in ('class="mermaid"', 'class="glightbox"', "pyodide"):
            assert word not in page.read_text(), f"{page.relative_to(site)}: {word}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", style.read_text()), style


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("::: penstock.Gone", ["Could not collect 'penstock.Gone'"]),
        (
            "[a](gone.md) [b](index.md#gone) [c][penstock.Gone]",
            ["page does not exist", "anchor does not exist", "unresolved autoref"],
        ),
    ],
    ids=["docstring", "links"],
)
def test_what_is_missing_breaks_the_build(project: Path, wrong: str, said: list[str]) -> None:
    shutil.rmtree(project / "docs")
    (project / "docs").mkdir()
    (project / "docs/index.md").write_text(f"# Penstock\n\n{wrong}\n")
    done = _build(project)
    assert done.returncode != 0
    output = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    assert [words for words in said if words not in output] == []


def test_every_public_name_is_in_the_reference() -> None:
    reference = "".join(page.read_text() for page in (ROOT / "docs/reference").glob("*.md"))
    documented = set(re.findall(r"::: penstock\.(\w+)$", reference, re.MULTILINE))
    # A version and a place holder have no docstring of their own; the page says what they are.
    missing = set(penstock.__all__) - set(vars(errors)) - documented
    assert missing == {"__version__", "INJECTED"}
    assert "::: penstock.errors" in reference
    assert all(name in reference for name in missing)


def test_every_setting_is_on_its_page() -> None:
    table = (ROOT / "docs/reference/settings.md").read_text().split("```")[1]
    rows = [line.split()[0] for line in table.splitlines() if line and not line.startswith(("console", "$"))]
    assert rows == ["setting", *KNOWN]


def test_every_page_is_in_the_navigation() -> None:
    with (ROOT / "zensical.toml").open("rb") as file:
        listed = list(_listed(tomllib.load(file)["project"]["nav"]))
    assert sorted(listed) == sorted(_pages())


def _pages() -> Iterator[str]:
    return (str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


def _listed(entries: Any) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from _listed(entry)


def _fetched(page: Path) -> list[str]:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            wanted = _FETCHED.get(tag)
            # Of links, an address of the page itself is only named.
            if wanted and ("rel", "canonical") not in attrs:
                found.extend(value for name, value in attrs if name in {wanted, "srcset"} and value)

    Reader().feed(page.read_text())
    return found
