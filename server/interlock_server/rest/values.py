"""JSON values ↔ arrays. Pure.

JSON has numbers, but no datatypes, and no NaN or infinity: those are the strings "NaN", "Infinity" and "-Infinity", as
in protobuf's JSON. FP16 and BF16 are numbers too, rounded to the nearest. BYTES are strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np
from interlock.errors import InvalidInput, Violation
from interlock.tensors import bf16_bits, bf16_values, element_count
from interlock.types import Array, DType

_FLOATS: Final = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_EXACT: Final = 2**53
"""Up to here a number with a decimal point or an exponent is the integer that it looks like."""


def to_array(name: str, dtype: DType, shape: Sequence[int], data: object) -> Array:
    """Return the array that `data` holds, flat in row-major order or nested as the shape says; raises InvalidInput."""
    count = element_count(name, shape)
    flat = _flat(name, shape, data)
    if len(flat) != count:
        raise wrong_data(name, f"{len(flat)} values do not fill shape {list(shape)}, which takes {count}")
    if dtype is DType.BYTES:
        return _strings(name, flat).reshape(shape)
    if dtype is DType.BOOL:
        return _booleans(name, flat).reshape(shape)
    return (_floats(name, dtype, flat) if dtype in _FLOATS else _integers(name, dtype, flat)).reshape(shape)


def wrong_data(name: str, what: str, index: int | None = None) -> InvalidInput:
    """Say what is wrong with an input's data."""
    where = f"inputs[{name}].data" + ("" if index is None else f"[{index}]")
    return InvalidInput(f"input {name!r}: {what}", [Violation(where, what)])


def _flat(name: str, shape: Sequence[int], data: object) -> list[object]:
    if not shape and not isinstance(data, list):
        return [data]
    if not isinstance(data, list):
        raise wrong_data(name, f"data is {_kind(data)}; it must be an array")
    if not any(type(item) is list for item in data):
        return data
    for axis, size in enumerate(shape[1:], 1):
        for index, item in enumerate(data):
            if not isinstance(item, list) or len(item) != size:
                what = str(len(item)) if isinstance(item, list) else f"none: it is {_kind(item)}"
                raise wrong_data(name, f"an array in dimension {axis} must have {size} items, one has {what}", index)
        data = list(chain.from_iterable(data))
    return data


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), f"the number {value!r}")


def _first(flat: Sequence[object], *wanted: type) -> int | None:
    """Return where the first value is of none of these types."""
    if set(map(type, flat)) <= set(wanted):
        return None
    return next(index for index, item in enumerate(flat) if type(item) not in wanted)


def _strings(name: str, flat: Sequence[object]) -> Array:
    bad = _first(flat, str)
    if bad is not None:
        raise wrong_data(name, f"value {bad} is {_kind(flat[bad])}; BYTES takes strings", bad)
    items = np.empty(len(flat), dtype=object)
    items[:] = [str(item).encode() for item in flat]
    return items


def _booleans(name: str, flat: Sequence[object]) -> Array:
    bad = _first(flat, bool, int)
    if bad is None:
        bad = next((index for index, item in enumerate(flat) if item not in (0, 1)), None)
    if bad is not None:
        raise wrong_data(name, f"value {bad} is {_kind(flat[bad])}; BOOL takes true and false (or 1 and 0)", bad)
    return np.array(flat, dtype=np.bool_)


def _integers(name: str, dtype: DType, flat: list[object]) -> Array:
    bad = _first(flat, int, float)
    if bad is not None:
        raise wrong_data(name, f"value {bad} is {_kind(flat[bad])}; {dtype.value} takes whole numbers", bad)
    numbers = [_whole(name, dtype, index, item) if type(item) is float else item for index, item in enumerate(flat)]
    whole: list[int] = numbers  # type: ignore[assignment]  # _first has seen to it
    info = np.iinfo(dtype.numpy.name)
    low, high = int(info.min), int(info.max)
    if whole and not low <= min(whole) <= max(whole) <= high:
        bad = next(index for index, item in enumerate(whole) if not low <= item <= high)
        raise wrong_data(name, f"value {bad} is {whole[bad]}, which is not between {low} and {high}", bad)
    return np.array(whole, dtype=dtype.numpy)


def _whole(name: str, dtype: DType, index: int, item: float) -> int:
    if not item.is_integer() or abs(item) > _EXACT:
        raise wrong_data(name, f"value {index} is {item!r}; {dtype.value} takes whole numbers in its range", index)
    return int(item)


def _floats(name: str, dtype: DType, flat: list[object]) -> Array:
    bad = _first(flat, int, float)
    if bad is not None:
        flat = [_float(name, dtype, index, item) for index, item in enumerate(flat)]
    wide = np.array(flat, dtype=np.float64)
    if dtype is DType.FP64:
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32 if dtype is DType.BF16 else dtype.numpy)
    bits = bf16_bits(narrow) if dtype is DType.BF16 else None
    stored = narrow if bits is None else bf16_values(bits)
    over = np.isinf(stored) & ~np.isinf(wide)
    if over.any():
        bad = int(np.argmax(over))
        raise wrong_data(name, f"value {bad} is {flat[bad]!r}, which is too large for {dtype.value}", bad)
    return narrow if bits is None else bits


def _float(name: str, dtype: DType, index: int, item: object) -> object:
    if type(item) in (int, float):
        return item
    number = _NOT_FINITE.get(item) if isinstance(item, str) else None
    if number is None:
        allowed = ", ".join(map(repr, _NOT_FINITE))
        raise wrong_data(name, f"value {index} is {_kind(item)}; {dtype.value} takes numbers, {allowed}", index)
    return number


def to_json(dtype: DType, array: Array) -> object:
    """Return what orjson (with OPT_SERIALIZE_NUMPY) writes an array as: its values, flat in row-major order."""
    flat = array.reshape(-1)
    if dtype is DType.BYTES:
        return [item.decode() if isinstance(item, bytes) else str(item) for item in flat.tolist()]
    if dtype is DType.BF16:
        flat = bf16_values(flat)
    if dtype not in _FLOATS or np.isfinite(flat).all():
        return np.ascontiguousarray(flat)
    # The shortest text of a number depends on its precision: orjson knows it for arrays, not for Python's floats.
    texts = flat.astype(str).tolist()
    named = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [named.get(text) or float(text) for text in texts]
