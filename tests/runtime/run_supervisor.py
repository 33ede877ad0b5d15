"""Runs a supervisor over stub workers: ``run_supervisor MODE PROCESSES GRACE_S``."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Sequence

from penstock.runtime import rolling, supervisor
from penstock.runtime.orphan import die_with
from tests.runtime.conftest import ring

PR_SET_CHILD_SUBREAPER = 36


class Producer:
    """Tells the test of each extension."""

    def extend(self, consumer_id: str, queues: Sequence[str], lease_s: float) -> bool:
        ring(os.environ["TEST_BELL"], f"extended {consumer_id} {queues} {lease_s}")
        return True

    def close(self) -> None:
        pass


if __name__ == "__main__":
    die_with(os.getppid())  # tests that are killed leave nothing behind
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    supervisor.CLOSE_WITHIN_S = 0.3  # type: ignore[misc]
    supervisor.SOON_S = float(os.environ.get("TEST_SOON_S", "3"))  # type: ignore[misc]
    if "TEST_PATIENCE_S" in os.environ:
        rolling.PATIENCE_S = float(os.environ["TEST_PATIENCE_S"])  # type: ignore[misc]
    if os.environ.get("TEST_REAPS"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    mode, processes, grace_s = sys.argv[1:4]
    program = os.environ.get("TEST_PROGRAM", sys.executable)
    argv = [program, "-m", "tests.runtime.stub_worker", mode]
    code = supervisor.run(
        argv,
        int(processes),
        grace_s=float(grace_s),
        connect=lambda *address: Producer(),  # type: ignore[arg-type,return-value]
        guard=os.environ.get("TEST_GUARD") != "no",
        has_children=bool(os.environ.get("TEST_HAS_CHILDREN")),
    )
    sys.exit(code)
