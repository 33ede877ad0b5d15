"""The words that options take, as type checkers know them, are those that are taken when the program runs."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from penstock import ConfigError, DeliveryName, LaneName, ListedState, Penstock, ScopeName
from penstock.core.spec import DeliveryMode, Lane
from penstock.listing import LISTED
from penstock.runtime.resources import Resource


def test_they_are_the_same() -> None:
    assert get_args(LaneName) == tuple(Lane)
    assert get_args(DeliveryName) == tuple(DeliveryMode)
    assert get_args(ListedState) == LISTED
    for scope in get_args(ScopeName):
        assert Resource(lambda: (yield), scope).scope == scope


def test_others_are_refused_when_the_program_runs() -> None:
    app: Any = Penstock("words", broker="memory://words")
    wrong = ({"lane": "proces"}, {"delivery": "at_mots_once"})
    for options in wrong:
        with pytest.raises(ConfigError, match="use one of"):
            app.task(**options)(print)
    with pytest.raises(ConfigError, match='use "process" or "job"'):
        app.resource(scope="request")(lambda: (yield))
    with pytest.raises(ConfigError, match="one of scheduled, ready"):
        app.jobs(state="redy")
