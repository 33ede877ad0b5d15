from __future__ import annotations

from uuid import uuid4

import pytest

from penstock.testing.contract import BrokerContract


class TestMemory(BrokerContract):
    @pytest.fixture
    def broker_url(self) -> str:
        return f"memory://{uuid4().hex}"
