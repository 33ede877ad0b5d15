from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from penstock.brokers import address
from penstock.testing.machine import check_broker
from tests.contract import EXAMPLES


# A failure takes minutes to be made short.
@pytest.mark.timeout(600)
def test_the_sqlite_broker_behaves_as_the_model(tmp_path: Path) -> None:
    files = count()
    check_broker(lambda: address(f"sqlite:///{tmp_path}/{next(files)}.db"), examples=EXAMPLES)
