"""The tensor codec: numpy arrays ↔ the Open Inference Protocol's raw bytes and typed contents.

Raw: row-major, little-endian, no padding; BYTES elements are a 4-byte little-endian length and the bytes.
Arithmetic on shapes is done in Python integers, which do not wrap.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from interlock.errors import InvalidInput, Violation
from interlock.protocols.open_inference_pb2 import InferTensorContents
from interlock.types import Array, DType

Buffer = bytes | memoryview
"""A tensor's raw bytes."""

MAX_RANK: Final = 16
_PIECE: Final = 1 << 14
"""Typed values that are converted at a time: one call over millions of them would keep every other thread waiting."""
_MAX_EXTENT: Final = 1 << 48
"""Product of a shape's sizes, not counting zeros: far above what fits into memory, far below where numpy overflows."""

TYPED_FIELD: Final[dict[DType, str]] = {
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
"""Where each datatype's typed contents go; FP16 and BF16 have none and travel raw only."""


def _refuse(name: str, what: str) -> InvalidInput:
    return InvalidInput(f"input {name!r}: {what}", [Violation(f"inputs[{name}]", what)])


def element_count(name: str, shape: Sequence[int]) -> int:
    """Return the number of elements of a shape; raises InvalidInput for negative sizes, absurd ranks and extents."""
    if len(shape) > MAX_RANK:
        raise _refuse(name, f"rank {len(shape)} is over the limit of {MAX_RANK}")
    for axis, size in enumerate(shape):
        if size < 0:
            raise _refuse(name, f"dimension {axis} is {size}; a request's sizes are 0 or more")
    if math.prod(size or 1 for size in shape) > _MAX_EXTENT:
        raise _refuse(name, f"shape {list(shape)} is absurdly large")
    return math.prod(shape)


def raw_count(name: str, dtype: DType, shape: Sequence[int], size: int) -> int:
    """Return how many elements a shape has; raises InvalidInput where so many raw bytes cannot be theirs."""
    count = element_count(name, shape)
    if dtype is DType.BYTES:
        if count > size // 4:  # before anything of the claimed size is made
            raise _refuse(name, f"{size} raw bytes cannot hold {count} BYTES elements")
        return count
    expected = count * dtype.numpy.itemsize
    if size != expected:
        raise _refuse(name, f"{size} raw bytes do not match {dtype.value}{list(shape)}, which takes {expected}")
    return count


def decode_raw(name: str, dtype: DType, shape: Sequence[int], raw: Buffer) -> Array:
    """Return the array that raw bytes hold, without a copy where the datatype allows; raises InvalidInput.

    It need not begin where its datatype belongs in memory (`Array.flags.aligned`): a view into a message rarely does.
    """
    count = raw_count(name, dtype, shape, len(raw))
    if dtype is DType.BYTES:
        return _decode_bytes(name, shape, count, raw)
    if dtype is DType.BOOL and count and np.frombuffer(raw, np.uint8).max() > 1:
        raise _refuse(name, "BOOL bytes must be 0 or 1")
    return np.frombuffer(raw, dtype=dtype.numpy).reshape(shape)


def _decode_bytes(name: str, shape: Sequence[int], count: int, raw: Buffer) -> Array:
    items: list[bytes] = []
    position = 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise _refuse(name, f"BYTES element {len(items)} is cut off inside its length")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise _refuse(name, f"BYTES element {len(items)} claims {length} bytes, {len(raw) - position} are left")
        items.append(bytes(raw[position : position + length]))
        position += length
    if len(items) != count:
        raise _refuse(name, f"{len(items)} BYTES elements do not fill shape {list(shape)}, which takes {count}")
    return _objects(items, shape)


def _objects(items: Sequence[bytes], shape: Sequence[int]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def raw_buffer(array: Array, dtype: DType) -> Buffer:
    """Return an array's elements as raw bytes, without a copy where they lie in memory as they travel."""
    if dtype is DType.BYTES or array.dtype != dtype.numpy or not array.flags.c_contiguous:
        return encode_raw(array, dtype)
    return array.data


def encode_raw(array: Array, dtype: DType) -> bytes:
    """Return an array's elements as raw bytes; BYTES arrays may hold `bytes` or `str` (as UTF-8)."""
    if dtype is DType.BYTES:
        parts: list[bytes] = []
        for item in array.ravel().tolist():
            data = item if isinstance(item, bytes) else str(item).encode()
            parts.append(struct.pack("<I", len(data)))
            parts.append(data)
        return b"".join(parts)
    return array.astype(dtype.numpy, order="C", copy=False).tobytes()


def decode_typed(name: str, dtype: DType, shape: Sequence[int], contents: InferTensorContents) -> Array:
    """Return the array that typed contents hold; raises InvalidInput."""
    field = TYPED_FIELD.get(dtype)
    if field is None:
        raise _refuse(name, f"{dtype.value} has no typed form; send raw_input_contents")
    for descriptor, _ in contents.ListFields():
        if descriptor.name != field:
            raise _refuse(name, f"{dtype.value} goes into {field}, not {descriptor.name}")
    values = getattr(contents, field)
    count = element_count(name, shape)
    if len(values) != count:
        raise _refuse(name, f"{len(values)} values in {field} do not fill shape {list(shape)}, which takes {count}")
    if dtype is DType.BYTES:
        return _objects([item for start in range(0, count, _PIECE) for item in values[start : start + _PIECE]], shape)
    wide = np.empty(count, dtype={"int_contents": np.int32, "uint_contents": np.uint32}.get(field, dtype.numpy))
    for start in range(0, count, _PIECE):
        wide[start : start + _PIECE] = values[start : start + _PIECE]
    array = wide.astype(dtype.numpy)
    if field in ("int_contents", "uint_contents") and not np.array_equal(array, wide):
        bad = int(wide[np.nonzero(array != wide)[0][0]])
        raise _refuse(name, f"value {bad} does not fit {dtype.value}")
    return array.reshape(shape)


def encode_typed(array: Array, dtype: DType) -> InferTensorContents:
    """Return an array as typed contents; only for datatypes in TYPED_FIELD."""
    contents = InferTensorContents()
    field = getattr(contents, TYPED_FIELD[dtype])
    flat = array.ravel()
    for start in range(0, flat.size, _PIECE):
        values = flat[start : start + _PIECE].tolist()
        if dtype is DType.BYTES:
            values = [item if isinstance(item, bytes) else str(item).encode() for item in values]
        field.extend(values)
    return contents


def bf16_bits(array: Array) -> Array:
    """Round floats to bfloat16, to the nearest and ties to even, as bits in uint16; NaN stays NaN."""
    wide = array.astype(np.float32).view(np.uint32)
    rounded = (wide.astype(np.uint64) + 0x7FFF + ((wide >> 16) & 1)) >> 16
    return np.where(np.isnan(array), np.uint64(0x7FC0), rounded).astype(np.uint16)


def bf16_values(bits: Array) -> Array:
    """Return bfloat16 bits as the float32 values that they are."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
