"""A fresh broker of each kind for a test of faults; a seed, so that what failed can be tried again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.site import BROKERS, Site, open_site

LEASE_S = 2.0
ROUNDS = 20


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> str:
    """Which kind of broker the test is about."""
    kind: str = request.param
    return kind


@pytest.fixture
def make_site(broker: str, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Opens a site with settings for its Redis server."""
    with ExitStack() as sites:
        yield lambda **redis: sites.enter_context(open_site(broker, tmp_path / "site", LEASE_S, **redis))


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A fresh broker."""
    return make_site()


@pytest.fixture
def chance(record_property: Callable[[str, Any], None]) -> random.Random:
    """Chooses victims and moments; the seed is in the test's output."""
    seed = random.SystemRandom().randrange(10**6)
    record_property("seed", seed)
    print(f"seed {seed}")
    return random.Random(seed)
