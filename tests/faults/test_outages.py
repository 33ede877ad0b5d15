from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock import BrokerUnavailable, JobHandle, Penstock
from tests.faults import outages
from tests.faults.conftest import ROUNDS
from tests.faults.site import Site

pytestmark = [pytest.mark.timeout(240)]


@pytest.mark.parametrize("half", [1, 2])  # so that they can run side by side: nearly all of it is waiting
def test_no_running_job_is_given_out_again_while_the_broker_is_away(
    make_site: Callable[..., Site], half: int
) -> None:
    print(outages.run_long_jobs(make_site(appendonly=True), rounds=ROUNDS // 2))


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


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_every_way_to_enqueue_ends_in_time_with_a_typed_error(
    make_site: Callable[..., Site], how: str
) -> None:
    site = make_site(appendonly=True)
    app = Penstock("impatient", broker=site.url, enqueue_timeout=0.5)

    @app.task(name="nothing")
    def nothing(number: int) -> None: ...

    async def together() -> list[JobHandle[None] | BaseException]:
        return await asyncio.gather(*(nothing.adelay(number) for number in range(3)), return_exceptions=True)

    async def on_a_loop() -> JobHandle[None]:
        return nothing.delay(1)

    def blocking_at_once() -> list[JobHandle[None]]:
        with ThreadPoolExecutor(3) as threads:
            return list(threads.map(nothing.delay, range(3)))

    ways: list[Callable[[], object]] = [
        lambda: nothing.delay(1),
        lambda: nothing.delay_many((number,) for number in range(1000)),
        blocking_at_once,
        lambda: asyncio.run(nothing.adelay(1)),
        lambda: asyncio.run(on_a_loop()),
        lambda: app.job("default:nobody").status(),
    ]
    nothing.delay(1)
    with outages.away(site, how):
        for way in ways:
            mono_began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                way()
            assert time.monotonic() - mono_began < 0.5 * 2 + 1.0
        assert all(isinstance(each, BrokerUnavailable) for each in asyncio.run(together()))
    nothing.delay(1)
    asyncio.run(nothing.adelay(1))
    app.close()
