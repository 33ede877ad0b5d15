from __future__ import annotations

import pytest

from tests.faults import pauses
from tests.faults.conftest import ROUNDS
from tests.faults.site import Site

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]


def test_a_frozen_worker_is_too_late(site: Site) -> None:
    print(pauses.run(site, rounds=ROUNDS))
