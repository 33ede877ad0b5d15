"""Measuring other libraries: what needs none of them to be there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench import TIMES, Place
from benchmarks.children import ROOT, RunFailed
from benchmarks.peers import (
    choosing,
    chosen,
    command,
    environments,
    marks,
    pages,
    plot,
    produce,
    running,
    turns,
)
from benchmarks.peers.marks import Marks
from benchmarks.peers.peer import KINDS, Choice, Peer, Setting
from benchmarks.peers.results import Case, Results
from benchmarks.peers.running import Drained, Limits
from benchmarks.peers.table import ALL, PEERS, PENSTOCK

LIMITS = Limits(run_s=1.0, wait_s=1.0, cut_s=30.0, enqueue_s=0.1)


def _results(**rates: float) -> Results:
    """No-op rates by library, in its default setting, beside Penstock's own."""
    results = Results(
        machine={},
        limits={"run_s": 1, "wait_s": 1, "cut_s": 2},
        quick=False,
        rounds=1,
        command="scripts/bench peers",
    )
    for setting in PENSTOCK.settings:
        for kind in setting.kinds:
            results.add(
                Case("penstock", setting.name, kind, "none"), rate=100_000.0, peak_mb=40.0, start_s=0.2
            )
    for key, rate in rates.items():
        results.add(Case(key, "default", "noop", "none"), rate=rate, peak_mb=50.0, start_s=0.1)
    return results


