"""The driver that tries the faults on other libraries: its judge and its search, without any library."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import verdict as lines
from tests.faults.processes import ROOT
from tests.servers import RedisServer
from tests.soak.peers import command, faults, page, verdict
from tests.soak.peers.faults import FAULTS, tried
from tests.soak.peers.holding import held, sizes
from tests.soak.peers.systems import SYSTEMS, client
from tests.soak.peers.trial import Trial, TrialFailed
from tests.soak.peers.verdict import Outcome

S = 1_000_000_000


def _judged(tmp_path: Path, effects: str, *acks: str, held: set[str] | None = None) -> Outcome:
    """What ``effects`` say of jobs acknowledged at 1 s, where the fault came at 5 s and the wait ended at 60 s."""
    (tmp_path / "effects").write_text(
        "".join(
            f"{what} {key} {pid} {int(float(at) * S)}\n"
            for what, key, pid, at in map(str.split, effects.splitlines())
        )
    )
    (tmp_path / "acks").write_text(
        "".join(json.dumps({"ack": key, "ns": S, "took_s": 0.1}) + "\n" for key in acks)
    )
    acknowledged, runs = verdict.read(tmp_path / "acks", tmp_path / "effects")
    return verdict.judge(acknowledged, runs, held or set(), 5 * S, 60 * S)


class TestJudge:
    def test_all_is_well(self, tmp_path: Path) -> None:
        found = _judged(tmp_path, "start a 1 2\nend a 1 3\nstart b 1 6\nend b 1 7.5", "a", "b")
        assert (found.jobs, found.missing, found.cut_short, found.again, found.twice) == (2, [], 0, 0, 0)
        assert found.recovery_s == 2.5

    def test_a_run_that_was_cut_short_and_never_came_again_is_lost(self, tmp_path: Path) -> None:
        found = _judged(tmp_path, "start a 1 2\nend a 1 3\nstart b 1 4", "a", "b", "c", held={"c", "a"})
        assert found.missing == ["b", "c"]
        assert (found.still_held, found.gone) == (1, 1)
        assert (found.cut_short, found.again) == (1, 0)
        assert found.recovery_s is None
        assert found.wait_s == 55

    def test_cut_short_and_run_again_is_no_double(self, tmp_path: Path) -> None:
        found = _judged(tmp_path, "start a 1 2\nstart a 2 20\nend a 2 21", "a")
        assert (found.missing, found.cut_short, found.again, found.twice) == ([], 1, 1, 0)
        assert found.recovery_s == 16

    def test_ended_twice(self, tmp_path: Path) -> None:
        found = _judged(tmp_path, "start a 1 2\nend a 1 3\nstart a 2 20\nend a 2 21", "a")
        assert (found.cut_short, found.again, found.twice) == (0, 1, 1)
        assert found.recovery_s == 0, "it had ended before the fault, whatever came after"

    def test_what_was_not_acknowledged_cannot_be_lost(self, tmp_path: Path) -> None:
        found = _judged(tmp_path, "start a 1 2\nend a 1 3\nstart b 1 4\nstart b 2 9", "a")
        assert (found.jobs, found.missing, found.cut_short, found.again) == (1, [], 0, 0)

    def test_moments_are_counted_from_the_acknowledgement(self, tmp_path: Path) -> None:
        _judged(tmp_path, "start a 1 11\nend a 1 12\nstart a 1 31\nend a 1 32", "a", "b")
        assert verdict.moments_s(*verdict.read(tmp_path / "acks", tmp_path / "effects")) == [[10.0, 30.0], []]

    def test_a_job_may_begin_before_its_producer_hears_of_it(self, tmp_path: Path) -> None:
        _judged(tmp_path, "start a 1 0.94", "a")
        assert verdict.moments_s(*verdict.read(tmp_path / "acks", tmp_path / "effects")) == [[0.0]]

    def test_only_what_began_since_is_running(self, tmp_path: Path) -> None:
        _judged(tmp_path, "start a 1 2\nstart b 2 6\nstart c 2 7\nend c 2 8")
        runs = lines.runs_of(tmp_path / "effects")
        assert [run.key for run in verdict.running(runs, 5 * S)] == ["b"]


class TestHolding:
    def test_every_kind_of_key_and_packing(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path / "redis") as server, client(server.url) as redis:
            redis.set("text", "a job-0001 b")
            redis.lpush(
                "list", json.dumps({"body": base64.b64encode(b'[["job-0002", 0.2], {}, {}]').decode()})
            )
            redis.hset("some:0193f2aa-1111-7222-8333-444455556666", "data", zlib.compress(b"\x80job-0003"))
            redis.sadd("set", "job-0004")
            redis.zadd("zset", {"job-0005": 1})
            redis.set("results.finished", "job-0006")
            wanted = {f"job-000{number}" for number in range(1, 8)}
            assert held(redis, wanted) == {
                "job-0001": {"text"},
                "job-0002": {"list"},
                "job-0003": {"some:ID"},
                "job-0004": {"set"},
                "job-0005": {"zset"},
            }
            assert sizes(redis)["some:ID"] == 1

    def test_of_a_stream_what_is_to_be_run(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path / "redis") as server, client(server.url) as redis:
            for number in range(3):
                redis.xadd("stream", {"data": f"job-000{number}"})
            words = {"job-0000", "job-0001", "job-0002"}
            assert set(held(redis, words)) == words, "nobody reads it yet"
            redis.xgroup_create("stream", "group", id="0")
            ((_, entries),) = redis.xreadgroup("group", "me", {"stream": ">"}, count=2)
            redis.xack("stream", "group", entries[0][0])
            assert set(held(redis, words)) == {"job-0001", "job-0002"}, (
                "one is acknowledged, one pending, one not read"
            )


class TestTrial:
    """The driver's own moves, on Penstock, which is always there."""

    @pytest.fixture
    def trial(self, tmp_path: Path) -> Any:
        with Trial(SYSTEMS[0], Path(sys.executable).parent, tmp_path / "trial") as trial:
            yield trial

    def test_jobs_run_and_are_seen(self, trial: Trial) -> None:
        trial.produce(3, seconds=0.0)
        trial.start()
        assert trial.settle(45) == {}
        acks, runs = trial.read()
        assert sorted(acks) == sorted(runs) == ["job-0000", "job-0001", "job-0002"]

    def test_what_nobody_runs_is_held(self, trial: Trial) -> None:
        trial.produce(2, seconds=0.0)
        assert set(trial.settle(0)) == {"job-0000", "job-0001"}

    def test_what_is_nowhere_is_not_waited_for(self, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.soak.peers.trial._ASK_EVERY_S", 0.02)
        trial.produce(2, seconds=0.0)
        with client(trial.server.url) as redis:
            redis.flushall()
        began = time.monotonic()
        assert trial.settle(60) == {}
        assert time.monotonic() - began < 20

    def test_a_worker_that_has_ended_is_started_again_and_counted(self, trial: Trial) -> None:
        worker = trial.start()
        assert not trial.revive()
        worker.kill()
        assert trial.revive()
        assert trial.restarts == 1
        assert trial.worker is not worker


class TestNothingStarted:
    """What never starts loses nothing: there is no figure of it."""

    @pytest.mark.parametrize("key", [*FAULTS])
    def test_a_worker_that_does_not_start(self, tmp_path: Path, key: str) -> None:
        broken = replace(
            SYSTEMS[0], worker="{bin}/penstock -A tests.soak.peers.apps.there_is_none worker", tear=_no_damage
        )
        with pytest.raises(TrialFailed, match="there_is_none"):
            tried(broken, FAULTS[key], Path(sys.executable).parent, tmp_path / "trial")

    def test_a_program_that_is_not_there(self, tmp_path: Path) -> None:
        broken = replace(SYSTEMS[0], worker="{bin}/there-is-none")
        with pytest.raises(TrialFailed, match="cannot be started"):
            tried(broken, FAULTS["long"], Path(sys.executable).parent, tmp_path / "trial")

    def test_what_delayed_jobs_need_does_not_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(faults, "WATCH_S", 0.0)
        monkeypatch.setattr(faults, "STARTED_WITHIN_S", 5.0)
        broken = replace(SYSTEMS[0], delays="{bin}/python -m there_is_none")
        with pytest.raises(TrialFailed, match="there_is_none"):
            tried(broken, FAULTS["delay"], Path(sys.executable).parent, tmp_path / "trial")

    def test_a_killed_workers_successor_that_does_not_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(faults, "KILLS", 1)
        monkeypatch.setattr(faults, "WAIT_S", 0.5)
        only_once = tmp_path / "only-once"
        only_once.write_text(f'#!/bin/sh\nmkdir {tmp_path}/begun || exit 7\nexec "$@"\n')
        only_once.chmod(0o755)
        broken = replace(SYSTEMS[0], worker=f"{only_once} {SYSTEMS[0].worker}")
        with pytest.raises(TrialFailed, match="the last worker ended of itself"):
            tried(broken, FAULTS["kill"], Path(sys.executable).parent, tmp_path / "trial")

    def test_the_job_that_proves_a_start_is_not_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(faults, "WATCH_S", 0.0)
        monkeypatch.setattr(faults, "DELAY_S", 0.1)
        found = tried(SYSTEMS[0], FAULTS["long"], Path(sys.executable).parent, tmp_path / "trial")
        assert (found.jobs, found.missing, found.again) == (faults.LATE, [], 0)


def _no_damage(redis: Any) -> None:
    """For trials that end before it."""


def _trial(found: Outcome, **rest: Any) -> dict[str, Any]:
    return {"outcome": asdict(found), **_MADE, **rest}


_MADE: dict[str, Any] = {
    "date": "2026-11-22",
    "number": 1,
    "machine": "2 cores",
    "at_once": 12,
    "versions": "one 1",
}


class TestPage:
    def test_a_row_says_what_is_lost_and_what_is_held(self) -> None:
        system = next(each for each in SYSTEMS if each.name == "rq-default")
        facts = {"places": {"rq:wip": 1}, "sizes": {"rq:failed:default": 2, "rq:queues": 1}}
        found = Outcome(60, ["a", "b", "c"], 2, 3, 0, 0, None, 120.4, ["a note"], facts)
        assert page.line(system, [_trial(found)]) == (
            "| RQ | default | 1 | 60 | **3** | 2 | 3 | 0 | 0 | not within 120 s | "
            "held: 1 in `rq:wip`, 2 in `rq:failed:default`; 1 gone from the broker; a note |"
        )
        found = Outcome(60, ["a"], 0, 1, 0, 0, None, 15.0)
        assert "| **1** | 0 | 1 | 0 | 0 | never | 1 gone from the broker |" in page.line(
            system, [_trial(found)]
        )

    def test_trials_that_differ_have_the_least_and_the_most_and_in_how_many(self) -> None:
        trials = [
            Outcome(60, [], 0, 9, 9, 0, 4.14, 4.2, ["longest call to enqueue 8 s", "errors: none"]),
            Outcome(60, ["a"], 0, 11, 10, 0, None, 20.0, ["longest call to enqueue 10.5 s", "errors: none"]),
            Outcome(
                59, [], 0, 11, 11, 0, 12.06, 12.1, ["longest call to enqueue 8 s", "errors: none", "ended: 1"]
            ),
        ]
        assert page.line(SYSTEMS[0], [_trial(each) for each in trials]) == (
            "| Penstock | default | 3 | 59 to 60 | **0 to 1** | 0 | 9 to 11 | 9 to 11 | 0 | "
            "4.1 to 12.1 s (in 2 of 3); never (in 1 of 3) | "
            "longest call to enqueue 8 to 10.5 s; errors: none; 1 gone from the broker (in 1 of 3); "
            "ended: 1 (in 1 of 3) |"
        )

    def test_trials_without_a_figure_do_not_count(self) -> None:
        broken = _MADE | {"failed": "no job ran"}
        assert page.line(SYSTEMS[0], [broken, broken]).endswith("| 0 | | | | | | | | no figure: no job ran |")
        said = page.line(SYSTEMS[0], [broken, _trial(Outcome(60, [], 0, 2, 2, 0, 18.0, 18.0))])
        assert said == (
            "| Penstock | default | 1 | 60 | 0 |  | 2 | 2 | 0 | 18.0 s | 1 more without a figure: no job ran |"
        )

    def test_a_page_says_with_which_versions_each_row_was_taken(self) -> None:
        row = [_trial(Outcome(60, [], 0, 2, 2, 0, 18.0, 18.0), versions="penstock 2, hiredis 3")]
        old = [_trial(Outcome(60, [], 0, 2, 2, 0, 18.0, 18.0), versions="penstock 2")]
        text = page.section({"kill/penstock-default": row, "long/penstock-default": old})
        assert "- Penstock: penstock 2, hiredis 3; in other rows penstock 2\n" in text

    def test_rows_that_were_not_measured_now_are_kept_and_so_is_every_trial(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(command, "RESULT", tmp_path / "results.json")
        monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
        page.PAGE.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
        first = _trial(Outcome(60, [], 0, 2, 2, 0, 18.0, 18.0))
        command._write({}, {"kill/penstock-default": [first], "long/penstock-default": [first]})
        kept = json.loads(command.RESULT.read_text())["rows"]
        broken = _MADE | {"failed": "no job ran", "date": "2026-11-23", "machine": "3 cores", "at_once": 8}
        again = _trial(Outcome(60, [], 0, 3, 3, 0, 19.0, 19.0), date="2026-11-23")
        rows = {"kill/huey-default": [broken], "kill/penstock-default": [again]}
        # As after each trial of a run: what was there before it is kept once.
        command._write(kept, rows)
        rows["kill/penstock-default"].append(again | {"number": 2})
        command._write(kept, rows)
        text = page.PAGE.read_text()
        assert text.startswith(f"before\n{page.BEGIN}\n")
        assert text.endswith(f"{page.END}\nafter\n")
        assert "old" not in text
        assert "2026-11-22 to 2026-11-23, 2 cores; 3 cores, up to 12 trials at once." in text
        assert "- Penstock: one 1\n" in text
        assert "| Penstock | default | 2 | 60 | 0 |  | 3 | 3 | 0 | 19.0 s |  |" in text
        assert "| Penstock | default | 1 | 60 | 0 |  | 2 | 2 | 0 | 18.0 s |  |" in text
        assert "| Huey | default | 0 | | | | | | | | no figure: no job ran |" in text
        kept = json.loads(command.RESULT.read_text())["rows"]["kill/penstock-default"]
        assert kept == {"trials": [again, again | {"number": 2}], "earlier": [first]}

    def test_the_page_is_what_the_results_say(self) -> None:
        """Where the tables' form has changed, ``scripts/soak peers --page`` writes them anew."""
        rows = json.loads(command.RESULT.read_text())["rows"]
        said = page.section({name: row["trials"] for name, row in rows.items()})
        assert f"{page.BEGIN}\n\n{said}\n\n{page.END}" in page.PAGE.read_text()

    def test_only_penstock_and_failures_make_it_fail(self) -> None:
        lost = {"outcome": asdict(Outcome(60, ["a"], 0, 1, 0, 0, None, 15.0))}
        assert not command._bad("kill/huey-default", lost)
        assert command._bad("kill/penstock-default", lost)
        assert command._bad("kill/huey-default", {"failed": "no job ran"})


class TestTurns:
    def test_when_the_time_is_over_no_trial_is_begun(self, tmp_path: Path) -> None:
        turn = command._Turn("long", SYSTEMS[0], 1)
        assert list(command._made([turn], {"penstock": tmp_path}, tmp_path, 1, -1.0)) == [(turn, None)]

    def test_penstocks_versions_are_those_of_the_environment_that_it_has_here(self, tmp_path: Path) -> None:
        said = SYSTEMS[0].versions(tmp_path)
        assert said.startswith("penstock ")
        assert "hiredis" in said
        assert "uvloop" not in said


def test_every_fault_and_setting_has_its_own_name() -> None:
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    assert all(fault.about.endswith(".") for fault in FAULTS.values())


def test_what_runs_in_a_librarys_environment_wants_nothing_of_this_one() -> None:
    """An interpreter without site packages has neither Penstock nor redis-py."""
    code = (
        "import sys; sys.path.insert(0, '.');"
        "import tests.soak.peers.produce, tests.soak.peers.apps.work, tests.soak.peers.apps.told"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
