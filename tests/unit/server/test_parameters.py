from __future__ import annotations

import pytest
from interlock.errors import InvalidInput
from interlock.protocols.open_inference_pb2 import InferParameter, ModelInferRequest
from interlock_server.worker.parameters import (
    NO_OPTIONS,
    RequestOptions,
    SharedSlice,
    read_options,
    refuse_classification,
    shared_slice,
)
from interlock_server.worker.work import DEFAULT_PRIORITY

P = InferParameter

OPTIONS: list[tuple[dict[str, InferParameter], RequestOptions]] = [
    ({}, NO_OPTIONS),
    ({"priority": P(int64_param=1)}, RequestOptions(priority=1)),
    ({"priority": P(uint64_param=16)}, RequestOptions(priority=16)),
    ({"priority": P(int64_param=0)}, RequestOptions(priority=DEFAULT_PRIORITY)),
    ({"timeout": P(int64_param=2_500_000)}, RequestOptions(timeout_s=2.5)),
    ({"timeout": P(int64_param=0)}, NO_OPTIONS),
    ({"triton_enable_empty_final_response": P(bool_param=True)}, NO_OPTIONS),
    ({"trace-me": P(string_param="a caller's own")}, NO_OPTIONS),
]


@pytest.mark.parametrize(("parameters", "expected"), OPTIONS)
def test_parameters_become_options(parameters: dict[str, InferParameter], expected: RequestOptions) -> None:
    assert read_options(ModelInferRequest(parameters=parameters)) == expected


WRONG: list[tuple[str, InferParameter, str]] = [
    ("priority", P(int64_param=17), "from 0 to 16"),
    ("priority", P(int64_param=-1), "from 0 to 16"),
    ("priority", P(string_param="1"), "must be an integer"),
    ("priority", P(), "must be an integer"),
    ("timeout", P(int64_param=-5), "is -5"),
    ("timeout", P(uint64_param=2**64 - 1), "from 0 to"),
    ("timeout", P(double_param=1.0), "must be an integer"),
    ("sequence_id", P(int64_param=7), "takes sequences"),
    ("sequence_start", P(bool_param=True), "takes sequences"),
    ("sequence_end", P(bool_param=False), "takes sequences"),
    ("triton_magic", P(bool_param=True), "no such reserved parameter"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_a_wrong_or_reserved_parameter_is_refused_by_name(name: str, value: InferParameter, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        read_options(ModelInferRequest(parameters={name: value}))
    assert name in caught.value.violations[0].field


def region(**parameters: InferParameter) -> dict[str, InferParameter]:
    return {f"shared_memory_{name}": value for name, value in parameters.items()}


def test_a_tensor_may_lie_in_shared_memory() -> None:
    assert shared_slice({}, "input 'x'") is None
    assert shared_slice({"other": P(int64_param=1)}, "input 'x'") is None
    found = region(region=P(string_param="r"), byte_size=P(int64_param=8))
    assert shared_slice(found, "input 'x'") == SharedSlice("r", 0, 8)
    found = region(region=P(string_param="r"), byte_size=P(int64_param=8), offset=P(uint64_param=3))
    assert shared_slice(found, "input 'x'") == SharedSlice("r", 3, 8)


BAD: list[tuple[dict[str, InferParameter], str]] = [
    (region(region=P(int64_param=1), byte_size=P(int64_param=8)), "must be a string"),
    (region(region=P(string_param="r")), "'shared_memory_byte_size' must be given"),
    (region(region=P(string_param="r"), byte_size=P(int64_param=0)), "over 0"),
    (region(region=P(string_param="r"), byte_size=P(int64_param=-8)), "is -8"),
    (region(region=P(string_param="r"), byte_size=P(string_param="8")), "must be an integer"),
    (region(region=P(string_param="r"), byte_size=P(int64_param=8), offset=P(int64_param=-1)), "is -1"),
    (region(region=P(string_param="r"), byte_size=P(uint64_param=2**63)), "from 0 to"),
]


@pytest.mark.parametrize(("parameters", "said"), BAD)
def test_shared_memory_that_makes_no_sense_is_refused(parameters: dict[str, InferParameter], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        shared_slice(parameters, "input 'x'")
    assert caught.value.violations


def test_classes_are_refused_rather_than_forgotten() -> None:
    refuse_classification({}, "output 'y'")
    with pytest.raises(InvalidInput, match="classification"):
        refuse_classification({"classification": P(int64_param=3)}, "output 'y'")
