"""The tasks of ``app.py``, with hooks and middleware that look at all there is to see of a job."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock import Call, CurrentJob, FailedJob
from tests.faults.app import app as app

_seen = Path(os.environ["FAULTS_EFFECTS"] + ".told")


@app.middleware
async def looks(job: CurrentJob, call: Call) -> Any:
    for name in dir(CurrentJob):
        if isinstance(getattr(CurrentJob, name), property):
            getattr(job, name)
    assert repr(job)
    return await call()


@app.on("attempt_failed")
async def hears(job: FailedJob, error: Exception) -> None:
    assert asdict(job)
    assert repr(error)


@app.on("job_failed")
def writes_down(job: FailedJob, error: Exception) -> None:
    with _seen.open("a") as file:
        file.write(f"{job.id}\n")
