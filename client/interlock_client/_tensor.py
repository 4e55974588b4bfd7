"""What users pass as a tensor → the array that an input takes. Pure.

An array has to have the input's datatype already: a silent cast would hide a mistake and change numbers. Python lists
and scalars have no datatype, so they are converted, as long as no value changes (beyond rounding a float to the input's
precision).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from interlock.errors import InvalidInput, Violation
from interlock.tensors import bf16_bits, bf16_values
from interlock.types import Array, DType, TensorSpec

_EXACT_INTEGERS: Final = {DType.FP16: 2**11, DType.BF16: 2**8, DType.FP32: 2**24, DType.FP64: 2**53}
"""Up to here a float type holds every integer."""


class _Unfit(Exception):
    """Why a value does not go into a datatype."""


def to_array(spec: TensorSpec, value: object) -> Array:
    """Return a value as the array that an input takes; raises InvalidInput that says how to mend it."""
    try:
        array = _checked(spec, _as_numpy(value)) if _is_array(value) else _converted(spec.dtype, value)
        _check_shape(spec, array.shape)
    except _Unfit as why:
        raise InvalidInput(
            f"input {spec.name!r} expects {_kind(spec.dtype)}, {why}", [Violation(f"inputs[{spec.name}]", str(why))]
        ) from None
    return array


def _kind(dtype: DType) -> str:
    if dtype is DType.BYTES:
        return "BYTES (str or bytes)"
    if dtype is DType.BF16:
        return "BF16 (its bits as numpy uint16)"
    return f"{dtype.value} (numpy {dtype.numpy.name})"


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__")


def _as_numpy(value: object) -> Array:
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray) and np.ma.is_masked(value):
        raise _Unfit("got a masked array with values masked, which has no form on the wire: fill them (`filled`)")
    try:
        return np.asarray(value)  # of subclasses too: their `data` may be something else than a buffer
    except (TypeError, ValueError, RuntimeError) as error:  # what torch tensors on a GPU or with gradients raise
        raise _Unfit(f"got a {type(value).__name__} that numpy cannot read: {error}") from error


def _checked(spec: TensorSpec, array: Array) -> Array:
    dtype = spec.dtype
    if dtype is DType.BYTES:
        if array.dtype.kind in "OSUT":
            return _bytes_array(array)
        raise _Unfit(f"got {array.dtype}")
    if array.dtype.newbyteorder("<") == dtype.numpy:
        return array
    if dtype is DType.BF16:
        if array.dtype.name == "bfloat16":
            return array.view(np.uint16)
        raise _Unfit(f"got {array.dtype}: pass Python floats, an ml_dtypes.bfloat16 array or the bits as uint16")
    hint = "" if array.dtype.kind in "OSUV" else f": convert with {spec.name}.astype(np.{dtype.numpy.name})"
    raise _Unfit(f"got {array.dtype}{hint}")


def _bytes_array(array: Array) -> Array:
    items = np.empty(array.size, dtype=object)
    items[:] = [_bytes(item) for item in array.ravel().tolist()]
    return items.reshape(array.shape)


def _bytes(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        raise _Unfit(f"got {item!r:.80} of type {type(item).__name__} in it")
    try:
        return item.encode()
    except UnicodeEncodeError as error:
        raise _Unfit(f"got text that is not valid Unicode: {error.reason}") from error


def _converted(dtype: DType, value: object) -> Array:
    if dtype is DType.BYTES:
        return _bytes_array(_objects(value))
    try:
        probe = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        probe = _objects(value)
    if probe.size == 0 and probe.dtype.kind in "fO":  # [] has no type of its own
        return np.empty(probe.shape, dtype=dtype.numpy)
    fast = _cast_whole(dtype, probe)
    if fast is not None:
        return fast
    objects = _objects(value)
    flat = [_element(dtype, item) for item in objects.ravel().tolist()]
    carrier = np.dtype(np.float32) if dtype is DType.BF16 else dtype.numpy
    array = np.array(flat, dtype=carrier).reshape(objects.shape)
    return bf16_bits(array) if dtype is DType.BF16 else array


def _objects(value: object) -> Array:
    try:
        return np.asarray(value, dtype=object)
    except ValueError as error:
        raise _Unfit("got nested lists of unequal lengths") from error


def _cast_whole(dtype: DType, probe: Array) -> Array | None:
    """Cast in one go where it is plain that no value changes; None sends the elements one by one."""
    kind, target = probe.dtype.kind, dtype.numpy
    if kind == "b":
        return probe if dtype is DType.BOOL else None
    if kind not in "iuf" or dtype is DType.BOOL:
        return None
    if dtype in _EXACT_INTEGERS:
        finite = probe[np.isfinite(probe)]
        if finite.size and max(-int(finite.min()), int(finite.max())) >= _EXACT_INTEGERS[dtype]:
            return None  # numpy may have made floats of integers already: look at what was given
        with np.errstate(over="ignore"):
            stored = bf16_bits(probe) if dtype is DType.BF16 else probe.astype(target)
        infinite = (stored.astype(np.int64) & 0x7FFF) == 0x7F80 if dtype is DType.BF16 else np.isinf(stored)
        return stored if np.array_equal(infinite, np.isinf(probe)) else None
    lowest, highest = _range(target)
    if kind == "f" or int(probe.min()) < lowest or int(probe.max()) > highest:
        return None
    return probe.astype(target)


def _element(dtype: DType, item: object) -> bool | int | float:
    shown = f"{item!r:.80}"
    if isinstance(item, list | tuple):
        raise _Unfit("got nested lists of unequal lengths")
    if dtype is DType.BOOL:
        if isinstance(item, bool | np.bool_):
            return bool(item)
        raise _Unfit(f"got {shown}: use True and False")
    if isinstance(item, bool | np.bool_) or not isinstance(item, int | float | np.integer | np.floating):
        raise _Unfit(f"got {shown} of type {type(item).__name__}")
    if dtype in _EXACT_INTEGERS:
        return _float_element(dtype, item, shown)
    if isinstance(item, float | np.floating) and not float(item).is_integer():
        raise _Unfit(f"got {shown}, which is not a whole number")
    whole, (lowest, highest) = int(item), _range(dtype.numpy)
    if not lowest <= whole <= highest:
        raise _Unfit(f"got {shown}, which is not between {lowest} and {highest}")
    return whole


def _range(target: np.dtype[np.generic]) -> tuple[int, int]:
    info = np.iinfo(target.name)
    return int(info.min), int(info.max)


def _float_element(dtype: DType, item: int | float | np.integer | np.floating, shown: str) -> float:
    try:
        number = float(item)
    except OverflowError:
        number = float("inf")
    with np.errstate(over="ignore"):
        if dtype is DType.BF16:
            bits = bf16_bits(np.array(number, dtype=np.float32))
            stored = float(bf16_values(bits))
        else:
            stored = float(np.array(number, dtype=dtype.numpy))
    whole = isinstance(item, int | np.integer)
    if np.isinf(stored) and (whole or not np.isinf(number)):
        raise _Unfit(f"got {shown}, which is too large for it")
    if whole and int(stored) != int(item):
        raise _Unfit(f"got {shown}, which it cannot hold exactly: pass a float if rounding is fine")
    return number


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if len(shape) != len(spec.shape):
        hint = f"; a batch of one is {spec.name}[np.newaxis]" if len(shape) + 1 == len(spec.shape) else ""
        raise _Unfit(f"shape {_dims(spec)} (rank {len(spec.shape)}), got shape {list(shape)} (rank {len(shape)}){hint}")
    for axis, (wanted, size) in enumerate(zip(spec.shape, shape, strict=True)):
        if isinstance(wanted, int) and wanted != size:
            raise _Unfit(f"shape {_dims(spec)}, got {list(shape)}: dimension {axis} must be {wanted}")


def _dims(spec: TensorSpec) -> str:
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in spec.shape) + "]"
