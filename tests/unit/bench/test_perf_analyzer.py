"""What is read out of perf_analyzer's report."""

from __future__ import annotations

import pytest

from tests.bench.infer.perf_analyzer import Window, cost_us, window_of
from tests.bench.machine import Busy


def window(rate: float, cpu_s: float, at: float) -> Window:
    return Window(rate, cpu_s, Busy(at, 0.0, 0.0))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("  Pass [1] throughput: 11734.5 infer/sec. Avg latency: 5432 usec (std 120 usec). \n", 11734.5),
        ("Request concurrency: 64\n", None),
        ("    Throughput: 11734.5 infer/sec\n", None),
    ],
)
def test_a_window_ends_with_the_line_that_tells_its_rate(text: str, rate: float | None) -> None:
    assert window_of(text) == rate


def test_a_request_costs_what_was_used_after_the_first_window_over_what_was_answered_since() -> None:
    windows = [window(999.0, 1.0, 10.0), window(1000.0, 1.1, 11.0), window(3000.0, 1.4, 12.0)]
    assert cost_us(windows) == pytest.approx(100.0)
