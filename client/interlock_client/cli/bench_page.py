"""A benchmark as one HTML page: its tables, and plots of throughput, quantiles, the distribution and the course."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from interlock_client.bench.histogram import Bucket, Spread
from interlock_client.bench.result import BenchResult, LoadResult, remarks
from interlock_client.cli import render_bench
from interlock_client.cli.chart import Chart, Series, draw
from interlock_client.cli.page import document, table

_COLOURS: Final = ("--c0", "--c1", "--c2", "--c3", "--c4", "--c5")
_SHARES: Final = ((0.0, "0"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"))
"""Quantiles lie along their chart by how rare what lies beyond is: a tail is as wide as the rest."""
_PER_DECADE: Final = 12
"""Bars of the distribution for each factor of ten: one cannot see 0.8 %."""


def page(found: BenchResult) -> str:
    """Return the whole page."""
    title = f"Load on {found.ref}"
    loads = [each for each in found.loads if each.answered]
    notes = "".join(f"<li>{escape(each)}</li>" for each in remarks(found))
    return document(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="dim">{escape(render_bench.headline(found))}</p>',
            table(render_bench.LOADS, render_bench.loads(found), render_bench.LOADS[1:]),
            f'<ul class="dim">{notes}</ul>' if notes else "",
            *(_plots(loads) if loads else ()),
            "<h2>By version</h2>",
            '<p class="dim">Queue and run in ms, as the server measured them; means where it gives no more.</p>',
            table(render_bench.VERSIONS, render_bench.versions(found), render_bench.VERSIONS[2:]),
        ],
    )


def _plots(loads: Sequence[LoadResult]) -> Sequence[str]:
    keys = "".join(
        f'<span class="key"><i style="background: var({_colour(index)})"></i>{escape(str(each.load))}</span>'
        for index, each in enumerate(loads)
    )
    return [
        _plot("Answers a second, and p99 beside them", "", _throughput(loads)) if len(loads) > 1 else "",
        _plot("Latency by quantile", keys, _quantiles(loads)),
        _plot("Distribution of latency", keys, _distribution(loads)),
        _plot("Answers a second over time", keys, _course(loads)),
        _plot("p99 over time", keys, _tail(loads)),
    ]


def _plot(title: str, key: str, svg: str) -> str:
    return f"<h2>{escape(title)}</h2>{key}{svg}"


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _throughput(loads: Sequence[LoadResult]) -> str:
    """Draw a load beside the other: rates as they are, and p99 scaled so that both fit, with its value beside it."""
    high = max(each.rate for each in loads) * 1.15
    slowest = max(each.latency.p99_s for each in loads)
    places = range(len(loads))
    rates = [(float(place), each.rate) for place, each in zip(places, loads, strict=True)]
    tails = [
        (float(place), each.latency.p99_s / slowest * high / 1.15) for place, each in zip(places, loads, strict=True)
    ]
    names = [
        (float(place), f"{each.load}: {each.rate:.0f}/s, p99 {render_bench.millis(each.latency.p99_s)} ms")
        for place, each in zip(places, loads, strict=True)
    ]
    key = (
        '<span class="key"><i style="background: var(--c0)"></i>answers a second</span>'
        '<span class="key"><i style="background: var(--c1)"></i>p99, as a share of the slowest</span>'
    )
    series = [Series("answers a second", "--c0", rates), Series("p99", "--c1", tails)]
    span = (-0.5, len(loads) - 0.5)
    return key + draw(Chart(label="throughput", unit="/s", series=series, span=span, high=high, x_ticks=names))


def _quantiles(loads: Sequence[LoadResult]) -> str:
    series = [Series(str(each.load), _colour(index), _rising(each.histogram)) for index, each in enumerate(loads)]
    low, high = _ends(loads)
    beyond = max(x for each in series for x, _ in each.points)
    return draw(
        Chart(
            label="latency by quantile",
            unit="",
            series=series,
            span=(0.0, max(1.0, beyond)),
            low=low,
            high=high,
            x_ticks=[each for each in _SHARES if each[0] <= beyond],
            y_ticks=_decades(low, high),
        )
    )


def _rising(histogram: Sequence[Bucket]) -> Sequence[tuple[float, float]]:
    total = sum(each.count for each in histogram)
    seen = 0
    points = []
    for each in histogram:
        seen += each.count
        rest = max(total - seen, 0.5) / total
        points.append((-math.log10(rest), _height(each.until_s)))
    return points


def _distribution(loads: Sequence[LoadResult]) -> str:
    low, high = _ends(loads)
    series = []
    for index, each in enumerate(loads):
        shares: dict[int, float] = {}
        for found in each.histogram:
            place = math.floor(_height((found.from_s + found.until_s) / 2) * _PER_DECADE)
            shares[place] = shares.get(place, 0.0) + found.count / each.answered * 100
        places = range(min(shares) - 1, max(shares) + 2)
        points = [((place + 0.5) / _PER_DECADE, shares.get(place, 0.0)) for place in places]
        series.append(Series(str(each.load), _colour(index), points))
    ticks = _decades(low, high)
    return draw(Chart(label="distribution of latency", unit=" %", series=series, span=(low, high), x_ticks=ticks))


def _course(loads: Sequence[LoadResult]) -> str:
    series = [
        Series(str(each.load), _colour(index), [(x.at_s, x.rate) for x in each.timeline])
        for index, each in enumerate(loads)
    ]
    return draw(Chart(label="answers over time", unit="/s", series=series, span=(0.0, loads[0].duration_s)))


def _tail(loads: Sequence[LoadResult]) -> str:
    series = [
        Series(str(each.load), _colour(index), [(x.at_s, x.p99_s * 1e3 if x.rate else math.nan) for x in each.timeline])
        for index, each in enumerate(loads)
    ]
    return draw(Chart(label="p99 over time", unit=" ms", series=series, span=(0.0, loads[0].duration_s)))


def _height(seconds: float) -> float:
    """Return where a duration lies on a logarithmic scale of milliseconds."""
    return math.log10(max(seconds * 1e3, 1e-3))


def _ends(loads: Sequence[LoadResult]) -> tuple[float, float]:
    """Return the ends of the scale: a little beyond the shortest and the longest latency."""
    spreads: list[Spread] = [each.latency for each in loads]
    shortest = min(each.histogram[0].from_s for each in loads)
    return _height(shortest) - 0.1, _height(max(each.max_s for each in spreads)) + 0.1


def _decades(low: float, high: float) -> Sequence[tuple[float, str]]:
    """Return 1, 2 and 5 times every power of ten milliseconds in a range; only the powers where it is wide."""
    factors = (1, 2, 5) if high - low < 2.5 else (1,)
    found = [
        (math.log10(factor) + power, f"{factor * 10.0**power:g} ms")
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in factors
    ]
    return [each for each in found if low <= each[0] <= high]
