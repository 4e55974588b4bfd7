"""A request's JSON and binary tensors become one message; what is wrong is told by its field."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import InvalidArgument
from interlock.protocols.open_inference_pb2 import ModelInferResponse
from interlock_server.rest.answers import render_infer
from interlock_server.rest.body import split
from interlock_server.rest.requests import InferRequest, read_infer

X = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}
RAW = np.array([1.0, 2.0], np.float32).tobytes()


def read(body: Any, binary: bytes = b"", **more: Any) -> InferRequest:
    head = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_infer("m", "stable", split(head + binary, str(len(head)), 1 << 20))


def with_x(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{key: value for key, value in (X | changes).items() if value is not None}]}


def test_json_becomes_a_raw_request() -> None:
    found = read({"id": "7", "inputs": [X], "outputs": [{"name": "y"}], "parameters": {"priority": 1}}).message
    assert (found.model_name, found.model_version, found.id) == ("m", "stable", "7")
    (tensor,) = found.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "FP32", [2])
    assert list(found.raw_input_contents) == [RAW]
    assert [output.name for output in found.outputs] == ["y"]
    assert found.parameters["priority"].int64_param == 1


def test_binary_tensors_are_taken_in_the_order_of_the_inputs_that_claim_them() -> None:
    body = {
        "inputs": [
            {"name": "a", "datatype": "UINT8", "shape": [3], "parameters": {"binary_data_size": 3}},
            X,
            {"name": "b", "datatype": "UINT8", "shape": [0], "parameters": {"binary_data_size": 0}},
            {"name": "c", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": 1, "hint": "h"}},
        ]
    }
    found = read(body, b"abcd").message
    assert list(found.raw_input_contents) == [b"abc", RAW, b"", b"d"]
    assert dict(found.inputs[0].parameters) == {}
    assert found.inputs[3].parameters["hint"].string_param == "h"


def test_an_input_in_shared_memory_has_no_data() -> None:
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    found = read(with_x(data=None, parameters=shared)).message
    assert not found.raw_input_contents
    assert found.inputs[0].parameters["shared_memory_byte_size"].int64_param == 8


def test_parameters_keep_their_kinds() -> None:
    given_ = {"a": True, "b": -3, "c": 2**64 - 1, "d": 1.5, "e": "text"}
    found = read({"inputs": [], "parameters": given_}).message.parameters
    assert {name: found[name].WhichOneof("parameter_choice") for name in given_} == {
        "a": "bool_param",
        "b": "int64_param",
        "c": "uint64_param",
        "d": "double_param",
        "e": "string_param",
    }


@pytest.mark.parametrize(
    ("parameters", "outputs", "expected"),
    [
        ({}, [], {"y": False, "z": False}),
        ({"binary_data_output": True}, [], {"y": True, "z": True}),
        ({"binary_data_output": True}, [{"name": "y", "parameters": {"binary_data": False}}], {"y": False, "z": True}),
        ({}, [{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}], {"y": True, "z": False}),
    ],
)
def test_each_output_has_its_form(parameters: Any, outputs: Any, expected: dict[str, bool]) -> None:
    found = read({"inputs": [], "parameters": parameters, "outputs": outputs})
    assert {name: found.wants_binary(name) for name in expected} == expected
    assert not found.message.parameters and all(not output.parameters for output in found.message.outputs)


def test_an_answer_has_json_and_binary_outputs_side_by_side() -> None:
    asked = read({"inputs": [], "outputs": [{"name": "b", "parameters": {"binary_data": True}}]})
    answer = ModelInferResponse(model_name="m", model_version="3", id="7")
    for name, raw in (("a", b"\x01\x02"), ("b", b"\x03"), ("c", b"")):
        answer.outputs.add(name=name, datatype="UINT8", shape=[len(raw)])
        answer.raw_output_contents.append(raw)
    found = render_infer(answer, asked)
    assert found.json_bytes is not None and found.body[found.json_bytes :] == b"\x03"
    assert json.loads(found.body[: found.json_bytes]) == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "outputs": [
            {"name": "a", "datatype": "UINT8", "shape": [2], "data": [1, 2]},
            {"name": "b", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": 1}},
            {"name": "c", "datatype": "UINT8", "shape": [0], "data": []},
        ],
    }


@pytest.mark.parametrize(
    ("body", "field", "mentioned"),
    [
        (b"", "body", "not JSON"),
        (b"{", "body", "not JSON"),
        (b'{"inputs": [NaN]}', "body", "not JSON"),
        (b'{"inputs": [1e999]}', "body", "not JSON"),
        (b"\xff{}", "body", "not JSON"),
        (b"[" * 5000, "body", "not JSON"),
        ([1], "body", "must be a JSON object"),
        ("text", "body", "must be a JSON object"),
        (None, "body", "null"),
        ({}, "inputs", "missing"),
        ({"inputs": {}}, "inputs", "must be an array"),
        ({"inputs": [1]}, "inputs[0]", "must be a JSON object"),
        ({"inputs": [], "id": 7}, "id", "must be a string"),
        ({"inputs": [], "parameters": []}, "parameters", "must be a JSON object"),
        ({"inputs": [], "parameters": {"a": None}}, "parameters.a", "null"),
        ({"inputs": [], "parameters": {"a": [1]}}, "parameters.a", "[1]"),
        ({"inputs": [], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output", "true or false"),
        ({"inputs": [], "outputs": {}}, "outputs", "must be an array"),
        ({"inputs": [], "outputs": ["y"]}, "outputs[0]", "must be a JSON object"),
        ({"inputs": [], "outputs": [{}]}, "outputs[0].name", "missing"),
        (
            {"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            "outputs[0].parameters.binary_data",
            "true or false",
        ),
        (
            {"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            "outputs[0].parameters.classification",
            "not served",
        ),
        (with_x(name=None), "inputs[0].name", "missing"),
        (with_x(name=1), "inputs[0].name", "must be a string"),
        (with_x(datatype=None), "inputs[0].datatype", "missing"),
        (with_x(datatype="FP33"), "inputs[0].datatype", "FP33"),
        (with_x(datatype="fp32"), "inputs[0].datatype", "fp32"),
        (with_x(shape=None), "inputs[0].shape", "missing"),
        (with_x(shape=2), "inputs[0].shape", "whole numbers"),
        (with_x(shape=[2.0]), "inputs[0].shape", "whole numbers"),
        (with_x(shape=[True]), "inputs[0].shape", "whole numbers"),
        (with_x(shape=[2**64 - 1]), "inputs[0].shape", "whole numbers"),
        (with_x(shape=[-1]), "inputs[x]", "-1"),
        (with_x(data=None), "inputs[0]", "neither data nor"),
        (with_x(parameters={"binary_data_size": 8}), "inputs[0]", "give one of them"),
        (with_x(parameters={"shared_memory_region": "r"}), "inputs[0]", "shared memory"),
        (with_x(data=None, parameters={"binary_data_size": 8}), "inputs[0].parameters.binary_data_size", "0 bytes"),
        (with_x(data=None, parameters={"binary_data_size": -1}), "inputs[0].parameters.binary_data_size", "-1"),
        (with_x(data=None, parameters={"binary_data_size": 2**80}), "inputs[0].parameters.binary_data_size", "e+24"),
        (with_x(data=None, parameters={"binary_data_size": "8"}), "inputs[0].parameters.binary_data_size", "'8'"),
        (with_x(data=None, parameters={"binary_data_size": True}), "inputs[0].parameters.binary_data_size", "True"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(body: Any, field: str, mentioned: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(body)
    assert refused.value.violations[0].field == field
    assert mentioned in refused.value.message


def test_bytes_that_no_input_claims_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="3 bytes follow the JSON, the inputs' binary_data_size claim 2"):
        read(with_x(data=None, datatype="UINT8", parameters={"binary_data_size": 2}), b"abc")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
KEYS = ["name", "datatype", "shape", "data", "parameters", "inputs", "outputs", "binary_data_size"]
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "id", "parameters"]), JSON), st.binary(max_size=4))
def test_whatever_object_comes_is_read_or_refused(body: dict[str, Any], binary: bytes) -> None:
    try:
        head = json.dumps(body).encode()
        found = read_infer("m", "", split(head + binary, str(len(head)), 1 << 20))
    except InvalidArgument as error:
        assert error.violations
        return
    assert len(found.message.raw_input_contents) <= len(found.message.inputs)
