from __future__ import annotations

from itertools import count
from pathlib import Path

from penstock.brokers import address
from penstock.testing.machine import check_broker
from tests.contract import EXAMPLES


def test_the_sqlite_broker_behaves_as_the_model(tmp_path: Path) -> None:
    files = count()
    check_broker(lambda: address(f"sqlite:///{tmp_path}/{next(files)}.db"), examples=EXAMPLES)
