from __future__ import annotations

import pytest

from tests.faults import hoard
from tests.faults.site import Site


@pytest.mark.alone
def test_long_jobs_are_not_hoarded(site: Site) -> None:
    print(hoard.run(site, rounds=3))
