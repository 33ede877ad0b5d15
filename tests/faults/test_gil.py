from __future__ import annotations

import pytest

from tests.faults import gil
from tests.faults.conftest import ROUNDS
from tests.faults.site import Site

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]


def test_the_guard_keeps_the_lease(site: Site) -> None:
    print(gil.run(site, rounds=ROUNDS))


def test_without_it_the_lease_is_lost(site: Site) -> None:
    assert gil.run(site, rounds=4, guarded=False, at_once=2).ran_twice > 0
