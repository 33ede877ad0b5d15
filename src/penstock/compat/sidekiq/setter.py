"""What ``EmailWorker.set(...)`` gives, and where every way to enqueue a class task ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, Unpack

from penstock.compat.sidekiq.options import Interval, SetOptions, When, call_options, interval, moment
from penstock.handle import JobHandle
from penstock.task import Task

P = ParamSpec("P")
R = TypeVar("R")

Row = Sequence[Any] | Mapping[str, Any]


class Setter(Generic[P, R]):
    """A class task whose calls are enqueued otherwise; made by ``EmailWorker.set(...)``.

    ``P`` are the parameters of its ``perform`` and ``R`` is the job's result.
    """

    def __init__(self, task: Task[P, R, Any]) -> None:
        self._task = task

    def __repr__(self) -> str:
        return f"<Setter {self._task.name}>"

    def perform_async(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueues a call; see ``Job.perform_async``."""
        return self._task.delay(*args, **kwargs)

    async def aperform_async(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """``perform_async`` for async callers."""
        return await self._task.adelay(*args, **kwargs)

    def perform_in(self, wait: Interval, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueues a call that is due after ``wait``; see ``Job.perform_in``."""
        return self._after(wait).delay(*args, **kwargs)

    async def aperform_in(self, wait: Interval, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """``perform_in`` for async callers."""
        return await self._after(wait).adelay(*args, **kwargs)

    def perform_at(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueues a call that is due at ``when``; see ``Job.perform_at``."""
        return self._at(when).delay(*args, **kwargs)

    async def aperform_at(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """``perform_at`` for async callers."""
        return await self._at(when).adelay(*args, **kwargs)

    def perform_bulk(self, rows: Iterable[Row]) -> list[JobHandle[R]]:
        """Enqueues a call for each row; see ``Job.perform_bulk``."""
        return self._task.delay_many(rows)

    async def aperform_bulk(self, rows: Iterable[Row]) -> list[JobHandle[R]]:
        """``perform_bulk`` for async callers."""
        return await self._task.adelay_many(rows)

    def set(self, **options: Unpack[SetOptions]) -> Setter[P, R]:
        """A copy with more options; see ``Job.set``."""
        return Setter(self._task.options(**call_options(f"set of {self._task.name}", options)))

    def _after(self, wait: Interval) -> Task[P, R, Any]:
        return self._task.options(countdown=interval(wait))

    def _at(self, when: When) -> Task[P, R, Any]:
        return self._task.options(eta=moment(when))
