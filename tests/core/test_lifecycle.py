from __future__ import annotations

from itertools import product

from penstock.core.lifecycle import ENDED, TRANSITIONS, JobState, allowed

S = JobState


def test_exactly_these_steps_are_allowed() -> None:
    waiting_or_running = {
        S.SCHEDULED: {S.READY, S.CANCELLED, S.EXPIRED, S.SCHEDULED},
        S.READY: {S.RUNNING, S.CANCELLED, S.EXPIRED},
        S.RUNNING: {S.READY, S.SCHEDULED, S.SUCCEEDED, S.FAILED, S.CANCELLED, S.QUARANTINED},
    }
    retried = {S.FAILED: {S.READY}, S.QUARANTINED: {S.READY}}
    wanted = waiting_or_running | retried
    for before, after in product(S, S):
        assert allowed(before, after) == (after in wanted.get(before, set())), f"{before} to {after}"


def test_every_step_says_why() -> None:
    assert all(reason for reason in TRANSITIONS.values())


def test_what_has_ended_stays_so_unless_an_operator_retries_it() -> None:
    left = {before for before, _ in TRANSITIONS if before in ENDED}
    assert left == {S.FAILED, S.QUARANTINED}
    assert {S(state) for state in S} - ENDED == {S.SCHEDULED, S.READY, S.RUNNING}


def test_every_state_can_be_reached_and_can_end() -> None:
    reached = {S.SCHEDULED, S.READY}
    while more := {after for before, after in TRANSITIONS if before in reached} - reached:
        reached |= more
    assert reached == set(S)
    for start in set(S) - ENDED:
        ways = {start}
        while more := {after for before, after in TRANSITIONS if before in ways} - ways:
            ways |= more
        assert ways >= ENDED - {S.EXPIRED}


def test_states_are_words() -> None:
    assert [str(state) for state in S] == [
        "scheduled",
        "ready",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "expired",
        "quarantined",
    ]
