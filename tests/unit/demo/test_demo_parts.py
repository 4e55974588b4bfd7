"""What the demo promises and how it judges itself, without a server."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interlock_client.cli.chart import Chart, Series, draw, nice_step

from examples.digits_demo import training
from examples.digits_demo.load import Answer, Checker
from examples.digits_demo.outcome import Outcome, Phase, SwitchTime, faults, figures
from examples.digits_demo.report import HEADINGS, render, rows
from examples.digits_demo.service import Server, ServerFailed


def answers(version: int, start: float, stop: float, count: int = 100) -> list[Answer]:
    right = 4 if version == 1 else 2
    times = np.linspace(start, stop, count, endpoint=False)
    return [Answer(float(at), 0.002, version, right) for at in times]


def good() -> Outcome:
    promote = SwitchTime("promote", 2, 0.9, 1.0, 0.08, 0.002)
    rollback = SwitchTime("rollback", 1, 1.99, 2.0, 0.0, 0.002)
    return Outcome(
        phases=[
            Phase("version 1", 1, 0.0, 0.9, 1.0, 0.99, None),
            Phase("promote to 2", 2, 1.0, 1.99, 2.0, 0.5, promote),
            Phase("rollback to 1", 1, 2.0, 3.0, 3.0, 0.99, rollback),
        ],
        answers=[*answers(1, 0.0, 1.0), *answers(2, 1.0, 2.0), *answers(1, 2.0, 3.0)],
        min_rate=50,
        trained_accuracy=[0.99, 0.5],
        live_at_end=1,
    )


def but(outcome: Outcome, *added: Answer) -> Outcome:
    return replace(outcome, answers=[*outcome.answers, *added])


def test_a_run_as_promised_has_no_faults() -> None:
    assert faults(good()) == []
    seen = figures(good().phases[1], good().answers)
    assert (seen.requests, seen.failed, seen.wrong, round(seen.rate)) == (100, 0, 0, 100)
    assert seen.p99_s == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (but(good(), Answer(1.5, 0.1, 0, 0, error="UNAVAILABLE: gone")), "1 requests failed; the first: UNAVAILABLE"),
        (but(good(), Answer(9.0, 0.1, 0, 0, error="UNAVAILABLE: gone")), "1 requests failed"),
        (but(good(), Answer(1.5, 0.1, 2, 0, wrong="it is 3 off")), "1 answers were wrong; the first: it is 3 off"),
        (but(good(), Answer(2.5, 0.1, 2, 4)), "of a version that was not live"),
        (replace(good(), min_rate=500), "at least 500 were promised"),
        (replace(good(), trained_accuracy=[0.99, 0.95]), "not really worse"),
        (replace(good(), trained_accuracy=[0.98, 0.5]), "over gRPC, PyTorch"),
        (replace(good(), live_at_end=2), "version 2 is live after the rollback"),
    ],
)
def test_each_broken_promise_is_named(broken: Outcome, words: str) -> None:
    assert any(words in fault for fault in faults(broken)), faults(broken)


def test_while_a_switch_is_under_way_either_version_may_answer() -> None:
    assert faults(but(good(), Answer(0.95, 0.01, 2, 2), Answer(0.89, 0.05, 2, 2))) == []


def test_an_answer_is_held_against_the_version_that_it_names() -> None:
    digits = training.load()
    scores = {1: np.zeros((360, 10), np.float32), 2: np.ones((360, 10), np.float32)}
    scores[1][np.arange(360), digits.test_labels] = 1
    checker = Checker(digits, scores)
    assert checker.check([0, 5], 1, scores[1][[0, 5]]) == (2, "")
    assert "off what version 1 answers" in checker.check([0, 5], 1, scores[2][[0, 5]])[1]
    assert "never registered" in checker.check([0], 3, scores[1][[0]])[1]
    assert "shape" in checker.check([0, 1], 1, scores[1][[0]])[1]


def test_a_fifth_of_the_1797_images_is_held_out_and_the_slip_touches_three_digits() -> None:
    digits = training.load()
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    assert len(digits.test_labels) == 360
    mixed = training.mix_up(digits.train_labels)
    assert set(digits.train_labels[mixed != digits.train_labels]) == set(training.MIXED_UP)
    assert set(mixed) == set(range(7))


def test_the_page_is_whole_by_itself_and_its_charts_are_well_formed() -> None:
    page = render(good(), ["a note with <brackets>"])
    for outside in ("http://", "https://", "src=", "@import", "url("):
        assert outside not in page
    assert "no request failed" in page and "&lt;brackets&gt;" in page
    charts = [part.partition("</svg>")[0] + "</svg>" for part in page.split("<svg")[1:]]
    assert len(charts) == 4
    for chart in charts:
        ET.fromstring(f"<svg{chart}")
    assert all(len(row) == len(HEADINGS) for row in rows(good()))
    assert "prefers-color-scheme: dark" in page


def test_a_page_of_a_broken_run_says_so() -> None:
    page = render(but(good(), Answer(1.5, 0.1, 0, 0, error="<gone>")), [])
    assert "1 promises broken" in page and "&lt;gone&gt;" in page


@pytest.mark.parametrize(("span", "step"), [(100.0, 50.0), (9.8, 5.0), (0.8, 0.2), (0.0, 1.0), (float("nan"), 1.0)])
def test_axes_have_round_steps(span: float, step: float) -> None:
    assert nice_step(span) == pytest.approx(step)


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(0.0, float("nan")), (1.0, 2.0)]])
def test_a_chart_is_drawn_of_anything(points: Sequence[tuple[float, float]]) -> None:
    chart = Chart(label="l", unit="", series=[Series("s", "--ink", points)], span=(0.0, 1.0))
    assert "nan" not in draw(chart)


def test_a_server_that_does_not_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(ServerFailed, match="ended before it was ready") as caught:
        Server(tmp_path / "file", tmp_path / "server.log")
    assert "Its last words" in str(caught.value)
