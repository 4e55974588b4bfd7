"""The demo's page: accuracy and latency over time, each request around the two switches, and the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

import numpy as np
from interlock_client.cli.chart import Band, Chart, Series, draw

from examples.digits_demo.load import ROWS, Answer
from examples.digits_demo.outcome import Outcome, Phase, SwitchTime, faults, figures

_BINS: Final = 60
_ZOOM_S: Final = 0.4
_COLOURS: Final = {1: "--one", 2: "--two"}

_STYLE: Final = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #1c1d20; --soft: #6a6d75; --line: #e3e3df;
  --one: #1f6feb; --two: #d9480f; --p99: #8250df; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --page: #131418; --card: #1c1e24; --ink: #ecedf0; --soft: #9a9eaa;
  --line: #2e313a; --one: #6cb0ff; --two: #ff9a5c; --p99: #c297ff; --good: #4ac26b; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 40px 20px 60px; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 980px; margin: 0 auto; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -.015em; }
h2 { font-size: 16px; margin: 0; }
p { margin: 0; color: var(--soft); max-width: 74ch; }
.verdict { display: inline-block; margin: 0 0 14px; padding: 3px 12px; border-radius: 99px; font-weight: 600;
  font-size: 13px; color: var(--card); background: var(--good); }
.verdict.bad { background: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin: 26px 0; }
.card, section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; }
.card b { display: block; font-size: 25px; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
section { margin: 14px 0; overflow-x: auto; }
section p { font-size: 13.5px; margin: 2px 0 10px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 14px; }
.pair section { margin: 0; }
svg { width: 100%; height: auto; display: block; font: 11.5px system-ui, sans-serif; }
.grid { stroke: var(--line); } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.mark { stroke: var(--ink); stroke-dasharray: 4 3; opacity: .6; }
.tick { fill: var(--soft); text-anchor: middle; } .end { text-anchor: end; }
.band { text-anchor: middle; font-weight: 600; } .note { fill: var(--ink); font-size: 11px; }
.key { display: inline-flex; align-items: center; gap: 6px; margin-right: 16px; font-size: 13px; color: var(--soft); }
.key i { width: 12px; height: 3px; border-radius: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin-top: 8px; }
th { color: var(--soft); font-weight: 500; font-size: 13px; } th, td { text-align: right; padding: 7px 10px;
  border-bottom: 1px solid var(--line); white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; } li { color: var(--bad); } footer { margin-top: 26px; font-size: 13px; }
"""


def render(outcome: Outcome, notes: Sequence[str]) -> str:
    """Return the page: one file of its own, light or dark as the reader's system is."""
    found = faults(outcome)
    zero = outcome.phases[0].from_s
    verdict = "no request failed, no answer was wrong" if not found else f"{len(found)} promises broken"
    parts = [
        f'<div class="verdict{" bad" if found else ""}">{escape(verdict)}</div>',
        "<h1>A bad version goes live, and back</h1>",
        "<p>Handwritten digits under constant load, retries off. Version 2 was trained on partly wrong labels; "
        "it is promoted, found to be worse, and rolled back.</p>",
        "".join(["<ul>", *(f"<li>{escape(each)}</li>" for each in found), "</ul>"]) if found else "",
        _cards(outcome),
        _section(
            "Accuracy",
            "Share of the held-out images in each moment's answers that were told right.",
            _accuracy(outcome, zero),
        ),
        _section(
            "Latency", "As the clients saw it, for each moment's requests.", _latency(outcome, zero), _latency_key()
        ),
        _switches(outcome, zero),
        _section("In figures", "A request belongs to the version that was live when it was sent.", table(outcome)),
        f"<footer><p>{'<br>'.join(map(escape, notes))}</p></footer>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Interlock: promote and rollback</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _section(title: str, text: str, body: str, key: str = "") -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{key}{body}</section>"


def _cards(outcome: Outcome) -> str:
    seen = [figures(phase, outcome.answers) for phase in outcome.phases]
    rollback = outcome.phases[-1].switch
    good, bad = outcome.phases[0].accuracy, outcome.phases[1].accuracy
    cards = [
        (f"{sum(each.requests for each in seen):,}", "requests answered"),
        (str(sum(each.failed for each in seen)), "failed"),
        (str(sum(each.wrong for each in seen)), "wrong answers"),
        (f"{good:.1%} → {bad:.1%}", "accuracy, version 1 → 2"),
        (f"{rollback.took_s * 1e3:.1f} ms" if rollback else "–", "to roll back, as the operator saw it"),
    ]
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{escape(value)}</b><span>{escape(text)}</span></div>' for value, text in cards)
        + "</div>"
    )


