from __future__ import annotations

from uuid import uuid4

import pytest

from penstock.brokers import address
from penstock.testing.machine import check_broker
from tests.contract import EXAMPLES


# A failure takes minutes to be made short.
@pytest.mark.timeout(600)
def test_the_memory_broker_behaves_as_the_model() -> None:
    check_broker(lambda: address(f"memory://{uuid4().hex}"), examples=EXAMPLES)
