"""Every example of the documentation, typed in as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import blocks
from tests.docs.page import ROOT, Typing
from tests.servers import free_port

PAGES: Final = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]
# A block that is left out is one that nobody has tried: raise this only for what no test can run.
MOST_LEFT_OUT: Final = 2


# A page starts a dozen programs; on a busy machine that takes a while, and each wait on the way has its own bound.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    typing = Typing(ROOT / page, page, tmp_path, lambda: request.getfixturevalue("redis_url"), free_port)
    if shutil.which("curl") is None and any("$ curl " in block.text for block in typing.blocks):
        pytest.skip("the page types curl, which is not installed")
    typing.run()


def test_few_blocks_are_left_out() -> None:
    left_out = [
        f"{block.place}: {block.skipped}"
        for page in PAGES
        for block in blocks(ROOT / page, page)
        if block.skipped is not None
    ]
    print("\n".join(left_out))
    assert len(left_out) <= MOST_LEFT_OUT, "\n".join(left_out)
