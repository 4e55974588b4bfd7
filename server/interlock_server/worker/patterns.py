"""The patterns of requests: what a request is, apart from the bytes in its tensors.

Callers send the same model the same kind of request over and over: only the tensors' bytes differ. What was found out
about the first of a pattern holds for all: what they ask for, that they fit the signature, and where tensors lie.
A request belongs to a pattern if it is as long and has the same bytes everywhere but in the tensors; that is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from interlock.envelope import REQUEST_TENSORS, Opened, Span, tensor_spans
from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.types import Array, DType, ModelRef, Signature

from interlock_server.worker.engine import NO_OPTIONAL
from interlock_server.worker.inputs import RequestedOutputs, RequestTensors
from interlock_server.worker.work import JoinKey, join_key

_MOST: Final = 1024
"""Patterns that are kept; then all are forgotten and found again, which costs little and needs no order among them."""
_SAME_LENGTH: Final = 8
"""Patterns of one length that are kept: each is compared."""
_LONGEST_HEAD: Final = 1024
_NO_VIEW: Final = frozenset({DType.BOOL, DType.BYTES})
"""Their bytes must be looked at one by one."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor: where it lies, and the bytes between it and the one before."""

    before: bytes
    start: int
    count: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    def view(self, data: bytes) -> Array:
        array: Array = np.frombuffer(data, self.dtype, self.count, self.start).reshape(self.shape)
        return array


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is known of a request before it is looked at."""

    ref: ModelRef
    signature: Signature
    """That it fits; of another version it must be found out anew."""
    wanted: RequestedOutputs
    rows: int | None
    key: JoinKey
    size: int
    head: bytes
    parts: tuple[_Part, ...]

    def fits(self, data: bytes) -> bool:
        """Tell whether a request of the same length belongs to this pattern."""
        if not data.startswith(self.head):
            return False
        return len(self.parts) == 1 or all(
            data.startswith(part.before, part.start - len(part.before)) for part in self.parts
        )

    def read(self, data: bytes) -> RequestTensors:
        """Return a request's tensors, without a copy."""
        return RequestTensors(tuple([part.view(data) for part in self.parts]), self.rows, False, NO_OPTIONAL)


class Patterns:
    """The patterns seen lately, by length. Thread-safe: every change is one step of the interpreter."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[Pattern]] = {}
        self._count = 0

    def find(self, data: bytes) -> Pattern | None:
        """Return the pattern that a request belongs to, None where it is not known."""
        for pattern in self._by_length.get(len(data), ()):
            if pattern.fits(data):
                return pattern
        return None

    def keep(self, data: bytes, pattern: Pattern) -> None:
        """Remember a pattern by a request of it; what it takes the place of is one for another version."""
        if self._count >= _MOST:
            self._by_length, self._count = {}, 0
        others = [each for each in self._by_length.get(len(data), ()) if not each.fits(data)]
        self._by_length[len(data)] = [pattern, *others][:_SAME_LENGTH]
        self._count += 1


def pattern_of(
    data: bytes,
    opened: Opened[ModelInferRequest],
    ref: ModelRef,
    signature: Signature,
    read: RequestTensors,
    wanted: RequestedOutputs,
) -> Pattern | None:
    """Return the pattern of a request that was read and fits the signature; None where it has parts of its own."""
    request = opened.envelope
    if request.id or request.parameters or read.typed or read.optional or wanted.shared:
        return None
    if len(opened.tensors) != len(signature.inputs) or not signature.inputs:
        return None  # a tensor of it lies in shared memory
    if any(spec.dtype in _NO_VIEW for spec in signature.inputs) or not all(array.size for array in read.arrays):
        return None
    spans = _last_fields(data)
    if len(spans) != len(signature.inputs) or spans[0].start > _LONGEST_HEAD:
        return None
    by_name = dict(zip((tensor.name for tensor in request.inputs), spans, strict=True))
    before = dict(zip(by_name, _between(data, spans), strict=True))
    parts = tuple(
        _Part(before[spec.name], by_name[spec.name].start, array.size, spec.dtype.numpy, array.shape)
        for spec, array in zip(signature.inputs, read.arrays, strict=True)
    )
    return Pattern(
        ref=ref,
        signature=signature,
        wanted=wanted,
        rows=read.rows,
        key=join_key(read.arrays),
        size=sum(array.nbytes for array in read.arrays),
        head=data[: spans[0].start],
        parts=parts,
    )


def _between(data: bytes, spans: Sequence[Span]) -> list[bytes]:
    ends = [spans[0].start, *(span.end for span in spans)]
    return [data[end : span.start] for end, span in zip(ends, spans, strict=False)]


def _last_fields(data: bytes) -> Sequence[Span]:
    """Return where a request's tensors lie; none unless they are its last fields."""
    spans = tensor_spans(data, REQUEST_TENSORS) or ()
    following = [*(span.field for span in spans[1:]), len(data)]
    return spans if all(span.end == field for span, field in zip(spans, following, strict=False)) else ()
