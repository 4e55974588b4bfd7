"""Wrong requests get an exact status and a message that says what was wrong; the worker does not notice."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock.tensors import encode_raw
from interlock.types import DType

from tests.conformance import requests
from tests.server import Server

ONE = np.ones((1, 2), np.float32)
ONE_RAW = encode_raw(ONE, DType.FP32)
INPUT = ("x", "FP32", [1, 2])


@pytest.fixture(autouse=True)
def the_worker_does_not_notice(served: Server, stub: GRPCInferenceServiceStub) -> Iterator[None]:
    before = served.pid_of("worker")
    yield
    assert served.pid_of("worker") == before
    reply = stub.ModelInfer(requests.raw("m", {"x": (DType.FP32, ONE)}), timeout=60)
    assert reply.raw_output_contents[0] == encode_raw(3 * ONE, DType.FP32)


def request(
    model: str, *inputs: tuple[str, str, list[int]], raw: list[bytes] | None = None, version: str = ""
) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=model, model_version=version)
    for name, datatype, shape in inputs:
        made.inputs.add(name=name, datatype=datatype, shape=shape)
    made.raw_input_contents.extend(raw or [])
    return made


def typed(model: str, datatype: str, shape: list[int], **contents: Any) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=model)
    made.inputs.add(name="x", datatype=datatype, shape=shape, contents=pb.InferTensorContents(**contents))
    return made


def both(raw: bytes) -> pb.ModelInferRequest:
    made = typed("m", "FP32", [1, 2], fp32_contents=[1.0, 1.0])
    made.raw_input_contents.append(raw)
    return made


def asking(output: str, times: int = 1) -> pb.ModelInferRequest:
    made = request("m", INPUT, raw=[ONE_RAW])
    for _ in range(times):
        made.outputs.add(name=output)
    return made


def with_parameter(name: str, **value: Any) -> pb.ModelInferRequest:
    made = request("m", INPUT, raw=[ONE_RAW])
    made.parameters[name].CopyFrom(pb.InferParameter(**value))
    return made


def strings(*lengths_and_bytes: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<I", length) + data for length, data in lengths_and_bytes)


NO_VERSION = "failed to get model version from specified version string"
A, B = ("a", "FP32", [1, 2]), ("b", "FP32", [1, 2])
INVALID = StatusCode.INVALID_ARGUMENT
TABLE = {
    # names
    "no inputs": (request("m"), INVALID, "'x' is missing"),
    "a missing input": (request("pair", A, raw=[ONE_RAW]), INVALID, "'b' is missing"),
    "an unknown input": (request("m", INPUT, ("z", "FP32", [1, 2]), raw=[ONE_RAW] * 2), INVALID, "'z' does not exist"),
    "an input twice": (request("m", INPUT, INPUT, raw=[ONE_RAW] * 2), INVALID, "'x' is given twice"),
    "an unknown output": (asking("z"), INVALID, "'z'"),
    "an output twice": (asking("y", 2), INVALID, "twice"),
    # datatypes and shapes
    "another datatype": (request("m", ("x", "FP64", [1, 2]), raw=[b"\0" * 16]), INVALID, "FP64"),
    "no datatype": (request("m", ("x", "", [1, 2]), raw=[ONE_RAW]), INVALID, "datatype"),
    "an invented datatype": (request("m", ("x", "FP33", [1, 2]), raw=[ONE_RAW]), INVALID, "FP33"),
    "a lower-case datatype": (request("m", ("x", "fp32", [1, 2]), raw=[ONE_RAW]), INVALID, "fp32"),
    "a rank too low": (request("m", ("x", "FP32", [2]), raw=[ONE_RAW]), INVALID, "rank"),
    "a rank too high": (request("m", ("x", "FP32", [1, 1, 2]), raw=[ONE_RAW]), INVALID, "rank"),
    "no shape": (request("m", ("x", "FP32", []), raw=[ONE_RAW]), INVALID, "rank"),
    "another fixed size": (request("m", ("x", "FP32", [1, 3]), raw=[b"\0" * 12]), INVALID, "dimension 1"),
    "a negative size": (request("m", ("x", "FP32", [-1, 2]), raw=[ONE_RAW]), INVALID, "-1"),
    "both sizes negative": (request("vector", ("x", "FP32", [-(2**63)]), raw=[b""]), INVALID, "dimension 0"),
    "sizes whose product wraps": (request("m", ("x", "FP32", [2**62, 2]), raw=[b""]), INVALID, "absurdly large"),
    "a size without elements": (request("vector", ("x", "FP32", [2**61]), raw=[b""]), INVALID, "absurdly large"),
    "unequal shared sizes": (
        request("pair", A, ("b", "FP32", [2, 2]), raw=[ONE_RAW, ONE_RAW * 2]),
        INVALID,
        "dimension",
    ),
    "more rows than a batch holds": (
        request("m", ("x", "FP32", [1000, 2]), raw=[ONE_RAW * 1000]),
        INVALID,
        "max_batch_size",
    ),
    # raw contents
    "raw bytes too short": (request("m", INPUT, raw=[ONE_RAW[:-1]]), INVALID, "7 raw bytes"),
    "raw bytes too long": (request("m", INPUT, raw=[ONE_RAW + b"\0"]), INVALID, "9 raw bytes"),
    "raw contents for nobody": (request("m", INPUT, raw=[ONE_RAW, ONE_RAW]), INVALID, "2 raw_input_contents for 1"),
    "too few raw contents": (
        request("pair", A, B, raw=[ONE_RAW]),
        INVALID,
        "unable to find data for input tensor 'b' for model 'pair' in request: 1 raw_input_contents for 2",
    ),
    "neither raw nor typed": (request("m", INPUT), INVALID, "0 values"),
    "raw and typed": (
        both(ONE_RAW),
        INVALID,
        "contents field must not be specified when using raw_input_contents for 'x' for model 'm'",
    ),
    "a bool that is 2": (request("same_bool", ("x", "BOOL", [1, 2]), raw=[b"\x01\x02"]), INVALID, "0 or 1"),
    # typed contents
    "too few values": (typed("m", "FP32", [1, 2], fp32_contents=[1.0]), INVALID, "1 values"),
    "too many values": (typed("m", "FP32", [1, 2], fp32_contents=[1.0] * 3), INVALID, "3 values"),
    "values in another field": (typed("m", "FP32", [1, 2], fp64_contents=[1.0, 1.0]), INVALID, "fp32_contents"),
    "int8 out of range": (typed("same_int8", "INT8", [1, 2], int_contents=[1, 128]), INVALID, "128"),
    "int16 out of range": (typed("same_int16", "INT16", [1, 2], int_contents=[-32769, 0]), INVALID, "-32769"),
    "uint8 out of range": (typed("same_uint8", "UINT8", [1, 2], uint_contents=[256, 0]), INVALID, "256"),
    "typed fp16": (typed("same_fp16", "FP16", [1, 2], fp32_contents=[1.0, 1.0]), INVALID, "raw_input_contents"),
    # strings
    "a string that claims too much": (
        request("same_bytes", ("x", "BYTES", [1, 2]), raw=[strings((1, b"a"), (2**32 - 1, b"b"))]),
        INVALID,
        "claims",
    ),
    "a length cut off": (
        request("same_bytes", ("x", "BYTES", [1, 2]), raw=[strings((1, b"a"), (1, b"b")) + b"\0\0"]),
        INVALID,
        "cut off",
    ),
    "too few strings": (request("same_bytes", ("x", "BYTES", [1, 2]), raw=[strings((6, b"abcdef"))]), INVALID, "2"),
    "too many strings": (
        request("same_bytes", ("x", "BYTES", [1, 2]), raw=[strings(*[(0, b"")] * 3)]),
        INVALID,
        "3 BYTES",
    ),
    "more strings than could ever be": (
        request("same_bytes", ("x", "BYTES", [2**40, 2]), raw=[b"\0" * 8]),
        INVALID,
        "cannot hold",
    ),
    "a string that is no UTF-8": (
        request("same_bytes", ("x", "BYTES", [1, 2]), raw=[strings((1, b"\xff"), (0, b""))]),
        INVALID,
        "UTF-8",
    ),
    # parameters
    "a sequence": (with_parameter("sequence_id", int64_param=7), INVALID, "takes sequences"),
    "a reserved parameter": (with_parameter("triton_magic", bool_param=True), INVALID, "triton_magic"),
    "a priority that is none": (with_parameter("priority", int64_param=99), INVALID, "from 0 to 16"),
    "a timeout in words": (with_parameter("timeout", string_param="1s"), INVALID, "must be an integer"),
    # many
    "ten thousand inputs": (
        request("m", *[(f"x{number}", "FP32", [1, 2]) for number in range(10_000)], raw=[ONE_RAW] * 10_000),
        INVALID,
        "has 10000 inputs",
    ),
    # refs
    "a name of 10 KB": (request("n" * 10_000, INPUT, raw=[ONE_RAW]), StatusCode.NOT_FOUND, "nnn"),
    "a name with NUL": (request("m\0", INPUT, raw=[ONE_RAW]), StatusCode.NOT_FOUND, "is not found"),
    "a name with a slash": (request("m/1", INPUT, raw=[ONE_RAW]), StatusCode.NOT_FOUND, "m/1"),
    "an unknown model": (
        request("nobody", INPUT, raw=[ONE_RAW]),
        StatusCode.NOT_FOUND,
        "Request for unknown model: 'nobody' is not found",
    ),
    "no model": (request("", INPUT, raw=[ONE_RAW]), StatusCode.NOT_FOUND, "model"),
    "a name with a path in it": (request("../m", INPUT, raw=[ONE_RAW]), StatusCode.NOT_FOUND, "../m"),
    "a name with a ref in it": (request("m@1", INPUT, raw=[ONE_RAW]), StatusCode.NOT_FOUND, "m@1"),
    "an unknown version": (request("m", INPUT, raw=[ONE_RAW], version="99"), StatusCode.NOT_FOUND, "no version 99"),
    "an unknown alias": (request("m", INPUT, raw=[ONE_RAW], version="beta"), StatusCode.NOT_FOUND, "beta"),
    "version 0": (request("m", INPUT, raw=[ONE_RAW], version="0"), INVALID, f"{NO_VERSION} '0'"),
    "version -1": (request("m", INPUT, raw=[ONE_RAW], version="-1"), INVALID, "'-1'"),
    "version 01": (request("m", INPUT, raw=[ONE_RAW], version="01"), INVALID, "'01'"),
    "a version with a space": (request("m", INPUT, raw=[ONE_RAW], version=" 1"), INVALID, "' 1'"),
    "a version in words": (request("m", INPUT, raw=[ONE_RAW], version="v2"), StatusCode.NOT_FOUND, "v2"),
    "an endless version": (request("m", INPUT, raw=[ONE_RAW], version="9" * 40), INVALID, "999"),
    "a version in other digits": (request("m", INPUT, raw=[ONE_RAW], version="\u0661"), INVALID, "\u0661"),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_wrong_request_is_refused_with_its_reason(stub: GRPCInferenceServiceStub, case: str) -> None:
    wrong, code, mentioned = TABLE[case]
    found = requests.refused(lambda: stub.ModelInfer(wrong, timeout=60))
    assert (found.code, mentioned in found.details) == (code, True), found
    assert len(found.details) <= 1024
    details = found.trailing["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (code.value[0], found.details)
    assert len(details) - len(found.details.encode()) <= 1100, "the text is in there too"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "interlock" and info.reason
    if code is INVALID:
        kinds = [detail.TypeName() for detail in status.details]
        assert "google.rpc.BadRequest" in kinds, kinds


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelReady"])
def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel, method: str) -> None:
    call: Any = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    for data in (b"\xff" * 40, b"\x0a\x05ab", b"\x0a\x02\xff\xfe"):  # garbage, cut off, a name that is no UTF-8
        found = requests.refused(lambda data=data: call(data, timeout=60))  # type: ignore[misc]
        assert found.code is INVALID, found


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    for path in ("/inference.GRPCInferenceService/Nothing", "/nobody.Service/Method"):
        call: Any = channel.unary_unary(path)
        assert requests.refused(lambda call=call: call(b"", timeout=60)).code is StatusCode.UNIMPLEMENTED  # type: ignore[misc]


@pytest.mark.parametrize(("version", "code"), [("", StatusCode.NOT_FOUND), ("0", INVALID)])
def test_metadata_of_what_is_not_there(stub: GRPCInferenceServiceStub, version: str, code: StatusCode) -> None:
    for call, request in (
        (stub.ModelMetadata, pb.ModelMetadataRequest(name="nobody", version=version)),
        (stub.ModelConfig, pb.ModelConfigRequest(name="nobody", version=version)),
        (stub.ModelStatistics, pb.ModelStatisticsRequest(name="nobody", version=version)),
    ):
        ask: Any = call
        assert requests.refused(lambda ask=ask, request=request: ask(request, timeout=60)).code is code  # type: ignore[misc]


def test_a_registered_model_that_nothing_serves_says_what_to_do(stub: GRPCInferenceServiceStub) -> None:
    found = requests.refused(lambda: stub.ModelInfer(request("unserved", INPUT, raw=[ONE_RAW]), timeout=60))
    assert found.code is StatusCode.NOT_FOUND and "interlock promote unserved" in found.details
    numbered = request("unserved", INPUT, raw=[ONE_RAW], version="1")
    found = requests.refused(lambda: stub.ModelInfer(numbered, timeout=60))
    assert found.code is StatusCode.FAILED_PRECONDITION and "interlock pin unserved 1" in found.details


def test_a_message_that_only_unpacked_is_over_the_limit_is_refused_too(stub: GRPCInferenceServiceStub) -> None:
    bomb = request("m", INPUT, raw=[b"\0" * (100 * 1024 * 1024)])
    found = requests.refused(lambda: stub.ModelInfer(bomb, timeout=60, compression=grpc.Compression.Gzip))
    assert found.code is StatusCode.RESOURCE_EXHAUSTED


def test_metadata_without_end_is_refused(served: Server, stub: GRPCInferenceServiceStub) -> None:
    found = requests.refused(
        lambda: stub.ModelInfer(
            request("m", INPUT, raw=[ONE_RAW]), timeout=60, metadata=(("x-long", "a" * (40 * 1024 * 1024)),)
        )
    )
    # The native front ends the connection.
    ended = {StatusCode.UNAVAILABLE} if "native" in served.flags else set()
    assert found.code in {StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL, *ended}, found


def test_a_message_over_the_limit_names_the_setting(stub: GRPCInferenceServiceStub) -> None:
    too_much = request("m", INPUT, raw=[b"\0" * (65 * 1024 * 1024)])
    found = requests.refused(lambda: stub.ModelInfer(too_much, timeout=60))
    assert found.code is StatusCode.RESOURCE_EXHAUSTED and "max_message_bytes" in found.details
    details = found.trailing["grpc-status-details-bin"]
    assert isinstance(details, bytes) and b"TOO_LARGE" in details


def test_a_long_list_of_faults_is_cut(stub: GRPCInferenceServiceStub) -> None:
    many = request("m", *[(f"z{index}" * 20, "FP32", [1, 2]) for index in range(2000)], raw=[ONE_RAW] * 2000)
    found = requests.refused(lambda: stub.ModelInfer(many, timeout=60))
    assert found.code is INVALID
    assert len(found.details) <= 1024


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_request_whatsoever_is_an_internal_error(stub: GRPCInferenceServiceStub, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(list(DType)))
    sizes = st.one_of(st.integers(-2, 4), st.sampled_from([2**31, 2**62, -(2**63), 2**63 - 1]))
    wrong = pb.ModelInferRequest(
        model_name=data.draw(st.sampled_from([f"same_{dtype.value.lower()}", "m", "vector", "scalar", "same_bytes"])),
        model_version=data.draw(st.sampled_from(["", "1"])),
    )
    wrong.inputs.add(
        name="x",
        datatype=data.draw(st.sampled_from([dtype.value, "FP32", "BYTES"])),
        shape=data.draw(st.lists(sizes, max_size=4)),
    )
    wrong.raw_input_contents.append(data.draw(st.binary(max_size=32)))
    try:
        stub.ModelInfer(wrong, timeout=60)
    except grpc.RpcError as error:
        found = requests.outcome(error)
        assert found.code in (INVALID, StatusCode.NOT_FOUND), found
