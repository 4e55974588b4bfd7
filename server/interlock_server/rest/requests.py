"""An inference request's JSON and binary tensors → inference.ModelInferRequest with raw contents. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from interlock.errors import InvalidArgument
from interlock.protocols.open_inference_pb2 import InferParameter, ModelInferRequest
from interlock.tensors import encode_raw
from interlock.types import DType

from interlock_server.rest.body import Parts, invalid
from interlock_server.rest.values import to_array

_DTYPES: Final = {dtype.value: dtype for dtype in DType}
_BINARY_SIZE: Final = "binary_data_size"
_BINARY: Final = "binary_data"
_ALL_BINARY: Final = "binary_data_output"
_CLASSES: Final = "classification"
_SHARED: Final = "shared_memory_region"
_MAX_INT64: Final = 2**63 - 1
_MAX_UINT64: Final = 2**64 - 1

Object = Mapping[str, object]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What was asked, and in which form the answer is wanted."""

    message: ModelInferRequest
    all_binary: bool
    """Of the outputs that say nothing themselves."""
    binary: Mapping[str, bool]
    """By output that says so itself."""

    def wants_binary(self, output: str) -> bool:
        """Whether an output goes back as binary data."""
        return self.binary.get(output, self.all_binary)


def read_infer(model: str, version: str, parts: Parts) -> InferRequest:
    """Read a request; raises InvalidArgument that names the field that is wrong."""
    body = read_object(parts.json)
    message = ModelInferRequest(model_name=model, model_version=version, id=_text(body, "id", "id", ""))
    parameters = _parameters(body, "parameters")
    all_binary = _flag(parameters.pop(_ALL_BINARY, False), f"parameters.{_ALL_BINARY}")
    _set_parameters(message.parameters, parameters, "parameters")
    used = 0
    for index, item in enumerate(_list(body, "inputs", required=True)):
        used = _read_input(message, item, f"inputs[{index}]", parts.binary, used)
    if used != len(parts.binary):
        raise invalid(
            "body", f"{len(parts.binary)} bytes follow the JSON, the inputs' {_BINARY_SIZE} claim {used} of them"
        )
    binary: dict[str, bool] = {}
    for index, item in enumerate(_list(body, "outputs")):
        _read_output(message, item, f"outputs[{index}]", binary)
    return InferRequest(message, all_binary, binary)


def read_object(data: memoryview) -> Object:
    """Read a body that must be a JSON object; raises InvalidArgument."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"the body is not JSON: {error}") from error
    return _object(body, "body")


def read_optional_object(data: memoryview) -> Object:
    """Read a body that is a JSON object or empty, which is an object without members; raises InvalidArgument."""
    return read_object(data) if data else {}


def _read_input(message: ModelInferRequest, item: object, where: str, binary: memoryview, used: int) -> int:
    """Append one input and return how many binary bytes are used up after it."""
    given = _object(item, where)
    name = _text(given, "name", f"{where}.name")
    datatype = _text(given, "datatype", f"{where}.datatype")
    shape = _shape(given, f"{where}.shape")
    tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
    parameters = _parameters(given, f"{where}.parameters")
    size = parameters.pop(_BINARY_SIZE, None)
    _set_parameters(tensor.parameters, parameters, f"{where}.parameters")
    if _SHARED in parameters:
        if size is not None or "data" in given:
            raise invalid(where, f"input {name!r} is in shared memory and has data besides")
        return used
    if size is None:
        if "data" not in given:
            raise invalid(where, f"input {name!r} has neither data nor parameters.{_BINARY_SIZE}")
        dtype = _DTYPES.get(datatype)
        if dtype is None:
            raise invalid(
                f"{where}.datatype", f"input {name!r} has datatype {datatype!r}; known are {', '.join(_DTYPES)}"
            )
        message.raw_input_contents.append(encode_raw(to_array(name, dtype, shape, given["data"]), dtype))
        return used
    if "data" in given:
        raise invalid(where, f"input {name!r} has data and parameters.{_BINARY_SIZE}: give one of them")
    if type(size) is not int or not 0 <= size <= len(binary) - used:
        raise invalid(
            f"{where}.parameters.{_BINARY_SIZE}",
            f"input {name!r} has {_BINARY_SIZE} {size!r}, and {len(binary) - used} bytes of binary data are left",
        )
    message.raw_input_contents.append(bytes(binary[used : used + size]))
    return used + size


def _read_output(message: ModelInferRequest, item: object, where: str, binary: dict[str, bool]) -> None:
    given = _object(item, where)
    name = _text(given, "name", f"{where}.name")
    parameters = _parameters(given, f"{where}.parameters")
    if _BINARY in parameters:
        binary[name] = _flag(parameters.pop(_BINARY), f"{where}.parameters.{_BINARY}")
    if parameters.pop(_CLASSES, 0) != 0:
        raise invalid(
            f"{where}.parameters.{_CLASSES}", "the classification extension is not served: ask for the tensor itself"
        )
    _set_parameters(message.outputs.add(name=name).parameters, parameters, f"{where}.parameters")


def _object(value: object, where: str) -> Object:
    if not isinstance(value, dict):
        raise invalid(where, f"{where} is {_shown(value)}; it must be a JSON object")
    return value


def _text(given: Object, key: str, where: str, default: str | None = None) -> str:
    value = given.get(key, default)
    if not isinstance(value, str):
        raise invalid(where, f"{where} is {'missing' if key not in given else _shown(value)}; it must be a string")
    return value


def _list(given: Object, key: str, *, required: bool = False) -> list[object]:
    value = given.get(key, None if required else [])
    if not isinstance(value, list):
        raise invalid(key, f"{key} is {'missing' if key not in given else _shown(value)}; it must be an array")
    return value


def _shape(given: Object, where: str) -> list[int]:
    value = given.get("shape")
    if not isinstance(value, list) or any(
        type(size) is not int or not -_MAX_INT64 <= size <= _MAX_INT64 for size in value
    ):
        found = "missing" if "shape" not in given else _shown(value)
        raise invalid(where, f"{where} is {found}; it must be an array of whole numbers")
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(where, f"{where} is {_shown(value)}; it must be true or false")
    return value


def _parameters(given: Object, where: str) -> dict[str, object]:
    return dict(_object(given.get("parameters", {}), where))


def _set_parameters(target: Mapping[str, InferParameter], parameters: Object, where: str) -> None:
    for name, value in parameters.items():
        parameter = target[name]  # a protobuf map makes what is asked for
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, str):
            parameter.string_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        elif isinstance(value, int) and -_MAX_INT64 - 1 <= value <= _MAX_INT64:
            parameter.int64_param = value
        elif isinstance(value, int) and 0 < value <= _MAX_UINT64:
            parameter.uint64_param = value
        else:
            raise _bad_parameter(f"{where}.{name}", value)


def _bad_parameter(where: str, value: object) -> InvalidArgument:
    return invalid(where, f"{where} is {_shown(value)}; a parameter is a boolean, a number or a string")


def _shown(value: object) -> str:
    """Return JSON as it was sent, cut short."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
