"""What the tests of the surface share: an application on each broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock import Penstock


@pytest.fixture
def app(broker_url: str) -> Iterator[Penstock]:
    """One URL is all that differs."""
    made = Penstock("tasks", broker=broker_url)
    yield made
    made.close()
