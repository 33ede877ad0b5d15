"""One call makes a job of each file; their results come back as they are ready.

In one terminal, and in another:

    penstock -A fan_out worker
    python fan_out.py FOLDER
"""

import asyncio
import sys
from pathlib import Path

from penstock import Penstock

app = Penstock("fan-out")


@app.task
def count_words(file: str) -> tuple[str, int]:
    return file, len(Path(file).read_text(errors="replace").split())


async def main(files: list[str]) -> None:
    async with app:
        jobs = await count_words.adelay_many((file,) for file in files)
        total = 0
        for ready in asyncio.as_completed([job.aresult(timeout=60) for job in jobs]):
            file, words = await ready
            total += words
            print(f"{words:8} {file}")
    print(f"{total:8} words in {len(jobs)} files")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if sys.argv[1:] else ".").resolve()
    asyncio.run(main([str(file) for file in folder.glob("**/*.py")]))
