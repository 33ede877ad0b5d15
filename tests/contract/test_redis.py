from __future__ import annotations

import pytest

from penstock.testing.contract import BrokerContract


class TestRedis(BrokerContract):
    @pytest.fixture
    def broker_url(self, redis_url: str) -> str:
        return redis_url