class TestMarks:
    def test_first_and_last_are_the_jobs_own(self, tmp_path: Path) -> None:
        seen = Marks(tmp_path / "marks", 3)
        assert not seen.any()
        seen._began[1] = 2_000_000_000
        seen._ended[1] = 5_000_000_000
        seen._runs[1] = 1
        assert seen.any()
        assert not seen.complete()
        seen._ended[0], seen._ended[2] = 7_000_000_000, 6_000_000_000
        seen._runs[0] = seen._runs[2] = 1
        assert seen.complete()
        assert (seen.first_s(), seen.last_s(), seen.done()) == (2.0, 7.0, 3)

    def test_jobs_without_a_start_begin_as_they_end(self, tmp_path: Path) -> None:
        seen = Marks(tmp_path / "marks", 2)
        seen._ended[1] = 3_000_000_000
        assert seen.first_s() == 3.0

    def test_any_order_is_complete(self, tmp_path: Path) -> None:
        seen = Marks(tmp_path / "marks", 100)
        for number in reversed(range(100)):
            assert not seen.complete()
            seen._runs[number] = 1
        assert seen.complete()

    def test_runs_of_a_job_are_counted_by_the_job(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = Marks(tmp_path / "marks", 3)
        for name, view in zip(("began", "ended", "runs"), marks._open(tmp_path / "marks"), strict=True):
            monkeypatch.setattr(marks, name, view)
        marks.noop(0)
        marks.nap(2, 0)
        assert (seen.done(), seen.repeated()) == (2, 0)
        asyncio.run(marks.async_nap(2, 0))
        assert (seen.done(), seen.repeated()) == (2, 1)
        for _ in range(300):
            marks.noop(0)
        assert (seen.done(), seen.repeated()) == (2, 2)

    @pytest.mark.skipif(shutil.which("ruby") is None, reason="needs Ruby, which only Sidekiq does")
    def test_ruby_marks_as_python_does(self, tmp_path: Path) -> None:
        seen = Marks(tmp_path / "marks", 3)
        app = (ROOT / "benchmarks" / "peers" / "sidekiq_app.rb").read_text()
        module = app[app.index("module Marks") : app.index("class Noop")]
        calls = "Marks.began(1); Marks.ended(1); Marks.ended(2); 300.times { Marks.ended(2) }"
        environment = os.environ | {"PEERS_MARKS": str(tmp_path / "marks")}
        program = f"require 'fiddle'\n{module}\n{calls}"
        before_s = time.monotonic()
        subprocess.run(["ruby", "-e", program], env=environment, check=True)
        assert (seen.done(), seen.repeated()) == (2, 1)
        assert before_s < seen.first_s() < seen.last_s() < time.monotonic()


class TestProducing:
    def test_a_fill_numbers_every_job_once(self) -> None:
        told: produce.Told = {}
        numbers = [number for each in produce.fill(2 * produce.SLICE + 1, told) for number in each]
        assert numbers == list(range(2 * produce.SLICE + 1))
        assert told["count"] == len(numbers)

    def test_a_rate_leaves_out_what_opens_the_connection(self) -> None:
        told: produce.Told = {}
        slices = produce.rate(0.01, 20, told)
        enqueued = sum(len(each) for each in slices)
        assert told["count"] == enqueued - 20
        assert told["took_s"] >= 0.01


# A worker of no library: what it does with the marks is in its arguments.
_WORKER = """
import sys, time
count, every_s = int(sys.argv[1]), float(sys.argv[2])
from benchmarks.peers import marks
if count < 0:
    sys.exit("it has no such option")
for number in range(count):
    marks.noop(number % len(marks.ended))
    time.sleep(every_s)
time.sleep(600)
"""


def _fake(tmp_path: Path, count: int, every_s: float) -> tuple[Peer, Setting]:
    """A library whose worker ends ``count`` jobs, and whose producer enqueues nothing."""
    program = tmp_path / "worker.py"
    program.write_text(_WORKER)
    setting = Setting(
        "default",
        f"{sys.executable} {program} {count} {every_s}",
        (Choice(1, 1),),
        "early",
        False,
        "fake",
        100,
    )
    print_nothing = ("{bin}/python", "-c", "print('{{}}')")
    peer = Peer(
        "Fake", "fake", "time.sleep", (setting,), "none", lambda: tmp_path, print_nothing, lambda _: ""
    )
    return peer, setting


class TestRunning:
    def _drain(self, tmp_path: Path, count: int, every_s: float, limits: Limits) -> Drained:
        peer, setting = _fake(tmp_path, count, every_s)
        at = Place("redis://nowhere", lambda: None)
        programs = Path(sys.executable).parent
        return running.drain(peer, setting, programs, at, "noop", 20, limits, tmp_path)

    def test_a_whole_run(self, tmp_path: Path) -> None:
        drained = self._drain(tmp_path, 20, 0.001, LIMITS)
        assert drained.jobs == 20
        assert not drained.cut
        assert drained.peak_mb > 1
        assert drained.start_s > 0

    def test_a_run_that_takes_too_long_is_cut_and_counts_what_was_done(self, tmp_path: Path) -> None:
        drained = self._drain(tmp_path, 5, 0, Limits(1.0, 1.0, 1.0, 0.1))
        assert drained.cut
        assert drained.jobs == 5
        # Its time ends with its last job, not with the cut.
        assert drained.took_s < 1.0

    def test_a_run_with_a_job_that_ran_twice_has_no_figure(self, tmp_path: Path) -> None:
        # The last one of 20 comes after the second run of the first one.
        program = tmp_path / "worker.py"
        peer, setting = _fake(tmp_path, 20, 0)
        program.write_text(_WORKER.replace("range(count)", "[0, *range(count)]"))
        at = Place("redis://nowhere", lambda: None)
        with pytest.raises(RunFailed, match="1 of 20 jobs ran more than once"):
            running.drain(peer, setting, Path(sys.executable).parent, at, "noop", 20, LIMITS, tmp_path)

    def test_a_run_with_a_missed_job_has_no_figure(self, tmp_path: Path) -> None:
        with pytest.raises(RunFailed, match=r"1 of 20 jobs were missed: none ended for 0\.5 s"):
            self._drain(tmp_path, 19, 0, Limits(1.0, 1.0, 30.0, 0.1, still_s=0.5))

    def test_a_worker_is_started_as_often_as_it_has_processes(self, tmp_path: Path) -> None:
        _, setting = _fake(tmp_path, 20, 0)
        two = replace(setting, choices=(Choice(1, 1), Choice(2, 2)), chosen={"noop": Choice(2, 2)})
        environment = {"PATH": "/bin:/usr/bin"}
        with running._workers(["sleep", "600"], environment, tmp_path / "log", two.copies("noop")) as at_work:
            assert [len(running.session(worker.pid)) for worker in at_work] == [1, 1]
        assert not any(running.session(worker.pid) for worker in at_work)

    def test_a_worker_that_ends_is_told_with_its_last_words(self, tmp_path: Path) -> None:
        with pytest.raises(
            RunFailed, match=r"Fake, default: the worker ended with status 1: .*no such option"
        ):
            self._drain(tmp_path, -1, 0, LIMITS)

    def test_nothing_is_left_of_a_worker(self, tmp_path: Path) -> None:
        worker = running.Worker(
            ["sh", "-c", "sleep 600 & sleep 600"], {"PATH": "/bin:/usr/bin"}, tmp_path / "log"
        )
        mono_until = time.monotonic() + 10
        while len(running.session(worker.pid)) < 3:
            assert time.monotonic() < mono_until
        worker.kill()
        assert running.session(worker.pid) == []


class TestTable:
    def test_names_and_settings_are_unique(self) -> None:
        assert len({peer.key for peer in ALL}) == len(ALL)
        for peer in ALL:
            assert len({setting.name for setting in peer.settings}) == len(peer.settings)

    @pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.key)
    def test_every_setting_has_one_of_ours_that_does_the_same_work(self, peer: Peer) -> None:
        for setting in peer.settings:
            for kind in setting.kinds:
                ours = pages.beside(peer, setting, kind)
                if ours is None:
                    assert kind != "noop"
                    assert not setting.best
                    continue
                assert kind in ours.kinds
                assert ours.best == setting.best
                if kind == "noop":
                    assert ours.results == setting.results
                else:
                    assert ours.at_once(kind) == setting.at_once(kind)

    def test_every_name_has_room_in_a_plot(self) -> None:
        for peer in ALL:
            for setting in peer.settings:
                # In bold, a letter is about 7.5 wide.
                assert 7.5 * len(f"{peer.name}, {setting.name}") < plot.LABEL_PX

    @pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.key)
    def test_a_durable_setting_stands_beside_a_durable_one_of_ours(self, peer: Peer) -> None:
        for setting in peer.settings:
            ours = pages.beside(peer, setting, "noop")
            assert not setting.durable or (ours is not None and ours.durable)

    def test_where_jobs_wait_the_concurrency_bounds_the_first_guess(self) -> None:
        setting = PENSTOCK.setting("default")
        assert command.first_guess(setting, "10 ms") == pytest.approx(1000)
        assert command.first_guess(setting, "noop") == setting.rate

    def test_a_round_holds_every_system_at_every_work(self) -> None:
        cases = [turn.case for turn in turns.turns([(peer, lambda _: Path()) for peer in ALL])]
        assert len(set(cases)) == len(cases)
        for peer in ALL:
            assert {case.kind for case in cases if case.peer == peer.key} == {*KINDS, "one", "many"}

    def test_each_round_begins_with_another_system(self) -> None:
        peers: list[tuple[Peer, turns.Programs]] = [(peer, lambda _: Path()) for peer in ALL]
        orders = [turns.rotated(peers, number, 3) for number in range(3)]
        assert orders[0] == peers
        assert len({order[0][0].key for order in orders}) == 3
        for order in orders:
            assert {peer.key for peer, _ in order} == {peer.key for peer in ALL}

    @pytest.mark.parametrize("processes", [1, 2])
    def test_processes_share_the_jobs_at_once(self, processes: int) -> None:
        setting = replace(PENSTOCK.setting("best, 100"), chosen={"1 ms": Choice(processes, 100)})
        assert setting.at_once("1 ms") == 100
        words = PENSTOCK.worker(setting, "1 ms", Path("bin"), "redis://nowhere")
        assert words[-4:] == ["--processes", str(processes), "-c", str(100 // processes)]
        assert setting.copies("1 ms") == 1

    @pytest.mark.parametrize(
        ("peer", "setting"),
        [
            pytest.param(peer, setting, id=f"{peer.key}-{setting.name}")
            for peer in ALL
            for setting in peer.settings
            if setting.best and "noop" in setting.kinds
        ],
    )
    def test_a_best_has_as_many_at_once_as_its_default_unless_fewer_measured_better(
        self, peer: Peer, setting: Setting
    ) -> None:
        library = chosen.load().get(peer.key, {})
        kept = library.get("settings", {}).get(setting.name, {}).get("noop")
        if kept is None:
            assert setting.at_once("noop") >= peer.settings[0].at_once("noop")
            return
        best, least = Choice(*kept["chosen"]), library["default at once"]
        medians = {told: statistics.median(rates) for told, rates in kept["rates"].items()}
        assert medians[best.told] == max(medians.values())
        assert best.at_once >= least or any(int(told.split()[-3]) >= least for told in medians)


class TestChoosing:
    ARQ = next(peer for peer in PEERS if peer.key == "arq")

    def _cases(self, kind: str) -> list[Case]:
        setting = self.ARQ.setting("best, 10")
        return [choosing.case_of(self.ARQ, setting, kind, each) for each in setting.choices]

    @pytest.fixture
    def results(self) -> Results:
        results = _results()
        results.versions["arq"] = "arq 1"
        for kind, rates in (("1 ms", ([5.0, 1.0], [4.0, 6.0])), ("10 ms", ([5.0], [5.0]))):
            for case, each in zip(self._cases(kind), rates, strict=True):
                for rate in each:
                    results.add(case, rate=rate)
        return results

    @pytest.mark.skipif(os.cpu_count() == 1, reason="on one core there is no choice of processes")
    def test_the_candidate_with_the_highest_median_is_kept_with_all_rates(
        self, results: Results, tmp_path: Path
    ) -> None:
        setting, file = self.ARQ.setting("best, 10"), tmp_path / "chosen.json"
        file.write_text('{"saq": {"date": "2026-01-02", "machine": "8 cores"}, "arq": {}}')
        choosing.keep(results, file)
        kept = chosen.load(file)
        assert chosen.of(kept, "arq", "best, 10") == {"1 ms": setting.choices[1], "10 ms": setting.choices[0]}
        assert kept["arq"]["settings"]["best, 10"]["1 ms"]["rates"] == {
            "1 process, 10 at once": [5, 1],
            setting.choices[1].told: [4, 6],
        }
        # With when and on what, which of the others stays as it was.
        assert kept["arq"]["version"] == "arq 1"
        assert kept["arq"]["default at once"] == 10
        (ours,) = chosen.told(kept, ["arq"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d, \d+ cores, \w+ [\d.]+\w*", ours)
        assert chosen.told(kept, ["arq", "saq", "rq"]) == [
            "2026-01-02, 8 cores",
            ours,
            "not measured for rq, which run the first candidate",
        ]

    def test_there_is_nothing_before_the_first_choice(self, tmp_path: Path) -> None:
        assert chosen.load(tmp_path / "none.json") == {}
        assert chosen.of({}, "arq", "best") == {}

    @pytest.mark.skipif(os.cpu_count() == 1, reason="on one core there is no choice of processes")
    def test_what_was_much_slower_at_first_is_not_measured_again(self) -> None:
        results, peers = _results(), [(self.ARQ, lambda _: Path())]
        first = [turn.case for turn in choosing.turns(peers, 0, results)]
        slow, quick = self._cases("1 ms")
        assert {slow, quick} <= set(first)
        for case in first:
            results.add(case, rate=5.0 if case == slow else 9.0)
        second = [turn.case for turn in choosing.turns(peers, 1, results)]
        assert set(first) - set(second) == {slow}
        assert first.index(self._cases("10 ms")[0]) < first.index(self._cases("10 ms")[1])
        assert second.index(self._cases("10 ms")[1]) < second.index(self._cases("10 ms")[0])

    def test_a_candidate_runs_as_it_is_called(self) -> None:
        peers = [(peer, lambda _: Path()) for peer in ALL]
        for turn in choosing.turns(peers, 0, _results()):
            kind = turn.case.kind
            at_once = turn.setting.at_once(kind)
            assert turn.case.setting.endswith(f", {Choice(turn.setting.processes(kind), at_once).told}")


class TestMeasuring:
    """What is done about a run that fails."""

    CASE = Case("fake", "default", "noop", "none")

    def _take(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, *ends: float) -> Results:
        """Takes rounds whose runs end so, one after another: with a rate, or failing at 0."""
        left = list(ends)

        def drain(*_: object) -> Drained:
            if not (rate := left.pop(0)):
                raise RunFailed("it ended")
            return Drained(int(rate), 1.0, 0.1, 40.0, False)

        monkeypatch.setattr(running, "drain", drain)
        peer, setting = _fake(tmp_path, 20, 0)
        results = _results()
        results.rounds = rounds
        places = {"none": Place("redis://nowhere", lambda: None)}
        measuring = command.Measuring(LIMITS, places, tmp_path, results)
        for _ in range(rounds):
            measuring.take(turns.Turn(self.CASE, peer, setting, tmp_path))
        assert left == []
        return results

    def test_it_is_tried_once_more_in_its_round(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        results = self._take(tmp_path, monkeypatch, 2, 0, 50.0, 60.0)
        assert results.samples[self.CASE]["rate"] == [50.0, 60.0]
        assert "fake, default, noop, none, with a figure in 2 of 2 rounds: it ended" in pages.section(results)

    def test_a_later_round_tries_again_what_never_had_a_figure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        results = self._take(tmp_path, monkeypatch, 2, 0, 0, 60.0)
        assert results.rounds_of(self.CASE) == 1
        assert pages._rate(results, self.CASE) == "60 (60 to 60, 1 of 2 rounds)"


def test_what_an_installer_says_is_published_without_addresses_and_places() -> None:
    error = (
        f"error: Failed to fetch:\n  `https://user:secret@index.example/simple/rq/` into {ROOT}/.cache/peers"
    )
    assert environments.told(error) == "error: Failed to fetch: `(an address)` into ./.cache/peers"


class TestResults:
    def test_they_come_back_from_json(self) -> None:
        results = _results(rq=100.0)
        results.failed[Case("arq", "best", "1 ms", "none")] = "it ended"
        results.absent["sidekiq"] = "not there"
        again = Results.loaded(json.loads(json.dumps(results.saved())))
        assert again == results

    def test_when_and_on_what_the_best_were_chosen_is_said(self) -> None:
        results = _results()
        assert "not measured yet" in pages.section(results)
        results.chosen = ["2026-01-02, 8 cores, CPython 3.12.1"]
        assert "has\n  the rates of all): 2026-01-02, 8 cores, CPython 3.12.1. Where" in pages.section(
            results
        )

    def test_any_mapping_can_be_saved(self) -> None:
        results = _results()
        results.versions = defaultdict(str, rq="3.0")
        assert results.saved()["versions"] == {"rq": "3.0"}

    def test_a_median_of_rounds(self) -> None:
        results = _results()
        case = Case("rq", "default", "noop", "none")
        for rate in (3.0, 1.0, 2.0):
            results.add(case, rate=rate)
        assert results.middle(case) == 2.0
        assert results.middle(case, "peak_mb") is None


class TestPages:
    def test_the_aim_is_judged_by_the_fastest_python_queue(self) -> None:
        told = "\n".join(pages.verdict(_results(rq=90.0, huey=20_001.0, sidekiq=90_000.0)))
        assert "at draining no-op jobs: **missed**" in told
        assert "The closest is Huey, default" in told
        told = "\n".join(pages.verdict(_results(rq=90.0, huey=20_000.0, sidekiq=90_000.0)))
        assert "at draining no-op jobs: met" in told

    def test_where_a_library_is_better_is_said(self) -> None:
        told = "\n".join(pages.faster(_results(huey=200_000.0)))
        assert f"No-op jobs: Huey, default: 2 {TIMES} as fast" in told
        assert "quicker first job, in s, and Penstock beside it: Huey, default, 0.1 beside 0.2." in told
        assert "less memory" not in told

    def test_absent_and_failed_are_printed_with_their_reason(self) -> None:
        results = _results(rq=90.0)
        results.absent["sidekiq"] = "there is no `sidekiq` on the path"
        results.failed[Case("arq", "default", "noop", "none")] = "the worker ended with status 1"
        section = pages.section(results)
        assert "- Sidekiq is absent: there is no `sidekiq` on the path" in section
        assert (
            "- arq, default, noop, none, with a figure in 0 of 1 rounds: the worker ended with status 1"
            in section
        )
        assert "| no figure |" in section

    def test_a_call_that_there_is_not_leaves_its_cell_empty(self) -> None:
        results = _results()
        results.add(Case("arq", "default", "one", "none"), rate=10.0)
        results.failed[Case("arq", "default", "many", "none")] = "none"
        assert "| ARQ | 10 (10 to 10) |  |  |  | none |" in pages.section(results)

    def test_a_cut_run_is_marked(self) -> None:
        results = _results()
        results.add(Case("rq", "default", "noop", "none"), rate=9.0, cut=True)
        assert "| 9 (9 to 9, cut) |" in pages.section(results)

    def test_only_what_is_between_the_markers_is_replaced(self) -> None:
        page = f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n"
        placed = pages.placed(page, r"new \1")
        assert placed == f"before\n{pages.BEGIN}\nnew \\1\n{pages.END}\nafter\n"
        assert pages.between(placed) == r"new \1"

    def test_a_page_without_markers_gets_them_at_its_end(self) -> None:
        assert pages.placed("text\n", "new") == f"text\n\n{pages.BEGIN}\nnew\n{pages.END}\n"
        assert pages.between("text\n") == ""

    def test_every_picture_of_the_section_is_drawn(self, tmp_path: Path) -> None:
        results = _results(rq=90.0)
        results.add(Case("penstock", "default", "noop", "always"), rate=5.0)
        results.add(Case("penstock", "default", "one", "none"), rate=5.0)
        pages.write(results, tmp_path / "peers.json", tmp_path / "page.md", tmp_path / "plots")
        page = (tmp_path / "page.md").read_text()
        drawn = {each.name for each in (tmp_path / "plots").iterdir()}
        assert drawn == {part.partition(")")[0] for part in page.split("](plots/")[1:]}
