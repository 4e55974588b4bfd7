from __future__ import annotations

import pytest
from interlock_registry.manifest import Operator
from interlock_server.worker.pace import Pace, depends_on_sizes_alone

QUICK, BETWEEN, SLOW, OUTRAGEOUS = 100e-6, 250e-6, 400e-6, 2.0


def after(*runs: tuple[int, float]) -> Pace:
    pace = Pace()
    for size, run_s in runs:
        pace.ran(size, run_s)
    return pace


@pytest.mark.parametrize(
    ("runs", "size", "here", "why"),
    [
        ([], 0, False, "nothing is known"),
        ([(100, QUICK)], 100, True, "it was quick"),
        ([(100, QUICK)], 200, True, "twice as much is not far off"),
        ([(100, QUICK)], 202, False, "more than twice as much is"),
        ([(100, QUICK), (200, QUICK)], 400, True, "it grows with what is found quick"),
        ([(100, BETWEEN)], 100, False, "what lies between changes nothing"),
        ([(100, QUICK), (100, BETWEEN)], 100, True, "what lies between changes nothing"),
        ([(100, SLOW)], 100, False, "it was slow"),
        ([(100, OUTRAGEOUS)], 1, False, "it was slow"),
        ([(100, QUICK), (9000, SLOW)], 100, True, "a large run says nothing about small ones"),
        ([(100, QUICK)] + 3 * [(100, SLOW)], 100, True, "that may have been the scheduler"),
        ([(100, QUICK)] + 4 * [(100, SLOW)], 100, False, "that was not"),
        ([(100, QUICK)] + 4 * [(100, SLOW)], 40, True, "half the size may still be quick"),
        ([(100, QUICK)] + 5 * [(100, SLOW), (100, QUICK)], 100, True, "now and then"),
        ([(100, QUICK), (100, OUTRAGEOUS)], 100, False, "once is enough"),
        ([(100, QUICK), (100, OUTRAGEOUS), (100, QUICK)], 100, False, "it is not trusted again so soon"),
        ([(100, QUICK), (100, OUTRAGEOUS)] + 4 * [(100, QUICK)], 100, True, "but then it is"),
        (
            2 * [(100, QUICK), (100, QUICK), (100, QUICK), (100, QUICK), (100, OUTRAGEOUS)] + 4 * [(100, QUICK)],
            100,
            False,
            "each time later",
        ),
        ([(0, QUICK)], 0, True, "a model without inputs"),
        ([(0, QUICK)] + 4 * [(0, SLOW)], 0, False, "a slow model without inputs"),
    ],
)
def test_a_run_takes_place_where_requests_are_received_only_if_it_is_expected_to_be_quick(
    runs: list[tuple[int, float]], size: int, here: bool, why: str
) -> None:
    assert (size <= after(*runs).limit) is here, why


def test_a_version_that_behaves_is_trusted_anew() -> None:
    pace = after((100, QUICK), (100, OUTRAGEOUS), *(4 * [(100, QUICK)]))
    for _ in range(3 * 4096):
        pace.ran(100, QUICK)
    pace.ran(100, OUTRAGEOUS)
    assert pace.limit < 100
    for _ in range(4):
        pace.ran(100, QUICK)
    assert pace.limit >= 100


@pytest.mark.parametrize(
    ("operators", "alone"),
    [
        ([("ai.onnx", "Gemm"), ("ai.onnx", "Relu")], True),
        ([("ai.onnx", "Gemm"), ("ai.onnx", "Loop")], False),
        ([("ai.onnx", "Range")], False),
        ([("com.example", "Gemm")], False),
        ([], False),
    ],
)
def test_only_graphs_whose_sizes_decide_how_long_they_run_may_be_quick(
    operators: list[tuple[str, str]], alone: bool
) -> None:
    assert depends_on_sizes_alone(Operator(domain, name, 21, 1) for domain, name in operators) is alone


def test_what_may_not_be_quick_never_is() -> None:
    pace = Pace(may_be_quick=False)
    for _ in range(1000):
        pace.ran(1, QUICK)
    assert pace.limit == -1
