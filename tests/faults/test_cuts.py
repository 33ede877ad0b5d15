from __future__ import annotations

import asyncio
import random

import pytest

from tests.faults import cuts, wires
from tests.faults.site import Site

pytestmark = pytest.mark.timeout(150)


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_no_lost_byte_adds_twice_or_leases_to_nobody(site: Site) -> None:
    """SQLite has no wire; its process is killed at every step instead (``test_crashes.py``)."""
    figures = asyncio.run(cuts.cut_at_every_byte(site, request_step=7))
    print(figures)
    assert figures.rounds > 1000


def test_a_caller_that_gives_up_may_ask_again(site: Site) -> None:
    print(asyncio.run(cuts.cancel_at_every_moment(site, rounds=300)))


@pytest.mark.alone
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_fleet_behind_a_bad_wire_runs_everything_once(site: Site, chance: random.Random) -> None:
    print(wires.run(site, rounds=100, chance=chance))
