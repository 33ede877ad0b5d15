"""The contract that every broker must pass, as tests to inherit.

    class TestMine(BrokerContract):
        skips = frozenset({...})          # exactly the tests that its capabilities do not allow

        @pytest.fixture
        def broker_url(self, tmp_path):   # storage that nothing was stored in
            return f"sqlite:///{tmp_path}/jobs.db"

Tests move the broker's clock by ``clock_shift_s`` and wait for signals, so that the whole takes seconds.
"""

from __future__ import annotations

from penstock.testing.contract.blocking import BlockingContract
from penstock.testing.contract.enqueue import EnqueueContract
from penstock.testing.contract.fetch import FetchContract
from penstock.testing.contract.inspect import InspectContract
from penstock.testing.contract.lease import LeaseContract
from penstock.testing.contract.overlap import OverlapContract
from penstock.testing.contract.pausing import PauseContract
from penstock.testing.contract.settle import SettleContract
from penstock.testing.contract.suspects import SuspectContract
from penstock.testing.contract.workers import WorkersContract


class BrokerContract(
    EnqueueContract,
    FetchContract,
    SettleContract,
    LeaseContract,
    SuspectContract,
    InspectContract,
    WorkersContract,
    BlockingContract,
    PauseContract,
    OverlapContract,
):
    """All of it. The class that inherits it offers the fixture ``broker_url`` and its own ``skips``."""
