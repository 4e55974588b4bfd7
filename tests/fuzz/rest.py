"""Requests as bodies of the REST form: in JSON and binary data, and damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock.errors import InvalidArgument
from interlock.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from interlock_server.rest.answers import render_infer
from interlock_server.rest.body import split
from interlock_server.rest.requests import InferRequest, read_infer

from tests.request_mutations import Chooser

_MAX_JSON: Final = 1 << 20
_ODD: Final[tuple[object, ...]] = (
    None,
    True,
    -1,
    2**64,
    1e308,
    "",
    "x",
    [],
    [[]],
    {},
    [None],
    {"binary_data_size": -1},
)
_NAMES: Final = ("inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data", "binary_data_output")


@dataclass(frozen=True)
class Body:
    """A body and its header Inference-Header-Content-Length."""

    data: bytes
    header_length: str | None


def written(choose: Chooser, request: ModelInferRequest) -> Body:
    """Write a request's raw tensors as binary data, or all of it in JSON that may be wrong in any place."""
    inputs: list[dict[str, object]] = []
    for index, tensor in enumerate(request.inputs):
        item: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if index < len(request.raw_input_contents):
            item["parameters"] = {"binary_data_size": len(request.raw_input_contents[index])}
        else:
            item["data"] = choose.one(([], [1, 0], [0.5, "NaN"], [["a", "b"]], [True, 2**70], None))
        inputs.append(item)
    body: dict[str, object] = {"inputs": inputs}
    if choose.integer(0, 1):
        body["outputs"] = [{"name": "y", "parameters": {"binary_data": bool(choose.integer(0, 1))}}]
    while not choose.integer(0, 3):
        target = choose.one((body, *inputs)) if inputs else body
        target[choose.one(_NAMES)] = choose.one(_ODD)
    head = json.dumps(body).encode()
    return Body(head + b"".join(request.raw_input_contents), str(len(head)))


def damaged(choose: Chooser, body: Body) -> Body:
    """Return a body with some bytes of it changed, cut or added, and perhaps with another header."""
    data = bytearray(body.data)
    for _ in range(choose.integer(1, 6)):
        at = choose.integer(0, len(data))
        data[at : at + choose.integer(0, 3)] = choose.data(choose.integer(0, 3))
    header = choose.one((body.header_length, body.header_length, "0", "-1", "9" * 30, "\u0661", None))
    return Body(bytes(data), header)


def read(model: str, body: Body) -> InferRequest | None:
    """Read a body as the server does; None where it is refused."""
    try:
        return read_infer(model, "", split(body.data, body.header_length, _MAX_JSON))
    except InvalidArgument:
        return None


def outputs_of(reply: bytes, asked: InferRequest) -> Mapping[str, object]:
    """Return the JSON of an answer as the server renders it."""
    rendered = render_infer(ModelInferResponse.FromString(reply), asked)
    found: Mapping[str, object] = json.loads(rendered.body[: rendered.json_bytes])
    return found
