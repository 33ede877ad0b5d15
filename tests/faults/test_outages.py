from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.faults import outages
from tests.faults.conftest import ROUNDS
from tests.faults.site import Site

pytestmark = [pytest.mark.timeout(240)]


def test_no_running_job_is_given_out_again_while_the_broker_is_away(make_site: Callable[..., Site]) -> None:
    print(outages.run_long_jobs(make_site(appendonly=True), rounds=ROUNDS))


@pytest.mark.alone
def test_what_was_acknowledged_outlives_the_broker(
    make_site: Callable[..., Site], chance: random.Random
) -> None:
    figures = outages.run_kills(
        make_site(appendonly=True, appendfsync="always"), rounds=ROUNDS, chance=chance
    )
    print(figures)
    assert figures.lost == 0


@pytest.mark.alone
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_the_loss_under_everysec_is_counted(make_site: Callable[..., Site], chance: random.Random) -> None:
    figures = outages.run_kills(make_site(appendonly=True, appendfsync="everysec"), rounds=5, chance=chance)
    print(f"under appendfsync everysec {figures.lost} of {figures.jobs} acknowledged jobs were lost")
