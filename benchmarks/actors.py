"""What is done in processes of their own beside the worker: ``python -m benchmarks.actors NAME URL ARGUMENT...``.

Each prints what it has to tell as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

ADDRESS = "someone@example.org"


def limit_redis(url: str, count: str, mode: str) -> Any:
    """The bare loop on a queue filled for it."""
    from benchmarks import limit_redis as limit

    assert mode in {"thread", "loop"}
    return limit.run(url, int(count), mode)  # type: ignore[arg-type]  # just looked at


def fill_limit_redis(url: str, count: str) -> Any:
    """Fills the bare loop's queue."""
    from benchmarks import limit_redis as limit

    limit.fill(url, int(count))
    return None


def fill(_url: str, task: str, count: str) -> Any:
    """Fills Penstock's queue through ``send``'s sibling for many: the public way in."""
    from benchmarks import noop_app
    from benchmarks import noop_mixed_app as mixed

    tasks = {"noop": noop_app.noop, "noop_result": noop_app.noop_result, "noop_async": mixed.noop_async}
    left, began = int(count), time.monotonic()
    while left:
        part = min(left, 20_000)
        tasks[task].delay_many((number, ADDRESS) for number in range(part))
        left -= part
    return int(count) / (time.monotonic() - began)


def main() -> None:
    """Runs one of them."""
    name, *args = sys.argv[1:]
    print(json.dumps(globals()[name](*args)))


if __name__ == "__main__":
    main()
