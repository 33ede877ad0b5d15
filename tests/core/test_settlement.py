from __future__ import annotations

from penstock.core.job import Delivery, Enqueued, Job, JobError, Origin
from penstock.core.settlement import Again, Cancelled, Cause, Dead, Defer, Done, Quarantine, Release


def test_the_defaults_keep_nothing_spend_what_ran_and_give_back_to_the_front() -> None:
    delivery = Delivery("q:a", "q", b"", 1)
    assert Done(delivery) == Done(delivery, None, 0.0)
    assert Dead(delivery, JobError("E"), Cause.ERROR).spent
    assert Release(delivery) == Release(delivery, front=True, crashed=False)
    assert Cancelled(delivery).ttl_s == 3600.0
    assert Defer(delivery, 1.0, "why").streak == 0
    assert Again(delivery, 1.0, JobError("E")).error.traceback == ""
    assert Quarantine(delivery, "why").reason == "why"


def test_causes_are_words() -> None:
    assert {str(cause) for cause in Cause} == {
        "error",
        "rejected",
        "poison",
        "timeout",
        "result",
        "arguments",
        "unknown_task",
        "lost",
    }


def test_a_job_is_due_at_once_and_never_expires_unless_it_is_said() -> None:
    job = Job("q:a", "q", b"body")
    assert (job.priority, job.delay_s, job.due_at, job.expires_s, job.expires_at) == (
        0,
        0.0,
        None,
        None,
        None,
    )
    assert not job.unique
    assert Origin("p", 1) == ("p", 1)
    assert Enqueued("q:a", True).added
