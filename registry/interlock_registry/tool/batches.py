"""Rows of batches: cutting them, pairing them, making them up. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from interlock.golden import Golden
from interlock.types import Array, DType, Signature, TensorSpec

SLICE: Final = 8
"""Rows of a golden sample that run at a time."""
_MAX_MADE_UP_BYTES: Final = 64 << 20


def may_join(signature: Signature) -> bool:
    """Say whether the declared shapes allow requests to share a run: one dynamic first dimension all round."""
    first = {spec.shape[0] if spec.shape else 0 for spec in signature.inputs}
    if len(first) != 1 or isinstance(next(iter(first)), int):
        return False
    # Exporters name output dimensions freely; whether they follow the inputs is seen when it runs.
    return all(spec.shape and not isinstance(spec.shape[0], int) for spec in signature.outputs)


def fits(spec: TensorSpec, array: Array) -> bool:
    """Say whether an array has the rank and the fixed sizes of a spec."""
    return len(spec.shape) == array.ndim and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(spec.shape, array.shape, strict=True)
    )


def common_rows(tensors: Mapping[str, Array]) -> int | None:
    """Return the first dimension that all tensors share, or None."""
    sizes = {array.shape[0] if array.ndim else -1 for array in tensors.values()}
    return sizes.pop() if len(sizes) == 1 and min(sizes) >= 0 else None


def rows(tensors: Mapping[str, Array], start: int, stop: int) -> Mapping[str, Array]:
    """Return rows `start` to `stop` of every tensor."""
    return {name: array[start:stop] for name, array in tensors.items()}


def pair(signature: Signature, samples: Golden | None) -> Mapping[str, Array] | None:
    """Return a batch of two rows that differ, of golden rows where there are such."""
    for sample in samples.samples if samples else ():
        count = common_rows(sample.inputs) or 0
        for other in range(1, count):
            picked = {name: array[[0, other]] for name, array in sample.inputs.items()}
            if any(not np.array_equal(array[0], array[1]) for array in picked.values()):
                return picked
    return _pair_of_singles(samples) or make_up(signature, rows=2, seed=1)


def _pair_of_singles(samples: Golden | None) -> Mapping[str, Array] | None:
    singles = [sample.inputs for sample in (samples.samples if samples else ()) if common_rows(sample.inputs) == 1]
    for other in singles[1:]:
        first = singles[0]
        same_shapes = all(array.shape == other[name].shape for name, array in first.items())
        if same_shapes and any(not np.array_equal(array, other[name]) for name, array in first.items()):
            return {name: np.concatenate([array, other[name]]) for name, array in first.items()}
    return None


def make_up(signature: Signature, *, rows: int, seed: int) -> Mapping[str, Array] | None:
    """Return small inputs that fit a signature, each row different, or None where they would be too big.

    Floats are normal; integers are 0 and 1 by turns, which any vocabulary has. Dynamic dimensions are `rows`.
    """
    generator = np.random.default_rng(seed)
    shapes = [tuple(dim if isinstance(dim, int) else rows for dim in spec.shape) for spec in signature.inputs]
    specs = tuple(zip(signature.inputs, shapes, strict=True))
    if sum(math.prod(shape) * (spec.dtype.itemsize or 64) for spec, shape in specs) > _MAX_MADE_UP_BYTES:
        return None
    return {spec.name: _made_up(spec.dtype, shape, generator) for spec, shape in specs}


def _made_up(dtype: DType, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    if dtype in (DType.FP16, DType.FP32, DType.FP64):
        return generator.standard_normal(shape).astype(dtype.numpy)
    if dtype is DType.BF16:
        bits = generator.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16
        return np.asarray(bits, dtype=np.uint16)
    first = np.arange(shape[0] if shape else 1).reshape(-1, *([1] * max(0, len(shape) - 1))) % 2
    alternating = np.broadcast_to(first, shape) if shape else np.zeros(())
    if dtype is DType.BYTES:
        return np.where(alternating == 1, "b", "a").astype(object)
    return alternating.astype(dtype.numpy)
