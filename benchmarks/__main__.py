"""``scripts/bench``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import bench, drain


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = (bench.quick if given.quick else bench.thorough)(Path(folder))
        for row in drain.on_redis(plan):
            print(row)


if __name__ == "__main__":
    main()
