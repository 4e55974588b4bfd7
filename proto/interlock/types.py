"""The words that clients and servers share: datatypes, tensor specs, signatures, refs. Pure; imports no grpc."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from interlock.errors import InvalidName, InvalidRef

STABLE: Final = "stable"
"""The alias that a bare model name means."""

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ALIAS: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


class DType(Enum):
    """A datatype of the Open Inference Protocol; the value is its name on the wire."""

    BOOL = "BOOL"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype that carries it: BF16 travels as its bits in uint16, BYTES as objects."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int | None:
        """Bytes per element; None for BYTES, whose elements vary."""
        return None if self is DType.BYTES else _NUMPY[self].itemsize


_NUMPY: Final[dict[DType, np.dtype[np.generic]]] = {
    DType.BOOL: np.dtype(np.bool_),
    DType.INT8: np.dtype("<i1"),
    DType.INT16: np.dtype("<i2"),
    DType.INT32: np.dtype("<i4"),
    DType.INT64: np.dtype("<i8"),
    DType.UINT8: np.dtype("<u1"),
    DType.UINT16: np.dtype("<u2"),
    DType.UINT32: np.dtype("<u4"),
    DType.UINT64: np.dtype("<u8"),
    DType.FP16: np.dtype("<f2"),
    DType.BF16: np.dtype("<u2"),
    DType.FP32: np.dtype("<f4"),
    DType.FP64: np.dtype("<f8"),
    DType.BYTES: np.dtype(object),
}
_FROM_NUMPY: Final = {dtype: kind for kind, dtype in _NUMPY.items() if kind is not DType.BF16}

Array = npt.NDArray[np.generic]
"""Any numpy array; BYTES tensors are object arrays of `bytes`."""


def dtype_of(array: Array) -> DType | None:
    """Return the datatype that carries an array as it is, or None where there is none."""
    if array.dtype.kind in "OSU":
        return DType.BYTES
    return _FROM_NUMPY.get(array.dtype.newbyteorder("<"))


Dim = int | str | None
"""A fixed size, a symbol that ties equal dimensions together, or None for dynamic and tied to nothing."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The name, datatype and shape that an input or output has."""

    name: str
    dtype: DType
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        dims = ",".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name} {self.dtype.value}[{dims}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a version takes and gives, in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    optional: tuple[TensorSpec, ...] = ()
    """Inputs that may be left out: the model has a default for each. A request that gives one runs alone."""

    def input(self, name: str) -> TensorSpec | None:
        """Return the spec of an input, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """How callers ask: `m` (alias stable), `m@3` (a version) or `m:canary` (an alias)."""

    model: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.model}@{self.version}"
        return f"{self.model}:{self.alias or STABLE}"

    @property
    def wire_version(self) -> str:
        """The Open Inference Protocol's `model_version`: "", "3" or "canary"."""
        return str(self.version) if self.version is not None else (self.alias or "")

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read `m`, `m@3` or `m:alias`; raises InvalidRef, InvalidName."""
        model, at, number = text.partition("@")
        if at:
            if not _VERSION.fullmatch(number):
                raise InvalidRef(text, f"{number!r} is not a version number; write MODEL@3, or MODEL:ALIAS")
            return cls(model_name(model), version=int(number))
        model, colon, alias = text.partition(":")
        return cls(model_name(model), alias=alias_name(alias) if colon else None)

    @classmethod
    def from_wire(cls, model: str, version: str) -> ModelRef:
        """Read the protocol's pair of model name and `model_version`; raises InvalidRef, InvalidName."""
        if not version:
            return cls(model)
        if version[0].isdigit() or version[0] in "+-":
            if not _VERSION.fullmatch(version):
                raise InvalidRef(
                    f"{model}@{version}",
                    f"failed to get model version from specified version string '{version}'",
                )
            return cls(model, version=int(version))
        return cls(model, alias=alias_name(version))


def model_name(text: str) -> str:
    """Return a valid model name unchanged; raises InvalidName."""
    if not _MODEL.fullmatch(text):
        raise InvalidName("model", text, "letters, digits, '.', '_' and '-', from a letter or digit, at most 128")
    return text


def alias_name(text: str) -> str:
    """Return a valid alias unchanged; raises InvalidName."""
    if not _ALIAS.fullmatch(text):
        raise InvalidName("alias", text, "lower-case letters, digits, '_' and '-', from a letter, at most 63")
    return text


def breaking_changes(serving: Signature, candidate: Signature) -> tuple[str, ...]:
    """List what in `candidate` breaks callers of `serving`: names, datatypes, ranks and fixed sizes that differ.

    A new output breaks nobody, nor does a dimension that becomes dynamic in an input. ONNX graphs declare output
    sizes loosely, so of outputs only name, datatype and rank count.
    """
    found: list[str] = []
    wanted = {spec.name: spec for spec in candidate.inputs}
    optional = {spec.name: spec for spec in candidate.optional}
    for old in (*serving.inputs, *serving.optional):
        if old in serving.optional and old.name in wanted:
            continue  # it must be given now: it is new among the inputs that must
        new = wanted.pop(old.name, None) or optional.get(old.name)
        if new is None:
            found.append(f"input {old.name!r} is gone")
            continue
        found += _differences("input", old, new)
        for axis, (before, after) in enumerate(zip(old.shape, new.shape, strict=False)):
            if isinstance(after, int) and before != after and len(old.shape) == len(new.shape):
                was = before if isinstance(before, int) else "dynamic"
                found.append(f"input {old.name!r} dimension {axis} is fixed at {after}, was {was}")
    found += [f"input {name!r} is new" for name in wanted]
    offered = {spec.name: spec for spec in candidate.outputs}
    for old in serving.outputs:
        new = offered.get(old.name)
        found += [f"output {old.name!r} is gone"] if new is None else _differences("output", old, new)
    return tuple(found)


def _differences(side: str, old: TensorSpec, new: TensorSpec) -> list[str]:
    found: list[str] = []
    if old.dtype is not new.dtype:
        found.append(f"{side} {old.name!r} is {new.dtype.value}, was {old.dtype.value}")
    if len(old.shape) != len(new.shape):
        found.append(f"{side} {old.name!r} has rank {len(new.shape)}, had {len(old.shape)}")
    return found
