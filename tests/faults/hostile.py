"""Bodies that no producer of Penstock's writes, put into the queue between good jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from penstock import JobState, Penstock
from penstock.core.job import Job, JobRecord
from penstock.ids import new_id
from tests.faults import kills
from tests.faults.processes import THREADS, TOLD, Process, ready, worker
from tests.faults.site import Site, counts_of, record_of
from tests.faults.verdict import Figures

DEEP: Final = 100_000
_TICK: Final = b'{"v":1,"task":"tests.faults.app.tick","args":%s}'
_THREAD: Final = b'{"v":1,"task":"tests.faults.app.on_thread","args":%s}'
_FAIL: Final = b'{"v":1,"task":"tests.faults.app.fail","args":%s}'
_WITHIN_S: Final = 20.0
_Q, _D = JobState.QUARANTINED, JobState.FAILED

# name -> (body, how it must end)
BODIES: Final[Mapping[str, tuple[bytes, JobState]]] = {
    "empty": (b"", _Q),
    "not JSON": (b"hello", _Q),
    "a pickle": (
        b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        _Q,
    ),
    "zeros": (b"\0" * 100, _Q),
    "truncated": (_TICK[:-20], _Q),
    "something behind it": (_TICK % b'["a"]' + b"}", _Q),
    "another shape": (b"[1,2,3]", _Q),
    "no task": (b'{"v":1,"args":[]}', _Q),
    "no version": (b'{"task":"tests.faults.app.tick","args":["a"]}', _Q),
    "a newer version": (b'{"v":2,"task":"tests.faults.app.tick","args":["a"]}', _Q),
    "version of a wrong type": (b'{"v":"1","task":"tests.faults.app.tick","args":["a"]}', _Q),
    "version beyond 64 bits": (b'{"v":18446744073709551617,"task":"tests.faults.app.tick"}', _Q),
    "task of a wrong type": (b'{"v":1,"task":["tests.faults.app.tick"]}', _Q),
    "headers of a wrong type": (_TICK[:-1] % b'["a"]' + b',"headers":{"a":1}}', _Q),
    "retry of a wrong type": (_TICK[:-1] % b'["a"]' + b',"retry":{"attempts":"many"}}', _Q),
    "invalid UTF-8 in the task": (b'{"v":1,"task":"tests.faults.app.\xff\xfe"}', _Q),
    "moment beyond a float": (_TICK[:-1] % b'["a"]' + b',"at":1e999}', _Q),
    "NaN": (_TICK[:-1] % b'["a"]' + b',"at":NaN}', _Q),
    "deep where a list is": (b"[" * DEEP + b"]" * DEEP, _Q),
    "deep in a field that nobody knows": (b'{"v":1,"x":' + b"[" * DEEP + b"]" * DEEP + b',"task":"t"}', _Q),
    "deep arguments": (_TICK % (b"[" * DEEP + b"]" * DEEP), _Q),
    "deep objects": (_TICK % (b"[" + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"]"), _Q),
    "deep and open": (_TICK % (b"[" * DEEP), _Q),
    "invalid UTF-8 in an argument": (_TICK % b'["\xff\xfe"]', _D),
    "arguments of a wrong type": (_TICK % b"[1]", _D),
    "arguments that are no list": (_TICK % b'{"key":"a"}', _D),
    "too many arguments": (_TICK % b'["a","b"]', _D),
    "too few arguments": (_TICK % b"[]", _D),
    "a number beyond a float": (_THREAD % b'["a",1e999]', _D),
    "a number of 5,000 digits": (_THREAD % (b'["a",' + b"9" * 5000 + b"]"), _D),
    "a number that the task cannot use": (_THREAD % b'["a",1e300]', _D),
    "result kept for ever": (_THREAD[:-1] % b'["a",0]' + b',"ttl_s":1e300}', _D),
    "result kept for less than no time": (_THREAD[:-1] % b'["a",0]' + b',"ttl_s":-5}', _D),
    "timeout beyond measure": (_THREAD[:-1] % b'["a",0]' + b',"timeout_s":1e300}', _D),
    "timeout below zero": (_THREAD[:-1] % b'["a",0]' + b',"timeout_s":-1}', _D),
    "less than no attempts": (_TICK[:-1] % b'["a"]' + b',"retry":{"attempts":-5}}', _D),
    "a retry that nobody knows": (_TICK[:-1] % b'["a"]' + b',"retry":{"what":1}}', _D),
    "a moment in milliseconds, and it fails": (_FAIL[:-1] % b'["a"]' + b',"at":1763820000000}', _D),
    "a moment in milliseconds, and it does not fit": (_TICK[:-1] % b"[1]" + b',"at":1763820000000}', _D),
    "a moment before all calendars, and it fails": (_FAIL[:-1] % b'["a"]' + b',"at":-1e300}', _D),
    "10 MB of rubbish": (b"x" * 10_000_000, _Q),
    "10 MB in a wrong argument": (_TICK % (b'["a","' + b"x" * 10_000_000 + b'"]'), _D),
}
# What is odd and can be run all the same: it must not stop the worker.
ODD: Final[Mapping[str, bytes]] = {
    "10 MB that fit": _TICK % (b'["' + b"x" * 10_000_000 + b'"]'),
    "a moment in milliseconds": _TICK[:-1] % b'["a"]' + b',"at":1763820000000}',
    "a moment long ago": _TICK[:-1] % b'["a"]' + b',"at":-1e300}',
    "a field twice": b'{"v":1,"v":1,"task":"x","task":"tests.faults.app.tick","args":["a"]}',
}


def run(site: Site, reference: str = THREADS) -> Figures:
    """Every hostile body between good jobs: the worker stays up, each is kept with its reason and its bytes.

    Args:
        reference: The application of the worker; ``TOLD`` has hooks and middleware.
    """
    with site.client() as app, worker(site.environment(), app=reference) as process:
        ready(process)
        hostile = {name: _put(app, body) for name, (body, _) in BODIES.items()}
        odd = {name: _put(app, body) for name, body in ODD.items()}
        unknown = _put(app, b'{"v":1,"task":"os.system","args":["true"]}')
        good = [app.send("tests.faults.app.on_thread", f"good-{number}", 0.0) for number in range(20)]
        for handle in good:
            handle.result(_WITHIN_S)
        for name, id in hostile.items():
            _kept(app, name, _ended(app, name, id), *BODIES[name])
        for name, id in odd.items():
            _ended(app, name, id)
        _waits(app, unknown)
        again = app.send("tests.faults.app.on_thread", "afterwards", 0.0)
        again.result(_WITHIN_S)
        _unharmed(app, process)
        if reference == TOLD:
            _told(site, {id for name, id in hostile.items() if BODIES[name][1] is _D})
    return Figures(
        "hostile bodies", site.broker, len(BODIES) + len(ODD) + 1, len(BODIES) + len(ODD) + 1 + len(good)
    )


def _told(site: Site, dead: set[str]) -> None:
    """Every job that is dead was told to the hook; jobs that cannot be read are none."""
    mono_until = time.monotonic() + _WITHIN_S
    while missing := dead - set((site.folder / "effects.told").read_text().split()):
        assert time.monotonic() < mono_until, f"no hook was told of {missing}"
        time.sleep(0.02)


def _put(app: Penstock, body: bytes) -> str:
    """Straight through the port: the way in of the application would refuse these."""
    job = Job(f"default:{new_id()}", "default", body)
    app.enqueue([job])
    return job.id


def _ended(app: Penstock, name: str, id: str) -> JobRecord | None:
    """The job's record once it has ended; None where it has ended and is not kept."""
    mono_until = time.monotonic() + _WITHIN_S
    while True:
        record = app.call(record_of(app, id))
        if record is None or record.state not in {JobState.READY, JobState.RUNNING, JobState.SCHEDULED}:
            return record
        assert time.monotonic() < mono_until, f"{name}: {str(record)[:500]}"
        time.sleep(0.02)


def _kept(app: Penstock, name: str, record: JobRecord | None, body: bytes, state: JobState) -> None:
    assert record is not None, f"{name}: gone"
    assert record.state is state, f"{name}: {record.state}, {record.error}"
    assert record.body == body, f"{name}: its bytes have changed"
    assert record.error is not None, f"{name}: no reason"
    assert record.error.message, f"{name}: no reason: {record}"
    assert len(record.error.message) < 2_500, f"{name}: its reason is {len(record.error.message)} long"


def _waits(app: Penstock, id: str) -> None:
    """A task that nobody knows waits for a worker that does; ``outcome.unknown`` sends it to the dead set in time."""
    record = app.call(record_of(app, id))
    assert record is not None
    assert record.state is JobState.SCHEDULED, record
    assert record.error is not None
    assert "os.system" in record.error.message, record


def _unharmed(app: Penstock, process: Process) -> None:
    assert process.running, "the worker has ended"
    assert process.count("is ready") == 1, "the worker was started again"
    kills.no_bugs([process])
    assert max((len(line) for line in process.output()), default=0) < 3_000, (
        "a line of the log is as long as a body"
    )
    counts = app.call(counts_of(app))
    assert counts.running == 0, counts
    assert counts.ready == 0, counts
