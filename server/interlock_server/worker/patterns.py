"""The patterns of requests: what a request is, apart from the bytes in its tensors.

Callers send the same model the same kind of request over and over: only its id and the bytes in its tensors differ.
What was found out about the first of a pattern holds for all: what they ask for, that they fit the signature, and where
tensors lie. A request belongs to a pattern if it is as long, but for its id, and has the same bytes everywhere but in
these; that is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from interlock.envelope import REQUEST_TENSORS, Opened, Span, tensor_spans
from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.types import Array, DType, ModelRef, Signature

from interlock_server.worker.inputs import RequestedOutputs, RequestTensors
from interlock_server.worker.parameters import TELLING, RequestOptions
from interlock_server.worker.work import JoinKey, join_key

_MOST: Final = 1024
"""Patterns that are kept; then all are forgotten and found again, which costs little and needs no order among them."""
_SAME_LENGTH: Final = 8
"""Patterns of one length that are kept: each is compared."""
_LONGEST_HEAD: Final = 1024
_NAME_TAG: Final = 1 << 3 | 2
_VERSION_TAG: Final = 2 << 3 | 2
_ID_TAG: Final = 3 << 3 | 2
_ONE_BYTE: Final = 0x80
"""Lengths below this are one byte long."""
_NO_VIEW: Final = frozenset({DType.BOOL, DType.BYTES})
"""Their bytes must be looked at one by one."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor: where it lies in a request without an id, and the bytes between it and the one before."""

    before: bytes
    start: int
    count: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is known of a request before it is looked at."""

    ref: ModelRef
    signature: Signature
    """That it fits; of another version it must be found out anew."""
    wanted: RequestedOutputs
    options: RequestOptions
    rows: int | None
    key: JoinKey
    size: int
    length: int
    """Of such a request without an id."""
    head: bytes
    """Up to where the id is, or would be."""
    rest: bytes
    """From there to the first tensor."""
    parts: tuple[_Part, ...]

    def fits(self, data: bytes, id_end: int) -> bool:
        """Tell whether a request that is as long but for its id, which ends there, belongs to this pattern."""
        if not (data.startswith(self.head) and data.startswith(self.rest, id_end)):
            return False
        if len(self.parts) == 1:
            return True
        moved = len(data) - self.length
        return all(data.startswith(part.before, part.start - len(part.before) + moved) for part in self.parts)

    def id_field(self, data: bytes) -> bytes:
        """Return a request's id as it is on the wire, with its tag and its length; empty where there is none."""
        begin = len(self.head)
        return data[begin : begin + len(data) - self.length]

    def read(self, data: bytes) -> list[Array]:
        """Return a request's tensors in signature order, without a copy."""
        moved = len(data) - self.length
        return [
            np.frombuffer(data, part.dtype, part.count, part.start + moved).reshape(part.shape) for part in self.parts
        ]


class Patterns:
    """The patterns seen lately, by length. Thread-safe: every change is one step of the interpreter."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[Pattern]] = {}
        self._count = 0

    def find(self, data: bytes) -> Pattern | None:
        """Return the pattern that a request belongs to, None where it is not known."""
        begin, end = id_span(data)
        for pattern in self._by_length.get(len(data) - end + begin, ()):
            if len(pattern.head) == begin and pattern.fits(data, end):
                # What protobuf would refuse must be refused: an id is text.
                return pattern if begin == end or data[begin:end].isascii() else None
        return None

    def keep(self, data: bytes, pattern: Pattern) -> None:
        """Remember a pattern by a request of it; what it takes the place of is one for another version."""
        if self._count >= _MOST:
            self._by_length, self._count = {}, 0
        _, end = id_span(data)
        others = [each for each in self._by_length.get(pattern.length, ()) if not each.fits(data, end)]
        self._by_length[pattern.length] = [pattern, *others][:_SAME_LENGTH]
        self._count += 1


def id_span(data: bytes) -> tuple[int, int]:
    """Return where a request's id begins, with its tag and its length, and ends; equal where it has none.

    It stands behind the model's name and version: one that stands elsewhere, or is very long, is not found.
    """
    place, most = 0, len(data) - 1
    while place < most:
        tag, length = data[place], data[place + 1]
        if tag == _ID_TAG and length < _ONE_BYTE:
            return place, place + 2 + length
        if (tag != _NAME_TAG and tag != _VERSION_TAG) or length >= _ONE_BYTE:
            break
        place += 2 + length
    return place, place


def pattern_of(
    data: bytes,
    opened: Opened[ModelInferRequest],
    ref: ModelRef,
    signature: Signature,
    read: RequestTensors,
    wanted: RequestedOutputs,
    options: RequestOptions,
) -> Pattern | None:
    """Return the pattern of a request that was read and fits the signature; None where it has parts of its own."""
    request = opened.envelope
    if read.typed or read.optional or wanted.shared or not request.parameters.keys() <= TELLING:
        return None
    if len(opened.tensors) != len(signature.inputs) or not signature.inputs:
        return None  # a tensor of it lies in shared memory
    if any(spec.dtype in _NO_VIEW for spec in signature.inputs) or not all(array.size for array in read.arrays):
        return None
    begin, end = id_span(data)
    if data[begin + 2 : end] != request.id.encode() or not request.id.isascii():
        return None
    bare = data[:begin] + data[end:]
    if tensor_spans(bare, bytes([_ID_TAG])):
        return None  # of several ids the last one counts
    spans = _last_fields(bare)
    if len(spans) != len(signature.inputs) or spans[0].start > _LONGEST_HEAD:
        return None
    by_name = dict(zip((tensor.name for tensor in request.inputs), spans, strict=True))
    before = dict(zip(by_name, _between(bare, spans), strict=True))
    parts = tuple(
        _Part(before[spec.name], by_name[spec.name].start, array.size, spec.dtype.numpy, array.shape)
        for spec, array in zip(signature.inputs, read.arrays, strict=True)
    )
    return Pattern(
        ref=ref,
        signature=signature,
        wanted=wanted,
        options=options,
        rows=read.rows,
        key=join_key(read.arrays),
        size=sum(array.nbytes for array in read.arrays),
        length=len(bare),
        head=bare[:begin],
        rest=bare[begin : spans[0].start],
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
