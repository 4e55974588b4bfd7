"""Golden samples: inputs with PyTorch's outputs, in an npz without pickle.

Keys `in/<name>/<i>`, `out/<name>/<i>` for sample i, and `meta` (UTF-8 JSON as uint8): datatypes by tensor,
tolerances by provider, environment. BF16 is stored as its bits in uint16; BYTES as uint8 in the protocol's raw form
with the shape in `meta`. A tolerance holds where |a - b| <= atol + rtol * |b|, b being PyTorch's answer.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np

from interlock.errors import InvalidGolden
from interlock.tensors import decode_raw, encode_raw
from interlock.types import Array, DType

FORMAT: Final = 1
MAX_SAMPLES: Final = 10_000
MAX_UNPACKED: Final = 256 * 1024 * 1024
"""Bytes that the arrays of a small file may have; those of a larger one may have twice its size."""
_SMALL: Final = 1 << 20
_HEAD_V1: Final = struct.Struct("<8sH")
_HEAD_V2: Final = struct.Struct("<8sI")
"""What an npy entry begins with, and the length of its description."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may be from PyTorch's: |a - b| <= atol + rtol * |b|."""

    atol: float
    rtol: float


DEFAULT_TOLERANCES: Final[Mapping[str, Tolerance]] = {
    "CPU": Tolerance(atol=1e-5, rtol=1e-3),
    "CUDA": Tolerance(atol=1e-3, rtol=1e-2),
}
"""For FP32; the exporter writes wider ones for narrower datatypes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch of inputs and what the model answered to it, by tensor name."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden samples of a version."""

    samples: Sequence[Sample]
    dtypes: Mapping[str, DType]
    """By `in/<name>` and `out/<name>`."""
    tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: DEFAULT_TOLERANCES)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an answer is from its golden output."""

    output: str
    max_abs: float
    max_rel: float
    within: bool
    why: str


def write(golden: Golden, path: Path) -> None:
    """Write a golden file."""
    arrays: dict[str, Array] = {}
    shapes: dict[str, list[int]] = {}
    for index, sample in enumerate(golden.samples):
        for side, tensors in (("in", sample.inputs), ("out", sample.outputs)):
            for name, array in tensors.items():
                key = f"{side}/{name}/{index}"
                if golden.dtypes[f"{side}/{name}"] is DType.BYTES:
                    shapes[key] = list(array.shape)
                    arrays[key] = np.frombuffer(encode_raw(array, DType.BYTES), dtype=np.uint8)
                else:
                    arrays[key] = array
    meta = {
        "format": FORMAT,
        "samples": len(golden.samples),
        "dtypes": {name: dtype.value for name, dtype in golden.dtypes.items()},
        "shapes": shapes,
        "tolerances": {
            provider: {"atol": tolerance.atol, "rtol": tolerance.rtol}
            for provider, tolerance in golden.tolerances.items()
        },
        "environment": dict(golden.environment),
    }
    arrays["meta"] = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8)
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
            # A fixed date: the same samples give the same bytes.
            archive.writestr(zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0)), buffer.getvalue())


def read(path: Path, *, is_new: bool = False) -> Golden:
    """Read a golden file; raises InvalidGolden with what is wrong and where.

    One that nobody has read before is refused where it would be far larger in memory than it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if is_new:
                _check_unpacked(path, archive)
            arrays = {each.filename.removesuffix(".npy"): _array(archive, each) for each in archive.infolist()}
        meta = json.loads(bytes(arrays.pop("meta").astype(np.uint8)))
        dtypes = {str(name): DType(value) for name, value in meta["dtypes"].items()}
        tolerances = {
            str(provider): Tolerance(atol=float(entry["atol"]), rtol=float(entry["rtol"]))
            for provider, entry in meta["tolerances"].items()
        }
        shapes = {str(key): [int(size) for size in shape] for key, shape in meta.get("shapes", {}).items()}
        environment = {str(key): str(value) for key, value in meta.get("environment", {}).items()}
        count = int(meta["samples"])
    except KeyError as error:
        raise InvalidGolden(f"{path.name} is not a golden file: {error} is missing") from error
    # An encrypted entry is a RuntimeError, one compressed in an unknown way a NotImplementedError, which is one too.
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InvalidGolden(f"{path.name} is not a golden file (an npz without pickle): {error}") from error
    if not 0 < count <= MAX_SAMPLES:
        raise InvalidGolden(f"{path.name} holds {count} samples; between 1 and {MAX_SAMPLES} are needed")
    samples = tuple(_sample(path, index, arrays, dtypes, shapes) for index in range(count))
    if arrays:
        raise InvalidGolden(f"{path.name} holds unknown entries: {', '.join(sorted(arrays)[:5])}")
    return Golden(samples, dtypes, tolerances, environment)


