"""What a request's inputs mean, decided by the protocol's rules alone: slow, plain, and written apart from the server.

It reads values by `struct` one at a time and shares no code with the decoder under test.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.types import DType, Signature, TensorSpec

_FORMAT: Final[Mapping[DType, str]] = {
    DType.BOOL: "<?",
    DType.INT8: "<b",
    DType.INT16: "<h",
    DType.INT32: "<i",
    DType.INT64: "<q",
    DType.UINT8: "<B",
    DType.UINT16: "<H",
    DType.UINT32: "<I",
    DType.UINT64: "<Q",
    DType.FP16: "<e",
    DType.BF16: "<H",
    DType.FP32: "<f",
    DType.FP64: "<d",
}
_FIELD: Final[Mapping[DType, str]] = {
    DType.BOOL: "bool_contents",
    DType.INT8: "int_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.UINT8: "uint_contents",
    DType.UINT16: "uint_contents",
    DType.UINT32: "uint_contents",
    DType.UINT64: "uint64_contents",
    DType.FP32: "fp32_contents",
    DType.FP64: "fp64_contents",
    DType.BYTES: "bytes_contents",
}
FIELDS: Final = tuple(dict.fromkeys(_FIELD.values()))


class NotValid(Exception):
    """The request breaks a rule."""


@dataclass(frozen=True)
class Decoded:
    """One input: its shape and its elements, each as the bytes that it has in raw form."""

    shape: tuple[int, ...]
    elements: tuple[bytes, ...]


def decode(request: ModelInferRequest, signature: Signature) -> Mapping[str, Decoded]:
    """Return every input by name; raises NotValid."""
    names = [tensor.name for tensor in request.inputs]
    _rule(len(set(names)) == len(names), "an input is given once")
    _rule(set(names) == {spec.name for spec in signature.inputs}, "all inputs, and no others")
    raw = list(request.raw_input_contents)
    if raw:
        _rule(not any(tensor.contents.ByteSize() for tensor in request.inputs), "raw or typed, never both")
        _rule(len(raw) == len(names), "one raw entry for each input")
    found: dict[str, Decoded] = {}
    symbols: dict[str, int] = {}
    for index, tensor in enumerate(request.inputs):
        spec = next(spec for spec in signature.inputs if spec.name == tensor.name)
        _rule(tensor.datatype == spec.dtype.value, "the signature's datatype")
        _shape(tensor.shape, spec, symbols)
        elements = _raw(spec.dtype, raw[index]) if raw else _typed(spec.dtype, tensor)
        _rule(len(elements) == _count(tensor.shape), "as many elements as the shape has")
        found[tensor.name] = Decoded(tuple(tensor.shape), tuple(elements))
    return found


def _rule(holds: bool, rule: str) -> None:
    if not holds:
        raise NotValid(rule)


def _shape(shape: Sequence[int], spec: TensorSpec, symbols: dict[str, int]) -> None:
    _rule(len(shape) == len(spec.shape), "the signature's rank")
    for size, expected in zip(shape, spec.shape, strict=True):
        _rule(size >= 0, "no negative sizes")
        if isinstance(expected, int):
            _rule(size == expected, "fixed sizes are kept")
        elif isinstance(expected, str):
            _rule(symbols.setdefault(expected, size) == size, "equal symbols are equal sizes")
    extent = 1
    for size in shape:
        extent *= size or 1
    _rule(extent <= 1 << 48, "no absurd sizes, be one of them zero")


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _raw(dtype: DType, data: bytes) -> list[bytes]:
    if dtype is DType.BYTES:
        return _strings(data)
    size = struct.calcsize(_FORMAT[dtype])
    _rule(len(data) % size == 0, "whole elements")
    elements = [data[start : start + size] for start in range(0, len(data), size)]
    if dtype is DType.BOOL:
        _rule(all(element in (b"\0", b"\1") for element in elements), "a bool is 0 or 1")
    return elements


def _strings(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    while data:
        _rule(len(data) >= 4, "a whole length")
        length = int.from_bytes(data[:4], "little")
        _rule(len(data) >= 4 + length, "as many bytes as the length says")
        found.append(_text(data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def _text(data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotValid("strings are UTF-8") from None
    return data


def _typed(dtype: DType, tensor: ModelInferRequest.InferInputTensor) -> list[bytes]:
    _rule(dtype in _FIELD, "16-bit floats travel raw")
    for field in FIELDS:
        if field != _FIELD[dtype]:
            _rule(len(getattr(tensor.contents, field)) == 0, "values only in the datatype's field")
    values = list(getattr(tensor.contents, _FIELD[dtype]))
    if dtype is DType.BYTES:
        return [_text(value) for value in values]
    try:
        return [struct.pack(_FORMAT[dtype], value) for value in values]
    except struct.error:
        raise NotValid("values within the datatype's range") from None
