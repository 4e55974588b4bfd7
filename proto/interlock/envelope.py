"""Inference messages taken apart and put together without copies of the tensors in them.

Protobuf copies the bytes of a field into the message when it parses, and again when they are asked for. Of a long
message only the envelope (all but the raw contents) goes through it here; its tensors are views of what was received.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from interlock.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from interlock.tensors import Buffer

M = TypeVar("M", bound=Message)

REQUEST_TENSORS: Final = b"\x3a"
"""The tag of ModelInferRequest.raw_input_contents."""
RESPONSE_TENSORS: Final = b"\x32"
"""The tag of ModelInferResponse.raw_output_contents."""
_LONG: Final = 16 * 1024
"""Shorter messages are parsed whole: copying so little costs less than looking for what not to copy."""
_MOST_FIELDS: Final = 256
"""Messages of more fields are parsed whole: looking at each takes longer here than copying them does there."""
_LARGEST_TAG: Final = (1 << 32) - 1
_LARGEST: Final = (1 << 64) - 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Opened(Generic[M]):
    """A message, and its tensors apart from it."""

    envelope: M
    """Its raw contents may be left out: `tensors` has them in any case."""
    tensors: Sequence[Buffer]


@dataclass(frozen=True, slots=True)
class Span:
    """Where one tensor's bytes lie in a serialised message."""

    field: int
    """Where its field begins, which is before its tag and length."""
    start: int
    end: int


def open_request(data: bytes) -> Opened[ModelInferRequest]:
    """Read a serialised request; raises protobuf's DecodeError."""
    found = _open(ModelInferRequest, data, REQUEST_TENSORS)
    return found or whole_request(ModelInferRequest.FromString(data))


def open_response(data: bytes) -> Opened[ModelInferResponse]:
    """Read a serialised answer; raises protobuf's DecodeError."""
    found = _open(ModelInferResponse, data, RESPONSE_TENSORS)
    if found is not None:
        return found
    message = ModelInferResponse.FromString(data)
    return Opened(message, message.raw_output_contents)


def whole_request(message: ModelInferRequest) -> Opened[ModelInferRequest]:
    """Return a request that was parsed elsewhere."""
    return Opened(message, message.raw_input_contents)


def _open(kind: type[M], data: bytes, tag: bytes) -> Opened[M] | None:
    """Read a long message; None where it is short, has no tensors of its own, or must be left to protobuf."""
    if len(data) < _LONG:
        return None
    spans = tensor_spans(data, tag)
    if not spans:
        return None
    view = memoryview(data)
    between = zip([0, *(span.end for span in spans)], [*(span.field for span in spans), len(data)], strict=True)
    envelope = kind.FromString(b"".join([view[start:end] for start, end in between]))
    return Opened(envelope, [view[span.start : span.end] for span in spans])


def tensor_spans(data: bytes, tag: bytes) -> Sequence[Span] | None:
    """Return where a message's raw contents lie, in their order; None where only protobuf can tell, or refuse it."""
    wanted = tag[0]
    spans: list[Span] = []
    position, end = 0, len(data)
    try:
        for _ in range(_MOST_FIELDS):
            if position == end:
                return spans
            field = position
            found, position = _varint(data, position)
            if found > _LARGEST_TAG:
                return None
            kind = found & 7
            length = 0
            if kind == _BYTES:
                length, position = _varint(data, position)
                if length > end - position:
                    return None
                if found == wanted:
                    spans.append(Span(field, position, position + length))
            elif kind == _VARINT:
                _, position = _varint(data, position)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                return None
            position += length
    except (IndexError, OverflowError):  # it is cut off inside a number, or that has no end
        return None
    return None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a number, and return it with the place after it; raises IndexError, OverflowError."""
    value = data[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if value > _LARGEST or shift > 63:
            raise OverflowError
        if byte < 0x80:
            return value, position
        shift += 7


def sealed(envelope: bytes, tag: bytes, tensors: Sequence[Buffer]) -> bytes:
    """Return a serialised message with these raw contents: their one copy."""
    pieces: list[Buffer] = [envelope]
    for tensor in tensors:
        pieces.append(tag + varint(tensor.nbytes if isinstance(tensor, memoryview) else len(tensor)))
        pieces.append(tensor)
    return b"".join(pieces)


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
