from __future__ import annotations

import random

import pytest

from tests.faults import kills
from tests.faults.conftest import ROUNDS
from tests.faults.site import Site

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]


def test_every_job_succeeds_though_workers_are_killed(site: Site, chance: random.Random) -> None:
    figures = kills.run(site, rounds=ROUNDS, chance=chance, tasks=["on_thread=0.1", "on_loop=0.1", "tick"])
    print(figures)
    assert figures.kills == ROUNDS
