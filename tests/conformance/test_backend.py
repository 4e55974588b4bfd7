"""A fixed sample of ONNX's backend tests through the wire; `make conformance` runs them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import grpc
import pytest

from tests.conformance.backend.cases import Case, case_in, cases_of
from tests.conformance.backend.direct import NotAsked, exchanges
from tests.conformance.backend.wire import ask
from tests.server import Server

MODULES: Final = ("bitcast", "castlike", "constant", "if_", "split", "string_concat", "topk")
NODES: Final = (
    "test_bitcast_scalar_float32_to_int32",  # no dimensions
    "test_castlike_BFLOAT16_to_FLOAT",
    "test_castlike_FLOAT_to_FLOAT16",
    "test_constant",  # no inputs
    "test_if",  # subgraphs
    "test_split_zero_size_splits_opset18",  # several outputs, empty ones
    "test_string_concat_utf8",
    "test_top_k",
)
FILES: Final = (
    ("simple", "test_sequence_model8"),  # sequences inside, tensors outside
    ("pytorch-converted", "test_Embedding"),
    ("pytorch-operator", "test_operator_symbolic_override_nested"),
)
LEFT_OUT: Final = {
    "test_castlike_FLOAT_to_FLOAT8E4M3FN": "V2 has no form for tensor(float8e4m3fn)",
    "test_if_seq": "V2 has no form for seq",
}


@pytest.fixture(scope="module")
def sample() -> list[Case]:
    return cases_of(MODULES, NODES) + [case_in(kind, name) for kind, name in FILES]


def test_a_sample_of_onnx_models_answers_as_in_process(
    sample: list[Case], served: Server, channel: grpc.Channel, tmp_path: Path
) -> None:
    with served.admin() as admin:
        asked = ask([(case, exchanges(case)) for case in sample], admin, channel, tmp_path)
    assert {each.case.name: each.problem for each in asked} == {case.name: "" for case in sample}


def test_what_is_left_out_is_told_from_its_types(sample: list[Case]) -> None:
    for case in cases_of(MODULES, LEFT_OUT):
        with pytest.raises(NotAsked) as why:
            exchanges(case)
        assert str(why.value) == LEFT_OUT[case.name]


def test_a_bit_that_differs_is_noticed(
    sample: list[Case], served: Server, channel: grpc.Channel, tmp_path: Path
) -> None:
    case = next(case for case in sample if case.name == "test_top_k")
    (exchange,) = exchanges(case)
    values = exchange.outputs[0]
    flipped = replace(values, raw=bytes([values.raw[0] ^ 1]) + values.raw[1:])
    with served.admin() as admin:
        wrong = replace(exchange, outputs=(flipped, *exchange.outputs[1:]))
        (asked,) = ask([(case, [wrong])], admin, channel, tmp_path)
    assert asked.problem == f"set 0: output {values} has other bits than in process"
