from __future__ import annotations

from pathlib import Path

import pytest

from penstock.testing.contract import BrokerContract


class TestSQLite(BrokerContract):
    @pytest.fixture
    def broker_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/jobs.db"
