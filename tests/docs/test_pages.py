"""Every example of the documentation, typed in as it stands."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import blocks
from tests.docs.page import ROOT, Typing
from tests.servers import RedisServer, free_port, redis_program

PAGES: Final = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]
# A block that is left out is one that nobody has tried: raise this only for what no test can run.
MOST_LEFT_OUT: Final = 2


# A page starts a dozen programs; on a busy machine that takes a while, and each wait on the way has its own bound.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_page(
    page: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as servers:

        def redis_url() -> str:
            # A server of its own: for a moment what another test has started may still look for jobs on the shared one.
            if redis_program() is None:
                return str(request.getfixturevalue("redis_url"))
            return servers.enter_context(RedisServer(tmp_path_factory.mktemp("redis"))).url

        typing = Typing(ROOT / page, page, tmp_path, redis_url, free_port)
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
