"""Horizontal bars as SVG: one figure a line, readable on dark and on light, by eye and by a screen reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

Scale = Literal["linear", "logarithmic"]

_WIDTH = 860
LABEL_PX, _VALUE_PX, _MARGIN_PX = 250, 90, 16
_LINE_PX, _BAR_PX = 24, 15
_TOP_PX, _BOTTOM_PX = 66, 34
_BARS_PX = _WIDTH - LABEL_PX - _VALUE_PX - 2 * _MARGIN_PX
# Both sets reach a contrast of 4.5 to 1 for text on their ground, and 3 to 1 for bars.
_STYLE = """\
.ground { fill: #ffffff; } .ink { fill: #1f2933; } .faint { fill: #52606d; } .line { stroke: #cbd2d9; }
.bar { fill: #7b8794; } .ours { fill: #0b6e4f; } .range { stroke: #1f2933; }
@media (prefers-color-scheme: dark) {
.ground { fill: #16191d; } .ink { fill: #e4e7eb; } .faint { fill: #9aa5b1; } .line { stroke: #3e4c59; }
.bar { fill: #7b8794; } .ours { fill: #3ebd93; } .range { stroke: #e4e7eb; }
}
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
.title { font-size: 17px; font-weight: 600; } .strong { font-weight: 600; }
.figure { paint-order: stroke; stroke-width: 5px; stroke-linejoin: round; stroke: #ffffff; }
@media (prefers-color-scheme: dark) { .figure { stroke: #16191d; } }"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a plot.

    Attributes:
        label: What it is the figure of.
        value: The figure, above 0.
        least: The smallest of its runs.
        most: The largest of its runs.
        ours: Whether it is Penstock's, which is marked.
    """

    label: str
    value: float
    least: float
    most: float
    ours: bool = False


class _Axis:
    """Where a figure lies between the left end of the bars and their right end."""

    def __init__(self, bars: Sequence[Bar], scale: Scale) -> None:
        self._most = max(bar.most for bar in bars)
        self._logarithmic = scale == "logarithmic"
        # A whole power of ten, and below the smallest, so that every bar has a length.
        self._least = 10.0 ** math.floor(math.log10(0.999 * min(bar.least for bar in bars)))

    def px(self, value: float) -> float:
        if not self._logarithmic:
            return _BARS_PX * value / self._most
        whole = math.log10(self._most / self._least)
        return _BARS_PX * max(0.0, math.log10(value / self._least)) / whole

    def ticks(self) -> list[float]:
        """Round figures for the scale's lines."""
        if self._logarithmic:
            decades = math.floor(math.log10(self._most / self._least))
            return [self._least * 10.0**power for power in range(decades + 1)]
        step = 10.0 ** math.floor(math.log10(self._most))
        while self._most / step < 4:
            step /= 2
        return [step * number for number in range(math.floor(self._most / step) + 1)]


def bars(title: str, unit: str, lines: Sequence[Bar], scale: Scale) -> str:
    """The drawing, longest bar first as given; a thin line in each bar's end spans its smallest and largest run."""
    axis = _Axis(lines, scale)
    height = _TOP_PX + _LINE_PX * len(lines) + _BOTTOM_PX
    told = "; ".join(f"{bar.label}: {figure(bar.value)}" for bar in lines)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    reading = escape(f"{unit}, {scale} scale; medians, thin lines from the smallest to the largest run")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(f"In {unit}. {told}.")}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}" rx="6"/>',
        f'<text class="ink title" x="{_MARGIN_PX}" y="28">{escape(title)}</text>',
        f'<text class="faint" x="{_MARGIN_PX}" y="49">{reading}</text>',
    ]
    left, bottom = _MARGIN_PX + LABEL_PX, height - _BOTTOM_PX
    for tick in axis.ticks():
        x = left + axis.px(tick)
        parts.append(
            f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP_PX - 6}" y2="{bottom}"/>'
            f'<text class="faint" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{figure(tick)}</text>'
        )
    parts += [_bar(bar, axis, left, _TOP_PX + _LINE_PX * place) for place, bar in enumerate(lines)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(bar: Bar, axis: _Axis, left: int, top: int) -> str:
    middle, text = top + _BAR_PX / 2, top + 12
    strong = " strong" if bar.ours else ""
    return (
        f'<text class="ink{strong}" x="{left - 8}" y="{text}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect class="{"ours" if bar.ours else "bar"}" x="{left}" y="{top}" width="{axis.px(bar.value):.1f}" '
        f'height="{_BAR_PX}" rx="2"/>'
        f'<line class="range" x1="{left + axis.px(bar.least):.1f}" x2="{left + axis.px(bar.most):.1f}" '
        f'y1="{middle}" y2="{middle}"/>'
        f'<text class="ink figure{strong}" x="{left + axis.px(bar.most) + 8:.1f}" y="{text}">{figure(bar.value)}</text>'
    )


def figure(value: float) -> str:
    """As a person writes it: three digits and thousands."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    text = f"{rounded:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
