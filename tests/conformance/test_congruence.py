"""One question, asked in every form that the server speaks, has one answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np
import orjson
import pytest
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock.tensors import TYPED_FIELD, bf16_values, decode_typed, encode_raw
from interlock.types import Array, DType
from interlock_server.rest.values import to_array

from tests.conformance import requests
from tests.conformance.test_tensors import example
from tests.server import Server


@dataclass(frozen=True)
class Output:
    """One output, whichever way it came."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


@dataclass(frozen=True)
class Ports:
    """Both ways in."""

    stub: GRPCInferenceServiceStub
    http: httpx.Client


Inputs = Mapping[str, tuple[DType, Array]]
Form = Callable[[Ports, str, str, Inputs], "list[Output] | None"]
"""Asks, and returns None where the form cannot carry the inputs."""


def grpc_raw(ports: Ports, model: str, version: str, inputs: Inputs) -> list[Output] | None:
    return _outputs(ports.stub.ModelInfer(requests.raw(model, inputs, version=version), timeout=60))


def grpc_typed(ports: Ports, model: str, version: str, inputs: Inputs) -> list[Output] | None:
    if any(dtype not in TYPED_FIELD for dtype, _ in inputs.values()):
        return None
    request = requests.typed(model, inputs)
    request.model_version = version
    return _outputs(ports.stub.ModelInfer(request, timeout=60))


def grpc_stream(ports: Ports, model: str, version: str, inputs: Inputs) -> list[Output] | None:
    (reply,) = ports.stub.ModelStreamInfer(iter([requests.raw(model, inputs, version=version)]), timeout=60)
    assert not reply.error_message
    return _outputs(reply.infer_response)


def _outputs(reply: pb.ModelInferResponse) -> list[Output]:
    found = []
    for index, tensor in enumerate(reply.outputs):
        dtype, shape = DType(tensor.datatype), tuple(tensor.shape)
        if reply.raw_output_contents:
            raw = reply.raw_output_contents[index]
        else:
            raw = encode_raw(decode_typed(tensor.name, dtype, shape, tensor.contents), dtype)
        found.append(Output(tensor.name, tensor.datatype, shape, raw))
    return found


def rest_json(ports: Ports, model: str, version: str, inputs: Inputs) -> list[Output] | None:
    asked = [
        {"name": name, "datatype": dtype.value, "shape": list(array.shape), "data": _values(dtype, array)}
        for name, (dtype, array) in inputs.items()
    ]
    answer = _post(ports, model, version, json.dumps({"inputs": asked}).encode())
    return [
        Output(
            output["name"],
            output["datatype"],
            tuple(output["shape"]),
            encode_raw(
                to_array(output["name"], DType(output["datatype"]), output["shape"], output["data"]),
                DType(output["datatype"]),
            ),
        )
        for output in orjson.loads(answer.content)["outputs"]
    ]


def _values(dtype: DType, array: Array) -> Any:
    """Return nested lists, by other means than the server's."""
    if dtype is DType.BYTES:
        return np.vectorize(bytes.decode, otypes=[object])(array).tolist()
    values = bf16_values(array) if dtype is DType.BF16 else array
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return values.tolist()
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [words.get(str(value), value) for value in values.ravel().tolist()]


def rest_binary(ports: Ports, model: str, version: str, inputs: Inputs) -> list[Output] | None:
    raws = [encode_raw(array, dtype) for dtype, array in inputs.values()]
    asked = [
        {
            "name": name,
            "datatype": dtype.value,
            "shape": list(array.shape),
            "parameters": {"binary_data_size": len(raw)},
        }
        for (name, (dtype, array)), raw in zip(inputs.items(), raws, strict=True)
    ]
    head = json.dumps({"inputs": asked, "parameters": {"binary_data_output": True}}).encode()
    answer = _post(ports, model, version, head + b"".join(raws), **{"Inference-Header-Content-Length": str(len(head))})
    length = int(answer.headers["Inference-Header-Content-Length"])
    rest, found = answer.content[length:], []
    for output in json.loads(answer.content[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found.append(Output(output["name"], output["datatype"], tuple(output["shape"]), rest[:size]))
        rest = rest[size:]
    assert not rest
    return found


def _post(ports: Ports, model: str, version: str, content: bytes, **headers: str) -> httpx.Response:
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
    answer = ports.http.post(f"{path}/infer", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


FORMS: Final[tuple[Form, ...]] = (grpc_raw, grpc_typed, grpc_stream, rest_json, rest_binary)


@pytest.fixture(scope="module")
def ports(served: Server, stub: GRPCInferenceServiceStub) -> Iterator[Ports]:
    with httpx.Client(base_url=f"http://{served.http}", timeout=60) as http:
        yield Ports(stub, http)


def answers(ports: Ports, model: str, inputs: Inputs, version: str = "") -> dict[str, list[Output]]:
    asked = {form.__name__: form(ports, model, version, inputs) for form in FORMS}
    return {name: found for name, found in asked.items() if found is not None}


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("dtype", list(DType), ids=lambda dtype: dtype.value)
def test_every_datatype_comes_back_the_same_in_every_form(ports: Ports, dtype: DType, rows: int) -> None:
    array = example(dtype, rows)
    found = answers(ports, f"same_{dtype.value.lower()}", {"x": (dtype, array)})
    expected = [Output("y", dtype.value, (rows, 2), encode_raw(array, dtype))]
    assert set(map(tuple, found.values())) == {tuple(expected)}, found
    assert len(found) == len(FORMS) - (dtype not in TYPED_FIELD)


def test_values_that_json_has_no_number_for_are_the_same_too(ports: Ports) -> None:
    array = np.array([[np.inf, -np.inf], [-0.0, 1e-45]], np.float32)
    found = answers(ports, "same_fp32", {"x": (DType.FP32, array)})
    expected = [Output("y", "FP32", (2, 2), array.tobytes())]
    assert set(map(tuple, found.values())) == {tuple(expected)}, found
    found = answers(ports, "same_fp32", {"x": (DType.FP32, np.full((1, 2), np.nan, np.float32))})
    for outputs in found.values():
        assert np.isnan(np.frombuffer(outputs[0].raw, np.float32)).all()


@pytest.mark.parametrize(("version", "scale"), [("", 3.0), ("stable", 3.0), ("2", 3.0), ("1", 2.0), ("canary", 2.0)])
def test_every_form_asks_the_same_version(ports: Ports, version: str, scale: float) -> None:
    x = np.array([[0.1, -7.25]], np.float32)
    found = answers(ports, "m", {"x": (DType.FP32, x)}, version)
    expected = [Output("y", "FP32", (1, 2), (x * np.float32(scale)).tobytes())]
    assert set(map(tuple, found.values())) == {tuple(expected)}, found


def test_several_inputs_and_outputs_keep_their_places(ports: Ports) -> None:
    one = np.ones((2, 2), np.float32)
    found = answers(ports, "pair", {"b": (DType.FP32, one), "a": (DType.FP32, 4 * one)})
    expected = [Output("sum", "FP32", (2, 2), (5 * one).tobytes())]
    expected.append(Output("difference", "FP32", (2, 2), (3 * one).tobytes()))
    assert set(map(tuple, found.values())) == {tuple(expected)}, found


def test_a_scalar_is_the_same_in_every_form(ports: Ports) -> None:
    found = answers(ports, "scalar", {"x": (DType.FP32, np.array(2.5, np.float32))})
    expected = [Output("y", "FP32", (), np.float32(2.5).tobytes())]
    assert set(map(tuple, found.values())) == {tuple(expected)}, found
