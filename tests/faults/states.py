"""Asks the broker what became of the acknowledged jobs: ``python -m tests.faults.states ACKNOWLEDGED OUT``.

OUT's first line is the default queue's counts, then one line a job: ``{"key": ..., "state": ..., "cause": ...}``.
Jobs whose result is not kept are ``gone`` once they have succeeded.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.app import app


async def ask(ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """The counts of the default queue, then the state of each job, by its key and id."""
    async with app:
        inspector = await app.inspector()
        counts = next((each for each in await inspector.queues() if each.queue == "default"), None)
        lines: list[dict[str, Any]] = [msgspec.to_builtins(counts) if counts else {}]
        for key, id in ids.items():
            record = await inspector.get(id)
            lines.append(
                {
                    "key": key,
                    "state": str(record.state) if record else "gone",
                    "cause": record.cause if record else "",
                    "crashes": record.crashes if record else 0,
                }
            )
    return lines


def main() -> None:
    acknowledged, out = Path(sys.argv[1]), Path(sys.argv[2])
    asked = [json.loads(line) for line in acknowledged.read_text().splitlines()]
    lines = asyncio.run(ask({line["ack"]: line["id"] for line in asked if "ack" in line}))
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