def _binned(outcome: Outcome, zero: float, value: Callable[[Sequence[Answer]], float]) -> Sequence[tuple[float, float]]:
    """Return one value for each equal part of the time; parts without an answer are left out."""
    end = outcome.phases[-1].until_s
    edges = np.linspace(zero, end, _BINS + 1)
    parts: list[list[Answer]] = [[] for _ in range(_BINS)]
    for answer in outcome.answers:
        if not answer.error and zero <= answer.sent_s < end:
            parts[min(_BINS - 1, int((answer.sent_s - zero) / (end - zero) * _BINS))].append(answer)
    return [
        (float(edges[index] + edges[index + 1]) / 2 - zero, value(part)) for index, part in enumerate(parts) if part
    ]


def _bands(outcome: Outcome, zero: float) -> Sequence[Band]:
    return [
        Band(phase.from_s - zero, phase.until_s - zero, f"version {phase.version}", _COLOURS[phase.version])
        for phase in outcome.phases
    ]


def _span(outcome: Outcome, zero: float) -> tuple[float, float]:
    return 0.0, outcome.phases[-1].until_s - zero


def _marks(outcome: Outcome, zero: float) -> Sequence[tuple[float, str]]:
    return [(phase.from_s - zero, phase.switch.action) for phase in outcome.phases if phase.switch]


def _accuracy(outcome: Outcome, zero: float) -> str:
    def share(part: Sequence[Answer]) -> float:
        return 100 * sum(answer.correct for answer in part) / (ROWS * len(part))

    return draw(
        Chart(
            label="accuracy over time",
            unit=" %",
            series=[Series("accuracy", "--ink", _binned(outcome, zero, share))],
            span=_span(outcome, zero),
            bands=_bands(outcome, zero),
            marks=_marks(outcome, zero),
            note_at=0.94,
            high=100.0,
        )
    )


def _latency(outcome: Outcome, zero: float) -> str:
    def at(percent: float) -> Callable[[Sequence[Answer]], float]:
        return lambda part: float(np.percentile([answer.latency_s * 1e3 for answer in part], percent))

    return draw(
        Chart(
            label="latency over time",
            unit=" ms",
            series=[
                Series("p99", "--p99", _binned(outcome, zero, at(99))),
                Series("p50", "--ink", _binned(outcome, zero, at(50))),
            ],
            span=_span(outcome, zero),
            bands=_bands(outcome, zero),
            marks=_marks(outcome, zero),
        )
    )


def _latency_key() -> str:
    keys = (("--ink", "p50"), ("--p99", "p99"))
    return "".join(f'<span class="key"><i style="background:var({c})"></i>{text}</span>' for c, text in keys)


def _switches(outcome: Outcome, zero: float) -> str:
    panels = [
        _section(
            f"{phase.switch.action.capitalize()}, request by request",
            f"Acknowledged {phase.switch.took_s * 1e3:.1f} ms after it was asked for"
            f" (to prepare {phase.switch.prepare_s * 1e3:.1f} ms, to commit {phase.switch.commit_s * 1e3:.1f} ms).",
            _zoom(outcome, phase, phase.switch),
            '<span class="key"><i style="background:var(--one)"></i>answered by version 1</span>'
            '<span class="key"><i style="background:var(--two)"></i>by version 2</span>',
        )
        for phase in outcome.phases
        if phase.switch
    ]
    return f'<div class="pair">{"".join(panels)}</div>'


def _zoom(outcome: Outcome, phase: Phase, switch: SwitchTime) -> str:
    """Draw each request near a switch, by the time from its acknowledgement."""
    zero = phase.from_s
    near = [answer for answer in outcome.answers if abs(answer.sent_s - zero) < _ZOOM_S and not answer.error]
    return draw(
        Chart(
            label="latency of each request around the switch",
            unit=" ms",
            series=[
                Series(
                    f"answered by version {version}",
                    colour,
                    [(a.sent_s - zero, a.latency_s * 1e3) for a in near if a.version == version],
                    dots=True,
                )
                for version, colour in _COLOURS.items()
            ],
            span=(-_ZOOM_S, _ZOOM_S),
            bands=[Band(-switch.took_s, 0.0, "", "--ink")],
            marks=[(0.0, "acknowledged")],
            width=460,
            height=220,
        )
    )


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the table's cells, without its heading."""
    found: list[tuple[str, ...]] = []
    for phase in outcome.phases:
        seen = figures(phase, outcome.answers)
        found.append(
            (
                phase.title,
                str(phase.version),
                f"{phase.accuracy:.2%}",
                f"{seen.requests:,}",
                f"{seen.rate:.0f}/s",
                str(seen.failed),
                str(seen.wrong),
                f"{seen.p50_s * 1e3:.2f} ms",
                f"{seen.p99_s * 1e3:.2f} ms",
                f"{phase.switch.took_s * 1e3:.1f} ms" if phase.switch else "–",
            )
        )
    return found


HEADINGS: Final = ("", "version", "accuracy", "requests", "rate", "failed", "wrong", "p50", "p99", "switch time")


def table(outcome: Outcome) -> str:
    """Return the table as HTML."""
    head = "".join(f"<th>{escape(text)}</th>" for text in HEADINGS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows(outcome))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
