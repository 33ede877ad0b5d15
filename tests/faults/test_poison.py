from __future__ import annotations

import pytest

from tests.faults import poison
from tests.faults.conftest import ROUNDS
from tests.faults.site import Site

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]


def test_one_poison_job_takes_nobody_with_it(site: Site) -> None:
    print(poison.run(site, rounds=ROUNDS))
