"""What ``EmailWorker.set(...)`` gives, and where every way to enqueue a class task ends."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, ParamSpec, TypeVar, Unpack

from penstock.compat.sidekiq.options import Interval, SetOptions, When, call_options, interval, moment
from penstock.errors import ConfigError, InvalidArguments, PayloadTooLarge
from penstock.handle import JobHandle
from penstock.task import Task

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Row = Sequence[Any] | Mapping[str, Any]


_WORDS: Final = (("options(", "set("), ("options:", "set:"), ("delay_many", "perform_bulk"))


@contextlib.contextmanager
def _own_words() -> Generator[None]:
    """What functions' callers are told, in the words that a class task's caller has typed."""
    try:
        yield
    except (ConfigError, InvalidArguments, PayloadTooLarge) as error:
        text = str(error)
        for theirs, ours in _WORDS:
            text = text.replace(theirs, ours)
        if text == str(error):
            raise
        raise type(error)(text) from None


def run_here(task: Task[..., Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Runs a task's function, once its arguments have passed what an enqueued call's do.

    Raises:
        InvalidArguments: They do not fit, or one is missing that a worker would inject.
        PayloadTooLarge: They could not be enqueued.
    """
    injected = task.spec.arguments.injected
    carried = dict(kwargs)
    positional = args
    if injected:
        names = list(task.spec.arguments.signature.parameters)
        positional = args[: min(map(names.index, injected))]
        carried = {name: value for name, value in kwargs.items() if name not in injected}
    task.job(positional, carried)
    return task(*args, **kwargs)


class Setter(Generic[P, R_co]):
    """A class task whose calls are enqueued otherwise; made by ``EmailWorker.set(...)``.

    ``P`` are the parameters of its ``perform`` and ``R_co`` is the job's result.
    """

    def __init__(self, task: Task[P, R_co, Any]) -> None:
        self._task = task

    def __repr__(self) -> str:
        return f"<Setter {self._task.name}>"

    def perform_inline(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Runs ``perform`` here and now; see ``Job.perform_inline``. What ``set`` was given has no effect on that."""
        return run_here(self._task, args, kwargs)

    perform_sync = perform_inline

    def perform_async(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """Enqueues a call; see ``Job.perform_async``."""
        return self._task.delay(*args, **kwargs)

    async def aperform_async(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """``perform_async`` for async callers."""
        return await self._task.adelay(*args, **kwargs)

    def perform_in(self, wait: Interval, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """Enqueues a call that is due after ``wait``; see ``Job.perform_in``."""
        return self._after(wait).delay(*args, **kwargs)

    async def aperform_in(self, wait: Interval, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """``perform_in`` for async callers."""
        return await self._after(wait).adelay(*args, **kwargs)

    def perform_at(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """Enqueues a call that is due at ``when``; see ``Job.perform_at``."""
        return self._at(when).delay(*args, **kwargs)

    async def aperform_at(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]:
        """``perform_at`` for async callers."""
        return await self._at(when).adelay(*args, **kwargs)

    def perform_bulk(self, rows: Iterable[Row]) -> list[JobHandle[R_co]]:
        """Enqueues a call for each row; see ``Job.perform_bulk``."""
        with _own_words():
            return self._task.delay_many(rows)

    async def aperform_bulk(self, rows: Iterable[Row]) -> list[JobHandle[R_co]]:
        """``perform_bulk`` for async callers."""
        with _own_words():
            return await self._task.adelay_many(rows)

    def set(self, **options: Unpack[SetOptions]) -> Setter[P, R_co]:
        """A copy with more options; see ``Job.set``."""
        with _own_words():
            return Setter(self._task.options(**call_options(f"set of {self._task.name}", options)))

    def _after(self, wait: Interval) -> Task[P, R_co, Any]:
        return self._task.options(countdown=interval(wait))

    def _at(self, when: When) -> Task[P, R_co, Any]:
        return self._task.options(eta=moment(when))
