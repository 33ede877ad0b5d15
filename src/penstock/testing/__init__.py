"""What proves a broker: the contract that each must pass, and a state machine that compares it with the model."""

import pytest

# So that a failing assertion of theirs shows its values, as one in a test file does.
pytest.register_assert_rewrite(
    "penstock.testing.contract", "penstock.testing.machine", "penstock.testing.twin"
)
