"""From a class with a ``perform`` to a task."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, cast

from penstock.app import Penstock
from penstock.compat.sidekiq.options import policy
from penstock.core.spec import DeliveryMode
from penstock.errors import ConfigError
from penstock.task import Task


def registered(cls: type[Any], perform: object, options: dict[str, Any]) -> Task[..., Any, Any]:
    """The task of a class.

    Raises:
        ConfigError: It cannot be one.
    """
    name = cls.__name__
    app = options.pop("app", None)
    if app is None:
        raise ConfigError(
            f"class {name}: no application; write class {name}(Job, app=app), or give app= to a base class of it"
        )
    if not isinstance(app, Penstock):
        raise ConfigError(f"class {name}: app= takes a Penstock, not {type(app).__name__}")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise ConfigError(
            f"class {name}: each run makes a new instance without arguments, but __init__ wants some ({error})"
        ) from None
    function = _function(cls, perform)
    if "retry" in options:
        options["retry"] = policy(f"class {name}", options["retry"])
    elif options.get("delivery") != DeliveryMode.AT_MOST_ONCE:
        options["retry"] = policy(f"class {name}", True)
    return app.task(**options)(function)


def _function(cls: type[Any], perform: object) -> Callable[..., Any]:
    """A function that runs ``perform`` of a new instance, with the signature of a bound one."""
    where = f"class {cls.__name__}"
    if not inspect.isfunction(perform):
        raise ConfigError(
            f"{where}: perform is a {type(perform).__name__}; write def perform(self, ...), or async def"
        )
    if inspect.isgeneratorfunction(perform) or inspect.isasyncgenfunction(perform):
        raise ConfigError(f"{where}: perform is a generator; return a list or enqueue jobs instead")
    signature = inspect.signature(perform)
    first, *parameters = signature.parameters.values() or (None,)
    if first is None or first.name != "self":
        raise ConfigError(f"{where}: perform{signature} has no self; write def perform(self, ...)")

    def run(*args: Any, **kwargs: Any) -> Any:
        return cls().perform(*args, **kwargs)

    async def arun(*args: Any, **kwargs: Any) -> Any:
        return await cls().perform(*args, **kwargs)

    function: Any = update_wrapper(arun if inspect.iscoroutinefunction(perform) else run, perform)
    function.__signature__ = signature.replace(parameters=parameters)
    function.__module__, function.__name__, function.__qualname__ = (
        cls.__module__,
        cls.__name__,
        cls.__qualname__,
    )
    function.__doc__ = cls.__doc__ or perform.__doc__
    return cast("Callable[..., Any]", function)
