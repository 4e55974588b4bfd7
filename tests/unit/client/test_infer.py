"""Requests and answers of the Open Inference Protocol, without a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from interlock.errors import InternalError, InvalidArgument, InvalidInput
from interlock.protocols import open_inference_pb2 as pb
from interlock.tensors import encode_raw, encode_typed
from interlock.types import DType, ModelRef, Signature, TensorSpec
from interlock_client import InferResult
from interlock_client._infer import Parameters, infer_request, infer_result, model_metadata

TWO = Signature(
    (TensorSpec("x", DType.FP32, (None, 2)), TensorSpec("ids", DType.INT64, (None,))),
    (TensorSpec("y", DType.FP32, (None, 2)), TensorSpec("z", DType.INT64, (None,))),
)
REF = ModelRef.parse("digits:canary")
GOOD = {"ids": [1], "x": np.zeros((1, 2), np.float32)}


def build(
    inputs: object, *, outputs: object = None, parameters: Parameters | None = None, request_id: str = ""
) -> pb.ModelInferRequest:
    made = infer_request(
        REF,
        TWO,
        inputs,  # type: ignore[arg-type]
        outputs=outputs,  # type: ignore[arg-type]
        parameters=parameters,
        request_id=request_id,
    )
    return pb.ModelInferRequest.FromString(made)


def test_a_request_carries_raw_contents_in_the_signatures_order() -> None:
    request = build(GOOD, outputs=["z"], request_id="r1")
    assert (request.model_name, request.model_version, request.id) == ("digits", "canary", "r1")
    assert [(each.name, each.datatype, list(each.shape)) for each in request.inputs] == [
        ("x", "FP32", [1, 2]),
        ("ids", "INT64", [1]),
    ]
    assert list(request.raw_input_contents) == [bytes(8), (1).to_bytes(8, "little")]
    assert not any(each.HasField("contents") for each in request.inputs)
    assert [each.name for each in request.outputs] == ["z"]


@pytest.mark.parametrize(("ref", "wire"), [("m", ""), ("m@7", "7"), ("m:canary", "canary")])
def test_a_ref_becomes_the_protocols_version(ref: str, wire: str) -> None:
    signature = Signature((), ())
    made = infer_request(ModelRef.parse(ref), signature, {}, outputs=None, parameters=None, request_id="")
    assert pb.ModelInferRequest.FromString(made).model_version == wire


def test_parameters_keep_their_types() -> None:
    parameters: Parameters = {"b": True, "i": -5, "u": 2**63, "d": 0.5, "s": "text"}
    found = {
        key: each.WhichOneof("parameter_choice") for key, each in build(GOOD, parameters=parameters).parameters.items()
    }
    assert found == {
        "b": "bool_param",
        "i": "int64_param",
        "u": "uint64_param",
        "d": "double_param",
        "s": "string_param",
    }


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, None, [1]])
def test_parameters_that_the_protocol_has_no_place_for_are_refused(value: object) -> None:
    with pytest.raises(InvalidArgument, match="parameter 'p'"):
        build(GOOD, parameters={"p": value})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"x": [[1, 2]]},
            "the inputs do not fit digits:canary: 'ids' is missing; it takes x FP32[?,2]; ids INT64[?]",
        ),
        (
            {"X": [[1, 2]], "ids": [1]},
            "the inputs do not fit digits:canary: 'x' is missing, there is no 'X'; it takes x FP32[?,2]; ids INT64[?]",
        ),
        (
            [1, 2],
            "inputs must map names to arrays, got a list; digits:canary takes x FP32[?,2]; ids INT64[?]",
        ),
    ],
)
def test_wrong_names_are_refused_with_what_is_expected(inputs: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        build(inputs)
    assert caught.value.message == message


def test_each_wrong_name_is_a_violation() -> None:
    with pytest.raises(InvalidInput) as caught:
        build({"X": 1})
    assert [each.field for each in caught.value.violations] == ["inputs[x]", "inputs[ids]", "inputs[X]"]


@pytest.mark.parametrize(
    ("outputs", "why"),
    [(["w"], "digits:canary has no output 'w'; it gives 'y', 'z'"), ("yz", r"write \['yz'\]")],
)
def test_wrong_output_names_are_refused(outputs: object, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        build(GOOD, outputs=outputs)


def reply(**arrays: tuple[DType, object]) -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(model_name="digits", model_version="3", id="r1")
    for name, (dtype, value) in arrays.items():
        array = np.asarray(value, dtype=dtype.numpy)
        message.outputs.add(name=name, datatype=dtype.value, shape=array.shape)
        message.raw_output_contents.append(encode_raw(array, dtype))
    return message


TRAILING = {
    "interlock-alias": "stable",
    "interlock-generation": "7",
    "interlock-digest": "ab",
    "interlock-queue-us": "250",
    "interlock-run-us": "1500.5",
}


def test_an_answer_is_a_mapping_that_names_its_version() -> None:
    result = infer_result(reply(y=(DType.FP32, [[1, 2]]), z=(DType.INT64, [3])).SerializeToString(), TRAILING)
    assert list(result) == ["y", "z"]
    assert len(result) == 2
    assert "y" in result
    assert "q" not in result
    assert result["y"].tolist() == [[1.0, 2.0]]
    assert dict(result.items())["z"].tolist() == [3]
    assert (result.model, result.version, result.alias, result.request_id) == ("digits", 3, "stable", "r1")
    assert (result.generation, result.digest, result.queue_s, result.run_s) == (7, "ab", 0.00025, 0.0015005)
    assert result == result
    assert result in {result}
    with pytest.raises(KeyError, match="'q' is not in this answer; it holds 'y', 'z'"):
        result["q"]


def test_an_answer_without_our_trailing_metadata_says_so_with_none() -> None:
    result = infer_result(reply(y=(DType.FP32, [1])).SerializeToString(), {})
    assert (result.alias, result.generation, result.digest, result.queue_s, result.run_s) == (
        "",
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("dtype", "value", "numpy"),
    [
        (DType.FP16, [1.5], np.float16),
        (DType.BF16, [0x3F80], np.uint16),
        (DType.BOOL, [True], np.bool_),
        (DType.BYTES, [b"a\0"], np.object_),
    ],
)
def test_outputs_have_the_documented_numpy_dtypes(dtype: DType, value: object, numpy: type[np.generic]) -> None:
    array = infer_result(reply(y=(dtype, value)).SerializeToString(), {})["y"]
    assert array.dtype == numpy
    assert array.tolist() == value


@pytest.mark.parametrize("name_length", [*range(8), 20_000])
def test_outputs_are_read_only_and_lie_where_their_datatype_belongs(name_length: int) -> None:
    name = "y" * (1 + name_length)  # its length moves the tensors behind it in the message
    found = infer_result(reply(**{name: (DType.FP64, [1.0, 2.0])}, z=(DType.FP32, [3.0])).SerializeToString(), {})
    assert found[name].tolist() == [1.0, 2.0]
    for array in found.values():
        assert array.flags.aligned
        assert not array.flags.writeable


def test_a_typed_answer_is_read_too() -> None:
    message = pb.ModelInferResponse(model_name="m", model_version="1")
    message.outputs.add(
        name="y", datatype="INT32", shape=[2], contents=encode_typed(np.array([1, -2], np.int32), DType.INT32)
    )
    assert infer_result(message.SerializeToString(), {})["y"].tolist() == [1, -2]


def broken(
    *, raw: bytes | None = None, extra: bool = False, datatype: str = "FP32", version: str = "3"
) -> pb.ModelInferResponse:
    message = reply(y=(DType.FP32, [1, 2]))
    if raw is not None:
        message.raw_output_contents[0] = raw
    if extra:
        message.raw_output_contents.append(b"")
    message.outputs[0].datatype = datatype
    message.model_version = version
    return message


@pytest.mark.parametrize(
    ("message", "trailing"),
    [
        (broken(raw=b"\0" * 7), {}),
        (broken(extra=True), {}),
        (broken(datatype="FP8"), {}),
        (broken(version="v2"), {}),
        (broken(), {"interlock-generation": "many"}),
    ],
)
def test_an_answer_that_breaks_the_protocol_is_the_servers_fault(
    message: pb.ModelInferResponse, trailing: Mapping[str, str]
) -> None:
    with pytest.raises(InternalError, match="answer"):
        infer_result(message.SerializeToString(), trailing)


def test_metadata_names_the_version_from_our_property_or_the_only_one_listed() -> None:
    message = pb.ModelMetadataResponse(name="m", versions=["1", "2"], platform="onnx")
    message.inputs.add(name="x", datatype="FP32", shape=[-1, 3])
    assert model_metadata(message).version is None
    assert model_metadata(message).signature.inputs == (TensorSpec("x", DType.FP32, (None, 3)),)
    message.properties["interlock.version"] = "2"
    assert model_metadata(message).version == 2
    assert model_metadata(pb.ModelMetadataResponse(name="m", versions=["5"])).version == 5
    assert model_metadata(pb.ModelMetadataResponse(name="m", versions=["v5"])).version is None


def test_metadata_with_an_unknown_datatype_is_an_error_not_a_guess() -> None:
    message = pb.ModelMetadataResponse(name="m")
    message.inputs.add(name="x", datatype="FP8", shape=[1])
    with pytest.raises(InternalError, match="FP8"):
        model_metadata(message)


def test_results_compare_by_identity_since_arrays_have_no_single_truth() -> None:
    one, two = (InferResult({"y": np.zeros(2)}, "m", 1, "", "") for _ in range(2))
    assert one != two