@dataclass(frozen=True, slots=True)
class _Layout:
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[np.generic]


@lru_cache(maxsize=256)
def _layout(header: bytes) -> _Layout:
    """Read the head of an npy entry; raises ValueError. Numpy takes a compiler to it, and samples differ in no size."""
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("an array holds pickled objects")
    return _Layout(shape, "F" if is_fortran else "C", dtype)


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    """Read one entry; raises ValueError. A file of thousands is read while a server serves, so each must be cheap."""
    with archive.open(entry) as stream:
        if entry.file_size > _SMALL:
            return np.lib.format.read_array(stream, allow_pickle=False)  # without all of its bytes beside it
        data = stream.read()
    head = _HEAD_V1 if data[6:7] == b"\x01" else _HEAD_V2
    if len(data) < head.size:
        raise ValueError(f"entry {entry.filename!r} is no array")
    start = head.size + head.unpack_from(data)[1]
    layout = _layout(data[:start])
    flat = np.frombuffer(data, layout.dtype, math.prod(layout.shape), start)
    return flat.reshape(layout.shape, order=layout.order).copy()


def _check_unpacked(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a bomb: whoever loads the version later reads it too, and in a process that has more to lose."""
    size = sum(entry.file_size for entry in archive.infolist())
    limit = max(MAX_UNPACKED, 2 * path.stat().st_size)
    if size > limit:
        raise InvalidGolden(
            f"{path.name} unpacks to {size} bytes, and {limit} are the most for a file of its size; save fewer "
            "samples, or save them without compression"
        )


def _sample(
    path: Path,
    index: int,
    arrays: dict[str, Array],
    dtypes: Mapping[str, DType],
    shapes: Mapping[str, list[int]],
) -> Sample:
    sides: dict[str, dict[str, Array]] = {"in": {}, "out": {}}
    for tensor, dtype in dtypes.items():
        side, _, name = tensor.partition("/")
        key = f"{tensor}/{index}"
        array = arrays.pop(key, None)
        if side not in sides or array is None:
            raise InvalidGolden(f"{path.name}: entry {key!r} is missing")
        if dtype is DType.BYTES:
            array = decode_raw(name, dtype, shapes.get(key, [-1]), array.astype(np.uint8).tobytes())
        elif array.dtype != dtype.numpy:
            raise InvalidGolden(f"{path.name}: {key!r} is {array.dtype}, but {dtype.value} needs {dtype.numpy}")
        sides[side][name] = array
    return Sample(sides["in"], sides["out"])


def compare(name: str, dtype: DType, actual: Array, expected: Array, tolerance: Tolerance) -> Difference:
    """Hold one output against its golden value. NaN equals NaN; integers, booleans and BYTES must be equal."""
    if actual.shape != expected.shape:
        why = f"output {name!r} has shape {list(actual.shape)}, the golden sample {list(expected.shape)}"
        return Difference(name, float("inf"), float("inf"), False, why)
    if dtype is DType.BYTES:
        same = [_text(item) for item in actual.ravel()] == [_text(item) for item in expected.ravel()]
        return Difference(name, 0.0, 0.0, same, "" if same else f"output {name!r} differs from the golden sample")
    a, b = numbers(actual, dtype), numbers(expected, dtype)
    if a.size == 0:
        return Difference(name, 0.0, 0.0, True, "")
    exact = dtype in (DType.BOOL,) or (dtype.numpy.kind in "iu" and dtype is not DType.BF16)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(equal, 0.0, np.abs(a - b))
        distance = np.where(np.isnan(distance), np.inf, distance)
        allowed = np.zeros_like(b) if exact else tolerance.atol + tolerance.rtol * np.abs(b)
        within = bool(np.all(equal | (distance <= np.where(np.isfinite(allowed), allowed, 0.0))))
        max_rel = float(np.max(distance / np.maximum(np.abs(b), 1e-12)))
    max_abs = float(np.max(distance))
    why = (
        ""
        if within
        else (
            f"output {name!r} is off by {max_abs:.3g}; "
            + (
                "integers must be equal"
                if exact
                else f"|a-b| <= {tolerance.atol:g} + {tolerance.rtol:g}*|b| is allowed"
            )
        )
    )
    return Difference(name, max_abs, max_rel, within, why)


def _text(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def numbers(array: Array, dtype: DType) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the elements of a tensor that is not BYTES as numbers."""
    if dtype is DType.BF16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)
