"""The page of a job's states shows the table that the code runs by."""

from __future__ import annotations

import re

from penstock.core.lifecycle import TRANSITIONS, JobState
from tests.docs.page import ROOT


def test_the_table_is_that_of_the_code() -> None:
    page = (ROOT / "docs/state-machine.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.+) \|$", page, re.MULTILINE)
    shown = {(JobState(before), JobState(after)): why for before, after, why in rows}
    assert shown == TRANSITIONS


def test_the_picture_names_every_state() -> None:
    picture = (ROOT / "docs/state-machine.svg").read_text()
    assert set(re.findall(r">(\w+)</text>", picture)) >= set(JobState)
