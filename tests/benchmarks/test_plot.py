"""The plots: what their bars measure, and that they can be read by more than eyes."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.peers.plot import Bar, Scale, bars, figure

SVG = "{http://www.w3.org/2000/svg}"


def _drawn(scale: Scale, *lines: Bar) -> ElementTree.Element:
    return ElementTree.fromstring(bars("Drained & done", "jobs a second", lines, scale))


def _widths(drawing: ElementTree.Element) -> list[float]:
    return [
        float(each.get("width", 0)) for each in drawing.iter(f"{SVG}rect") if each.get("class") != "ground"
    ]


def test_linear_bars_are_as_long_as_their_figures() -> None:
    drawing = _drawn("linear", Bar("a", 400, 400, 400), Bar("b", 100, 100, 100))
    longer, shorter = _widths(drawing)
    assert longer == pytest.approx(4 * shorter, rel=0.01)


def test_logarithmic_bars_grow_by_the_same_for_each_tenfold_and_the_smallest_is_seen() -> None:
    drawing = _drawn(
        "logarithmic", Bar("a", 100_000, 90_000, 110_000), Bar("b", 1000, 900, 1100), Bar("c", 10, 10, 10)
    )
    first, second, third = _widths(drawing)
    assert first - second == pytest.approx(second - third, abs=0.2)
    assert third > 0


def test_the_scale_the_figures_and_the_title_are_told_in_words() -> None:
    drawing = _drawn(
        "logarithmic", Bar("Penstock <default>", 231_259, 2e5, 2.5e5, ours=True), Bar("RQ", 46, 40, 50)
    )
    assert drawing.findtext(f"{SVG}title") == "Drained & done"
    assert "Penstock <default>: 231,000; RQ: 46" in (drawing.findtext(f"{SVG}desc") or "")
    texts = [each.text or "" for each in drawing.iter(f"{SVG}text")]
    assert any("logarithmic scale" in text for text in texts)
    assert drawing.get("role") == "img"


def test_only_our_bar_is_marked() -> None:
    drawing = _drawn("linear", Bar("Penstock", 3, 3, 3, ours=True), Bar("Huey", 2, 2, 2))
    kinds = [each.get("class") for each in drawing.iter(f"{SVG}rect")]
    assert kinds == ["ground", "ours", "bar"]


def test_nothing_is_drawn_outside() -> None:
    drawing = _drawn("linear", Bar("a", 999_999, 1, 1_100_000), Bar("b", 3, 2, 4))
    width = float(drawing.get("width", 0))
    ends = [float(each.get("x", 0)) for each in drawing.iter(f"{SVG}text") if not each.get("text-anchor")]
    # A figure of six digits with its comma takes about 60.
    assert max(ends) + 60 <= width


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1234, "0.123"), (2, "2"), (12.345, "12.3"), (1234, "1,230"), (999_999, "1,000,000")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text
