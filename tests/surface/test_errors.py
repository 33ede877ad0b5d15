"""The tree of errors, as the page of the public surface has it."""

from __future__ import annotations

import pytest

import penstock

TREE = {
    "ConfigError": ("PenstockError",),
    "BrokerError": ("PenstockError",),
    "BrokerUnavailable": ("BrokerError", ConnectionError),
    "BrokerRejected": ("BrokerError",),
    "BrokerMisconfigured": ("BrokerError",),
    "InvalidArguments": ("PenstockError", TypeError),
    "PayloadTooLarge": ("PenstockError",),
    "UnknownTask": ("PenstockError", LookupError),
    "JobError": ("PenstockError",),
    "JobFailed": ("JobError",),
    "JobCancelled": ("JobError",),
    "JobExpired": ("JobError",),
    "ResultTimeout": ("JobError", TimeoutError),
    "LeaseLost": ("PenstockError",),
}


@pytest.mark.parametrize("name", TREE)
def test_each_error_stands_below_its_cause(name: str) -> None:
    error = getattr(penstock, name)
    for base in TREE[name]:
        assert issubclass(error, getattr(penstock, base) if isinstance(base, str) else base)


def test_what_is_imported_from_the_package() -> None:
    from penstock import INJECTED, Penstock, Reject, Retry, RetryLater, current_job

    assert all([INJECTED is not None, Penstock, Reject, Retry, RetryLater, current_job])
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
