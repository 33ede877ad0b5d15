"""What a type checker says of calls: a slip of the pen is found before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_TOP = Path(__file__).parents[2]

CALLS = """
from typing import Any
from penstock import Penstock

app = Penstock("typed", broker="memory://typed")

@app.task
def add(x: int, y: int) -> int:
    return x + y

known: dict[str, Any] = {}
add.options(countdown=3, queue="mail").delay(1, y=2)
add.options(**known).apply_async((1, 2), countdown=3)
add.options(countdwn=3)  # wrong
add.apply_async((1, 2), countdwn=3)  # wrong
add.delay(1, "b")  # wrong
add.delay(1)  # wrong
"""


def test_a_name_or_a_type_that_is_wrong_is_found(tmp_path: Path) -> None:
    file = tmp_path / "calls.py"
    file.write_text(CALLS)
    words = ["--config-file", str(_TOP / "pyproject.toml"), "--no-error-summary", str(file)]
    done = subprocess.run([sys.executable, "-m", "mypy", *words], cwd=_TOP, capture_output=True, text=True)
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line}
    wrong = {number for number, line in enumerate(CALLS.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, done.stdout + done.stderr
