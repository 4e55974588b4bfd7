"""What is asked: tensors as the user gave them, or drawn at random to fit the model's signature. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from interlock.envelope import open_request
from interlock.errors import InvalidInput
from interlock.tensors import bf16_bits
from interlock.types import Array, DType, ModelRef, Signature, TensorSpec

from interlock_client._infer import Inputs, infer_request

_QUESTIONS: Final = 16
"""Different random requests, asked in turn: one and the same would be served from the processor's caches."""
_BUDGET: Final = 32 * 1024 * 1024
"""Bytes of all random requests together, unless a single one is longer."""
_TEXT: Final = b"interlock"

Given = Mapping[str, object]
"""Inputs by name as the command line gave them: arrays, or what JSON holds."""
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Questions:
    """Serialised requests of equal shape, which are asked in turn."""

    requests: tuple[bytes, ...]
    rows: int
    """Of each request: the size of the batch, 1 where the model has none."""
    shapes: tuple[str, ...]
    """What is sent for each input, as text."""


def questions(
    ref: ModelRef, signature: Signature, given: Given, shapes: Shapes, *, batch: int | None, seed: int
) -> Questions:
    """Make requests: one where every input is given, else several with random values for the rest.

    `batch` sizes the first dimension of drawn inputs where it is dynamic; None: as that of the given ones, else 1.
    Raises InvalidInput where an input is unknown, does not fit, or has a dynamic size that nothing sets.
    """
    known = {spec.name: spec for spec in (*signature.inputs, *signature.optional)}
    for name in shapes:
        if name not in known:
            raise InvalidInput(f"{ref} has no input {name!r}; it takes {', '.join(map(repr, known))}")
        if name in given:
            raise InvalidInput(f"input {name!r} has both a value and a shape; leave one of --input and --shape out")
    drawn = [spec for spec in signature.inputs if spec.name not in given]
    drawn += [spec for spec in signature.optional if spec.name in shapes]
    rows = batch or _given_rows(known, given) or 1
    sizes = {spec.name: _shape(spec, shapes.get(spec.name), rows) for spec in drawn}
    generator = np.random.default_rng(seed)
    made: list[bytes] = []
    sent: tuple[str, ...] = ()
    while len(made) < (_QUESTIONS if drawn else 1) and (not made or (len(made) + 1) * len(made[0]) <= _BUDGET):
        values = {spec.name: _draw(spec.dtype, sizes[spec.name], generator) for spec in drawn}
        inputs = cast(Inputs, {**given, **values})
        request = infer_request(ref, signature, inputs, outputs=None, parameters=None, request_id="")
        made.append(request)
        described = open_request(request).envelope.inputs
        sent = tuple(f"{each.name} {each.datatype}{list(each.shape)}" for each in described)
        rows = next((int(x.shape[0]) for x in described if _has_batch(known[x.name])), 1)
    return Questions(tuple(made), rows, sent)


def _has_batch(spec: TensorSpec) -> bool:
    return bool(spec.shape) and not isinstance(spec.shape[0], int)


def _given_rows(known: Mapping[str, TensorSpec], given: Given) -> int | None:
    for name, value in given.items():
        if name in known and _has_batch(known[name]) and isinstance(value, list | np.ndarray) and len(value):
            return len(value)
    return None


def _shape(spec: TensorSpec, wanted: Sequence[int] | None, batch: int) -> Sequence[int]:
    """Return the sizes to draw; the first dimension is the batch where it is dynamic."""
    if wanted is not None:
        return wanted
    shape = [batch if axis == 0 and _has_batch(spec) else size for axis, size in enumerate(spec.shape)]
    sizes = [size for size in shape if isinstance(size, int)]
    if len(sizes) != len(shape):
        example = ",".join(str(size) if isinstance(size, int) else "16" for size in shape)
        raise InvalidInput(
            f"input {spec.name!r} ({spec}) has dynamic sizes besides the batch; say which to send, for example "
            f"--shape {spec.name}={example}"
        )
    return sizes


def _draw(dtype: DType, shape: Sequence[int], generator: np.random.Generator) -> Array:
    """Draw values that models take: small floats; 0 and 1 for integers, which are valid as indices and as masks."""
    if dtype is DType.BYTES:
        return np.full(shape, _TEXT, dtype=object)
    if dtype is DType.BF16:
        return bf16_bits(generator.standard_normal(shape, dtype=np.float32))
    if dtype in (DType.FP16, DType.FP32, DType.FP64):
        return generator.standard_normal(shape).astype(dtype.numpy)
    return generator.integers(0, 2, shape).astype(dtype.numpy)
