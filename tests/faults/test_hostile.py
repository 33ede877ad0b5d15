from __future__ import annotations

import pytest

from penstock import InvalidArguments, PayloadTooLarge
from penstock.core.job import Delivery
from penstock.core.settlement import Cause, Dead, Defer
from penstock.runtime.outcome import UNKNOWN_FOR_S, unknown
from tests.faults import hostile
from tests.faults.processes import THREADS, TOLD
from tests.faults.site import Site


@pytest.mark.parametrize("reference", [THREADS, TOLD], ids=["plain", "hooks and middleware"])
def test_no_body_stops_a_worker_or_vanishes(site: Site, reference: str) -> None:
    print(hostile.run(site, reference))


def test_an_unknown_task_is_dead_in_the_end() -> None:
    waited_s, streak = 0.0, 0
    while isinstance(
        settlement := unknown(Delivery("q:1", "q", b"", 1, streak=streak), "nobody.knows"), Defer
    ):
        waited_s += settlement.delay_s
        streak = settlement.streak
    assert isinstance(settlement, Dead)
    assert settlement.cause is Cause.UNKNOWN_TASK
    assert "nobody.knows" in settlement.error.message
    assert UNKNOWN_FOR_S <= waited_s < UNKNOWN_FOR_S * 1.1


def test_a_body_above_the_limit_is_refused_with_its_size_and_what_to_do(site: Site) -> None:
    with site.client() as app:
        with pytest.raises(PayloadTooLarge, match=r"1[,.]?\d*[,.]?\d* ?(bytes|MiB|MB)") as caught:
            app.send("any.task", "x" * 1_048_576)
        assert "secret" not in str(caught.value)
        print(caught.value)
        app.send("any.task", "x" * 1_000_000)
        with pytest.raises(InvalidArguments):
            app.send("any.task", float("nan"))
