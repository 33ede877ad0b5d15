"""Small pictures of large ones, computed in child processes: with a time limit, and telling how far they are.

In one terminal, and in another:

    penstock -A thumbnails worker
    python thumbnails.py

The pictures are of the PPM format, which needs no library: a header, then three bytes for each pixel.
"""

import time
from pathlib import Path

from penstock import Penstock, current_job

app = Penstock("thumbnails")


def save(file: Path, width: int, height: int, pixels: bytes | bytearray) -> None:
    file.write_bytes(b"P6 %d %d 255\n" % (width, height) + pixels)


@app.task(lane="process", timeout=120, retry=False)
def shrink(picture: str, factor: int) -> str:
    """Writes a copy in which each pixel is the mean of factor * factor pixels."""
    header, pixels = Path(picture).read_bytes().split(b"\n", 1)
    width, height = (int(word) for word in header.split()[1:3])
    small_width, small_height = width // factor, height // factor
    small = bytearray()
    for row in range(small_height):
        current_job().progress(row, small_height, "rows")
        for column in range(small_width):
            for colour in range(3):
                values = [
                    pixels[((row * factor + y) * width + column * factor + x) * 3 + colour]
                    for y in range(factor)
                    for x in range(factor)
                ]
                small.append(sum(values) // len(values))
    thumbnail = Path(picture).with_suffix(f".small{Path(picture).suffix}")
    save(thumbnail, small_width, small_height, small)
    return str(thumbnail)


def draw(file: Path, width: int, height: int) -> None:
    pixels = bytes(value % 256 for y in range(height) for x in range(width) for value in (x, y, x ^ y))
    save(file, width, height, pixels)


def main() -> None:
    picture = Path("picture.ppm").resolve()
    draw(picture, 1600, 1200)
    job = shrink.delay(str(picture), factor=8)
    shown = None
    while job.status() in {"ready", "running"}:
        progress = job.progress()  # a worker tells of it once a second
        if progress and progress.total and progress != shown:
            print(f"{progress.done / progress.total:.0%} of the {progress.note}")
            shown = progress
        time.sleep(0.2)
    print(f"made {job.result(timeout=10)}")


if __name__ == "__main__":
    main()
