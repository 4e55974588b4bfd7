"""Line and dot charts as inline SVG, drawn by hand, in the colours of the page: nothing is loaded from anywhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

_WIDTH: Final = 920
_LEFT: Final = 56
_RIGHT: Final = 16
_TOP: Final = 26
_BOTTOM: Final = 30


@dataclass(frozen=True, slots=True)
class Series:
    """A line through points, or dots at them; the line is broken where a height is NaN."""

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time with a tint and a title."""

    start: float
    end: float
    title: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart; over time, in seconds, unless `x_ticks` say what lies along it."""

    label: str
    unit: str
    series: Sequence[Series]
    span: tuple[float, float]
    bands: Sequence[Band] = ()
    marks: Sequence[tuple[float, str]] = field(default_factory=tuple)
    """Moments with a dashed line and a text."""
    low: float = 0.0
    high: float | None = None
    note_at: float = 0.08
    """How far down the marks' texts stand, from 0 (top) to 1."""
    x_ticks: Sequence[tuple[float, str]] | None = None
    """Places along the chart with their texts."""
    y_ticks: Sequence[tuple[float, str]] | None = None
    """The same for heights: for scales that are not linear."""
    width: int = _WIDTH
    height: int = 230


def nice_step(span: float, wanted: int = 4) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that divides a span into about `wanted` parts."""
    if span <= 0 or not math.isfinite(span):
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / wanted))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= wanted)


def draw(chart: Chart) -> str:
    """Return a chart as an SVG element."""
    highest = max((y for each in chart.series for _, y in each.points if math.isfinite(y)), default=1.0)
    high = chart.high if chart.high is not None else highest * 1.15 or 1.0
    pen = _Pen(chart, high)
    body = [*_bands(chart, pen), *_grid(chart, pen, high), *_marks(chart, pen)]
    body += [_dots(each, pen) if each.dots else _line(each, pen) for each in chart.series]
    return (
        f'<svg viewBox="0 0 {chart.width} {chart.height}" role="img" aria-label="{escape(chart.label)}">'
        f"{''.join(body)}</svg>"
    )


class _Pen:
    """Turns values into places."""

    def __init__(self, chart: Chart, high: float) -> None:
        self.left, self.right = _LEFT, chart.width - _RIGHT
        self.top, self.bottom = _TOP, chart.height - _BOTTOM
        self._start, self._end = chart.span
        self._low, self._high = chart.low, high

    def x(self, value: float) -> float:
        share = (value - self._start) / max(self._end - self._start, 1e-9)
        return round(self.left + share * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        share = (min(value, self._high) - self._low) / max(self._high - self._low, 1e-9)
        return round(self.bottom - share * (self.bottom - self.top), 1)


def _bands(chart: Chart, pen: _Pen) -> list[str]:
    found = []
    for band in chart.bands:
        start, end = pen.x(max(band.start, chart.span[0])), pen.x(min(band.end, chart.span[1]))
        found.append(
            f'<rect x="{start}" y="{pen.top}" width="{max(0.0, end - start):.1f}" height="{pen.bottom - pen.top}" '
            f'fill="var({band.colour})" opacity=".09"/>'
            f'<text x="{(start + end) / 2:.1f}" y="{pen.top - 9}" class="band" fill="var({band.colour})">'
            f"{escape(band.title)}</text>"
        )
    return found


def _grid(chart: Chart, pen: _Pen, high: float) -> list[str]:
    found = []
    for value, text in chart.y_ticks if chart.y_ticks is not None else _heights(chart, high):
        at = pen.y(value)
        found.append(f'<line x1="{pen.left}" x2="{pen.right}" y1="{at}" y2="{at}" class="grid"/>')
        found.append(f'<text x="{pen.left - 8}" y="{at + 4}" class="tick end">{escape(text)}</text>')
    for value, text in chart.x_ticks if chart.x_ticks is not None else _moments(chart):
        found.append(f'<text x="{pen.x(value)}" y="{pen.bottom + 18}" class="tick">{escape(text)}</text>')
    return found


def _heights(chart: Chart, high: float) -> list[tuple[float, str]]:
    step = nice_step(high - chart.low)
    values = [chart.low + index * step for index in range(int((high - chart.low) / step + 1e-9) + 1)]
    return [(value, f"{value:g}{chart.unit}") for value in values]


def _moments(chart: Chart) -> list[tuple[float, str]]:
    start, end = chart.span
    step = nice_step(end - start, 8)
    first = math.ceil(start / step - 1e-9)
    values = [round(index * step, 6) for index in range(first, int(end / step + 1e-9) + 1)]
    return [(value, f"{value:g} s") for value in values]


def _marks(chart: Chart, pen: _Pen) -> list[str]:
    note_y = round(pen.top + chart.note_at * (pen.bottom - pen.top), 1)
    return [
        f'<line x1="{pen.x(at)}" x2="{pen.x(at)}" y1="{pen.top}" y2="{pen.bottom}" class="mark"/>'
        f'<text x="{pen.x(at) + 5}" y="{note_y}" class="note">{escape(text)}</text>'
        for at, text in chart.marks
    ]


def _line(series: Series, pen: _Pen) -> str:
    stretches = [
        [f"{pen.x(x)},{pen.y(y)}" for x, y in stretch]
        for is_there, stretch in itertools.groupby(series.points, key=lambda point: math.isfinite(point[1]))
        if is_there
    ]
    return "".join(
        # A point alone is a line to itself, which round ends make a dot.
        f'<polyline points="{" ".join(places if len(places) > 1 else places * 2)}" class="line" '
        f'stroke="var({series.colour})"><title>{escape(series.label)}</title></polyline>'
        for places in stretches
    )


def _dots(series: Series, pen: _Pen) -> str:
    places = "".join(f'<circle cx="{pen.x(x)}" cy="{pen.y(y)}" r="2.6"/>' for x, y in series.points)
    return f'<g fill="var({series.colour})" opacity=".85"><title>{escape(series.label)}</title>{places}</g>'
