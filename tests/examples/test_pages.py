"""The pages of the web frameworks show the very files of the examples; ``tests/docs`` types them in."""

from __future__ import annotations

import re

import pytest

from tests.examples.site import FRAMEWORKS, REPOSITORY

_FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_page_is_the_example(name: str) -> None:
    framework = FRAMEWORKS[name]
    example = REPOSITORY / "examples" / framework.example
    root = example.parent if framework.package else example
    written = {
        str(file.relative_to(root)): text
        for suffix in ("py", "html")
        for file in example.rglob(f"*.{suffix}")
        if (text := file.read_text()) and "migrations" not in file.parts  # made by whoever ran it here
    }
    shown = dict(_FILE.findall((REPOSITORY / "docs" / "howto" / f"{name}.md").read_text()))
    assert shown == written
