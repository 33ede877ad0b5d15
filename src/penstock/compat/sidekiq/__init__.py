"""Class tasks, in Sidekiq's spelling: a class with a ``perform`` is a task.

    from penstock.compat.sidekiq import Job

    class EmailWorker(Job, app=app, queue="mail", retry=5):
        def perform(self, user_id: int, email: str) -> None: ...

    EmailWorker.perform_async(1, "a@b.c")
    EmailWorker.set(queue="bulk").perform_in(60, 1, "a@b.c")

What is stored, what a worker runs and what the commands show is a task like any other, named ``module.EmailWorker``.
A parameter's type and the result's are read off ``perform`` by type checkers, and checked when a job is made.
"""

from __future__ import annotations

from penstock.compat.sidekiq.job import Job, Worker
from penstock.compat.sidekiq.options import JobOptions, SetOptions
from penstock.compat.sidekiq.setter import Setter

__all__ = ["Job", "JobOptions", "SetOptions", "Setter", "Worker"]
