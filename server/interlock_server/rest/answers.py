"""The workers' messages → JSON, and tensors as JSON values or binary data. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from interlock.errors import InternalError
from interlock.protocols.open_inference_pb2 import InferParameter, ModelInferResponse
from interlock.tensors import decode_raw
from interlock.types import DType

from interlock_server.rest.requests import InferRequest
from interlock_server.rest.values import to_json


@dataclass(frozen=True, slots=True)
class Rendered:
    """An inference answer's body."""

    body: bytes
    json_bytes: int | None
    """How much of it is JSON; None where all is."""


def render_infer(response: ModelInferResponse, request: InferRequest) -> Rendered:
    """Write an answer in the form that the request wants for each output."""
    if len(response.raw_output_contents) != len(response.outputs):
        raise InternalError("a worker answered a raw request with typed contents")
    binary: list[bytes] = []
    outputs: list[Mapping[str, object]] = []
    for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        output: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        parameters = _parameters(tensor.parameters)
        if "shared_memory_region" in parameters:
            pass  # the caller finds it there
        elif request.wants_binary(tensor.name):
            parameters["binary_data_size"] = len(raw)
            binary.append(raw)
        else:
            dtype = DType(tensor.datatype)
            output["data"] = to_json(dtype, decode_raw(tensor.name, dtype, tensor.shape, raw))
        if parameters:
            output["parameters"] = parameters
        outputs.append(output)
    head: dict[str, object] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        head["id"] = response.id
    if response.parameters:
        head["parameters"] = _parameters(response.parameters)
    json = orjson.dumps({**head, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Rendered(b"".join([json, *binary]), len(json) if binary else None)


def _parameters(given: Mapping[str, InferParameter]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, parameter in given.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


def plain(message: Message) -> dict[str, object]:
    """Return a message as JSON by the names of its .proto file, with its defaults, and 64-bit numbers as numbers.

    Of fields that tell absence from a default (messages, members of a oneof), absent ones are left out.
    """
    present = {field.name for field, _ in message.ListFields()}
    return {
        field.name: _field(cast("FieldDescriptor", field), getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.name in present or not field.has_presence
    }


def _field(field: FieldDescriptor, value: object) -> object:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        assert isinstance(value, Mapping)
        inner = entry.fields_by_name["value"]
        return {str(key): _value(inner, item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_value(field, item) for item in value]
    return _value(field, value)


def _value(field: FieldDescriptor, value: object) -> object:
    if isinstance(value, Message):
        return plain(value)
    if field.enum_type is not None and isinstance(value, int):
        return field.enum_type.values_by_number[value].name
    return value
