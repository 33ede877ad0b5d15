"""``from penstock import *`` gives every public name, with its type."""

from typing import assert_type

from penstock import *

app = Penstock("typed", broker="memory://typed")


@app.task(retry=Retry(attempts=3))
def add(x: int, y: int) -> int:
    return x + y


def names() -> None:
    assert_type(add.delay(1, 2), JobHandle[int])
    assert_type(add.delay(1, 2).status(), JobState)
    assert_type(current_job(), CurrentJob)
    version: str = __version__
    print(version, INJECTED, Reject("why"), JobFailed)
    print(import_module)  # E: name-defined reportUndefinedVariable,reportUnknownArgumentType
