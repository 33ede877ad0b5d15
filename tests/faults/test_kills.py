from __future__ import annotations

import random

import pytest

from tests.faults import kills
from tests.faults.conftest import ROUNDS
from tests.faults.site import Site

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]


QUICK = ["on_thread=0.1", "on_thread=0.1", "on_loop=0.1", "on_loop=0.1", "tick"]


def test_every_job_succeeds_though_workers_are_killed(site: Site, chance: random.Random) -> None:
    figures = kills.run(site, rounds=ROUNDS, chance=chance, tasks=[*QUICK, "in_process=0.1"])
    print(figures)
    assert figures.kills == ROUNDS


def test_every_job_succeeds_though_supervised_workers_are_killed(site: Site, chance: random.Random) -> None:
    figures = kills.run(site, rounds=ROUNDS, chance=chance, tasks=QUICK, workers=2, processes=2)
    print(figures)
    assert figures.kills == ROUNDS


def test_no_innocent_job_is_taken_for_poison(site: Site, chance: random.Random) -> None:
    """Each kill meets several jobs that run; were they all blamed, it would be seen."""
    figures = kills.run(
        site,
        rounds=ROUNDS // 2,
        chance=chance,
        tasks=["on_thread=0.15"],
        ways=("group", "parent"),
        workers=2,
        concurrency=10,
        every=(0.3, 0.7),  # suspects run one at a time: between two kills there is time for them
    )
    print(figures)
    assert figures.ran_twice > figures.kills, "too few were lost to tell whether they were blamed"
