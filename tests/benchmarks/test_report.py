"""The page of the benchmark holds what was measured, and nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks import bench, report
from benchmarks.bench import Row
from benchmarks.peers import pages


def _page(row: Row, date: str, beside: str = "") -> str:
    return report.markdown([row], {"date": date}, bench.quick(Path()), "scripts/bench", 60.0, beside)


def _missed() -> Row:
    return Row("processes", "two worker processes, no-op jobs", "2/s", "1/s", False, missed_by="all of it")


def test_a_missed_aim_stands_with_its_reason() -> None:
    page, missed = _page(_missed(), "2027-01-01 00:00 UTC"), _missed()
    assert "0 of 1 aims are met.\n" in page
    assert f"- **{missed.what}**: all of it. {report.REASONS[missed.what]}" in page


def test_the_section_of_other_libraries_is_kept_and_nothing_stands_in_for_it() -> None:
    assert pages.between(_page(_missed(), "", "## What was measured")) == "## What was measured"
    assert "Not measured yet" in pages.between(_page(_missed(), ""))
