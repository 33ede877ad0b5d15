from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.processes import ROOT


@pytest.mark.timeout(240)
def test_a_process_killed_at_any_write_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SQLite; on Redis the wire is cut at every byte instead (``test_cuts.py``)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.crasher", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert int(done.stdout.split()[-1]) > 100
