"""Messages whose tensors are views of what was received: whatever protobuf reads, and refuses, is read and refused."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interlock.envelope import (
    REQUEST_TENSORS,
    Opened,
    open_request,
    open_response,
    sealed,
    tensor_spans,
    varint,
    whole_request,
)
from interlock.protocols.open_inference_pb2 import InferParameter, ModelInferRequest, ModelInferResponse

LONG = bytes(range(256)) * 80
"""A tensor that makes a message long enough to be taken apart."""
ENVELOPE = ModelInferRequest(
    model_name="m",
    model_version="3",
    id="r-1",
    parameters={"priority": InferParameter(int64_param=2)},
    inputs=[ModelInferRequest.InferInputTensor(name="x", datatype="UINT8", shape=[1, len(LONG)])],
    outputs=[ModelInferRequest.InferRequestedOutputTensor(name="y")],
).SerializeToString()
PIECES = [
    varint(7 << 3 | 2) + varint(len(LONG)) + LONG,
    b"\xba\x00" + varint(len(LONG)) + LONG,  # the same tag, written longer than it need be
    varint(7 << 3 | 2) + b"\x83\x80\x00abc",
    b"\x3a\x00",
    ENVELOPE,
    b"\x38\x05",  # the tensors' field as a number, which it is not
    varint(100 << 3) + b"\xff" * 9 + b"\x01",
    varint(100 << 3 | 1) + bytes(8),
    varint(100 << 3 | 5) + bytes(4),
    varint(100 << 3 | 2) + b"\x02hi",
    varint(100 << 3 | 3) + b"\x08\x01" + varint(100 << 3 | 4),  # a group
    b"\x0a\x02\xff\xfe",  # a name that is no text
    b"\x00",
    b"\x3a\xff\xff\xff\xff\x0f",
    b"\xba\x80\x80\x80\x10\x01a",  # the tag beyond 32 bits
    b"\xff" * 40,
    b"\x80",
]


def read(data: bytes) -> Opened[ModelInferRequest] | None:
    try:
        return open_request(data)
    except DecodeError:
        return None


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=6), cut=st.integers(0, 12), tail=st.binary(max_size=3))
@example(pieces=[PIECES[0], ENVELOPE, PIECES[0]], cut=0, tail=b"")
@example(pieces=[PIECES[0]] + [PIECES[3]] * 300, cut=0, tail=b"")
def test_a_message_says_the_same_however_it_is_read(pieces: list[bytes], cut: int, tail: bytes) -> None:
    data = b"".join(pieces)
    data = data[: max(0, len(data) - cut)] + tail
    try:
        message = ModelInferRequest.FromString(data)
    except DecodeError:
        assert read(data) is None
        return
    opened = read(data)
    assert opened is not None
    assert [bytes(tensor) for tensor in opened.tensors] == list(message.raw_input_contents)
    opened.envelope.ClearField("raw_input_contents")
    message.ClearField("raw_input_contents")
    assert opened.envelope == message


def test_a_long_message_s_tensors_are_views_of_it() -> None:
    data = sealed(ENVELOPE, REQUEST_TENSORS, [LONG, memoryview(LONG)[:4]])
    opened = open_request(data)
    assert [isinstance(tensor, memoryview) and tensor.obj is data for tensor in opened.tensors] == [True, True]
    assert not opened.envelope.raw_input_contents
    answer = ModelInferResponse(model_name="m", raw_output_contents=[LONG]).SerializeToString()
    (tensor,) = open_response(answer).tensors
    assert isinstance(tensor, memoryview) and tensor.obj is answer


@pytest.mark.parametrize("tensors", [[], [b""], [LONG, b"", b"ab"]])
def test_what_is_sealed_is_the_message_that_protobuf_writes(tensors: list[bytes]) -> None:
    message = ModelInferRequest.FromString(ENVELOPE)
    message.raw_input_contents.extend(tensors)
    data = sealed(ENVELOPE, REQUEST_TENSORS, tensors)
    assert data == message.SerializeToString()
    assert list(whole_request(ModelInferRequest.FromString(data)).tensors) == tensors


def test_a_number_without_an_end_is_left_to_protobuf_at_once() -> None:
    assert tensor_spans(b"\x38" + b"\x80" * 5_000_000, REQUEST_TENSORS) is None
