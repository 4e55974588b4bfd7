from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interlock.envelope import whole_request
from interlock.errors import InvalidInput, TooLarge
from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.types import Array, DType, Signature, TensorSpec
from interlock_server.front.limits import Room
from interlock_server.worker.inputs import read_inputs, read_outputs
from interlock_server.worker.shared_memory import Region, SharedMemory

Tensor = ModelInferRequest.InferInputTensor
no_shared = SharedMemory(enabled=False).read

PLAIN = Signature((TensorSpec("x", DType.FP32, ("n", 2)),), (TensorSpec("y", DType.FP32, ("n", 2)),))
PAIR = Signature(
    (TensorSpec("a", DType.INT64, ("n", "k")), TensorSpec("b", DType.FP32, ("n", "k"))),
    (TensorSpec("p", DType.FP32, ("n",)), TensorSpec("q", DType.FP32, ("n",))),
)
UNTIED = Signature(
    (TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("b", DType.FP32, (None, 2))),
    (TensorSpec("y", DType.FP32, (None, 2)),),
)
TEXT = Signature((TensorSpec("s", DType.BYTES, ("n",)),), (TensorSpec("y", DType.BYTES, ("n",)),))
FLAGS = Signature((TensorSpec("f", DType.BOOL, ("n",)),), ())
SMALL = Signature((TensorSpec("i", DType.INT8, ("n",)),), ())
HALF = Signature((TensorSpec("h", DType.FP16, ("n",)),), ())
SCALAR = Signature((TensorSpec("x", DType.FP32, ()),), ())


def raw(name: str, dtype: str, shape: list[int], data: bytes) -> ModelInferRequest:
    return ModelInferRequest(
        model_name="m", inputs=[Tensor(name=name, datatype=dtype, shape=shape)], raw_input_contents=[data]
    )


def typed(name: str, dtype: str, shape: list[int], **contents: list[object]) -> ModelInferRequest:
    request = ModelInferRequest(model_name="m", inputs=[Tensor(name=name, datatype=dtype, shape=shape)])
    for field, values in contents.items():
        getattr(request.inputs[0].contents, field).extend(values)
    request.inputs[0].contents.SetInParent()
    return request


def floats(*values: float) -> bytes:
    return np.asarray(values, np.float32).tobytes()


def both(a: list[int], b: list[int]) -> ModelInferRequest:
    return ModelInferRequest(
        inputs=[Tensor(name="b", datatype="FP32", shape=b), Tensor(name="a", datatype="INT64", shape=a)],
        raw_input_contents=[bytes(4 * int(np.prod(b))), bytes(8 * int(np.prod(a)))],
    )


def twice(request: ModelInferRequest) -> ModelInferRequest:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])
    return request


def with_contents(request: ModelInferRequest) -> ModelInferRequest:
    request.inputs[0].contents.fp32_contents.extend([1.0, 2.0])
    return request


def with_empty_contents(request: ModelInferRequest) -> ModelInferRequest:
    request.inputs[0].contents.SetInParent()
    return request


def without_contents(request: ModelInferRequest) -> ModelInferRequest:
    request.inputs[0].ClearField("contents")
    return request


def text(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


GOOD: list[tuple[ModelInferRequest, Signature, Array, int | None, bool]] = [
    (raw("x", "FP32", [1, 2], floats(1, 2)), PLAIN, np.array([[1, 2]], np.float32), 1, False),
    (raw("x", "FP32", [0, 2], b""), PLAIN, np.zeros((0, 2), np.float32), 0, False),
    (with_empty_contents(raw("x", "FP32", [1, 2], floats(1, 2))), PLAIN, np.array([[1, 2]], np.float32), 1, False),
    (typed("x", "FP32", [2, 2], fp32_contents=[1, 2, 3, 4]), PLAIN, np.array([[1, 2], [3, 4]], np.float32), 2, True),
    (typed("f", "BOOL", [2], bool_contents=[True, False]), FLAGS, np.array([True, False]), 2, True),
    (typed("i", "INT8", [2], int_contents=[-128, 127]), SMALL, np.array([-128, 127], np.int8), 2, True),
    (raw("x", "FP32", [], floats(7)), SCALAR, np.array(7, np.float32), None, False),
    (raw("s", "BYTES", [2], text("é".encode(), b"")), TEXT, np.array(["é", ""], object), 2, False),
    (typed("s", "BYTES", [1], bytes_contents=[b"ab"]), TEXT, np.array(["ab"], object), 1, True),
]


@pytest.mark.parametrize(("request_", "signature", "expected", "rows", "as_typed"), GOOD)
def test_what_fits_the_signature_becomes_arrays(
    request_: ModelInferRequest, signature: Signature, expected: Array, rows: int | None, as_typed: bool
) -> None:
    read = read_inputs(whole_request(request_), signature, True, no_shared)
    assert (read.rows, read.typed) == (rows, as_typed)
    np.testing.assert_array_equal(read.arrays[0], expected)
    assert read.arrays[0].dtype == expected.dtype
    assert read_inputs(whole_request(request_), signature, False, no_shared).rows is None


def test_arrays_come_in_the_signature_s_order_whatever_the_request_s() -> None:
    read = read_inputs(whole_request(both([2, 3], [2, 3])), PAIR, True, no_shared)
    assert [array.dtype for array in read.arrays] == [np.int64, np.float32]


def test_requests_whose_inputs_have_different_first_sizes_run_alone() -> None:
    request = ModelInferRequest(
        inputs=[Tensor(name="a", datatype="FP32", shape=[1, 2]), Tensor(name="b", datatype="FP32", shape=[2, 2])],
        raw_input_contents=[floats(1, 2), floats(1, 2, 3, 4)],
    )
    assert read_inputs(whole_request(request), UNTIED, True, no_shared).rows is None


BAD: list[tuple[ModelInferRequest, Signature, str]] = [
    (ModelInferRequest(), PLAIN, r"input 'x' is missing\. The model takes x FP32\[n,2\]"),
    (raw("z", "FP32", [1, 2], floats(1, 2)), PLAIN, "input 'z' does not exist; input 'x' is missing"),
    (twice(raw("x", "FP32", [1, 2], floats(1, 2))), PLAIN, "input 'x' is given twice"),
    (raw("x", "FP64", [1, 2], bytes(16)), PLAIN, "is FP32, the request has FP64"),
    (raw("x", "", [1, 2], bytes(8)), PLAIN, "the request has no datatype"),
    (raw("x", "FP32", [2], floats(1, 2)), PLAIN, r"has rank 2 .* the request has shape \[2\]"),
    (raw("x", "FP32", [1, 3], floats(1, 2, 3)), PLAIN, "has size 2 in dimension 1"),
    (raw("x", "FP32", [-1, 2], b""), PLAIN, "dimension 0 is -1"),
    (raw("x", "FP32", [1, 2], floats(1)), PLAIN, "4 raw bytes do not match .* takes 8"),
    (raw("x", "FP32", [2**40, 2], b""), PLAIN, "do not match"),
    (raw("x", "FP32", [2**62, 2], b""), PLAIN, "absurdly large"),
    (with_contents(raw("x", "FP32", [1, 2], floats(1, 2))), PLAIN, "contents field must not be specified"),
    (typed("x", "FP32", [1, 2], fp32_contents=[1]), PLAIN, "1 values in fp32_contents do not fill"),
    (typed("x", "FP32", [1, 2], fp64_contents=[1, 2]), PLAIN, "goes into fp32_contents, not fp64_contents"),
    (without_contents(typed("x", "FP32", [1, 2])), PLAIN, "0 values"),
    (typed("h", "FP16", [1], fp32_contents=[1]), HALF, "FP16 has no typed form"),
    (typed("i", "INT8", [2], int_contents=[1, 128]), SMALL, "value 128 does not fit INT8"),
    (raw("f", "BOOL", [2], b"\x01\x02"), FLAGS, "BOOL bytes must be 0 or 1"),
    (both([2, 3], [2, 4]), PAIR, "has 4 for dimension 'k', but input 'a' has 3"),
    (both([0, 2**62], [0, 2**62]), PAIR, "absurdly large"),
    (raw("s", "BYTES", [1], text(b"\xff\xfe")), TEXT, "no UTF-8"),
    (raw("s", "BYTES", [2], text(b"ab")), TEXT, "cannot hold 2|do not fill"),
    (raw("s", "BYTES", [1], struct.pack("<I", 2**31) + b"ab"), TEXT, "claims 2147483648 bytes, 2 are left"),
    (raw("s", "BYTES", [1], text(b"ab") + b"\x01"), TEXT, "cut off"),
    (raw("s", "BYTES", [2**40], text(b"ab")), TEXT, "cannot hold"),
]


@pytest.mark.parametrize(("request_", "signature", "why"), BAD)
def test_what_does_not_fit_is_refused_by_name(request_: ModelInferRequest, signature: Signature, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        read_inputs(whole_request(request_), signature, True, no_shared)
    assert refused.value.violations


def test_every_wrong_name_is_told_at_once() -> None:
    request = raw("u", "FP32", [1], b"")
    request.inputs.append(Tensor(name="v"))
    with pytest.raises(InvalidInput) as refused:
        read_inputs(whole_request(request), PLAIN, True, no_shared)
    assert {violation.field for violation in refused.value.violations} == {"inputs[u]", "inputs[v]", "inputs[x]"}


def test_a_request_of_far_too_many_inputs_is_refused_without_a_look_at_each() -> None:
    request = ModelInferRequest.FromString(b"\x2a\x00" * 100_000)
    with pytest.raises(InvalidInput, match=r"has 100000 inputs\. The model takes x FP32\[n,2\]") as refused:
        read_inputs(whole_request(request), PLAIN, True, no_shared)
    assert [violation.field for violation in refused.value.violations] == ["inputs"]


def test_an_input_in_shared_memory_is_copied_only_if_it_is_as_large_as_its_shape_says() -> None:
    object_ = Path("/dev/shm") / f"interlock-test-inputs-{os.getpid()}"
    shared = SharedMemory(enabled=True, most=8)
    try:
        object_.touch()
        os.truncate(object_, 1 << 42)  # no memory has as much, and it takes none
        shared.register(Region("r", object_.name, 0, 1 << 42))
        with pytest.raises(InvalidInput, match=r"4398046511104 raw bytes do not match FP32\[1, 2\], which takes 8"):
            read_inputs(whole_request(in_region([1, 2], 1 << 42)), PLAIN, True, shared.read)
        with pytest.raises(TooLarge, match=r"'x' of 16 bytes is over the limit of 8; .* max_message_bytes raises it"):
            read_inputs(whole_request(in_region([2, 2], 16)), PLAIN, True, shared.read)
        read = read_inputs(whole_request(in_region([1, 2], 8)), PLAIN, True, shared.read)
        assert read.arrays[0].tolist() == [[0, 0]]
    finally:
        shared.close()
        object_.unlink()


def test_strings_from_shared_memory_count_as_long_as_they_are_here() -> None:
    object_, room = Path("/dev/shm") / f"interlock-test-strings-{os.getpid()}", Room(1 << 20)
    shared = SharedMemory(enabled=True, room=room)
    signature = Signature((TensorSpec("x", DType.BYTES, ("batch", 25_000)),), ())
    try:
        object_.write_bytes(b"\0\0\0\0" * 25_000)
        shared.register(Region("r", object_.name, 0, 100_000))
        read = read_inputs(whole_request(in_region([1, 25_000], 100_000, "BYTES")), signature, True, shared.read)
        assert room.held == 100_000
        assert read.arrays[0].shape == (1, 25_000)
        del read
        assert room.held == 0
    finally:
        shared.close()
        object_.unlink()


def in_region(shape: list[int], size: int, datatype: str = "FP32") -> ModelInferRequest:
    tensor = Tensor(name="x", datatype=datatype, shape=shape)
    tensor.parameters["shared_memory_region"].string_param = "r"
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    return ModelInferRequest(inputs=[tensor])


def test_raw_contents_are_one_for_each_input() -> None:
    request = raw("x", "FP32", [1, 2], floats(1, 2))
    request.raw_input_contents.append(b"")
    with pytest.raises(InvalidInput, match="2 raw_input_contents for 1 inputs"):
        read_inputs(whole_request(request), PLAIN, True, no_shared)


@pytest.mark.parametrize(
    ("names", "positions"), [([], (0, 1)), (["q"], (1,)), (["q", "p"], (1, 0)), (["p", "q"], (0, 1))]
)
def test_outputs_come_as_they_were_asked_for(names: list[str], positions: tuple[int, ...]) -> None:
    request = ModelInferRequest(outputs=[ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names])
    assert read_outputs(request, PAIR).positions == positions


@pytest.mark.parametrize(("names", "why"), [(["z"], "does not exist; the model has p FP32"), (["p", "p"], "twice")])
def test_outputs_that_cannot_be_given_are_refused(names: list[str], why: str) -> None:
    request = ModelInferRequest(outputs=[ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names])
    with pytest.raises(InvalidInput, match=why):
        read_outputs(request, PAIR)


SIZES = st.one_of(st.integers(-1, 5), st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63)]))
TENSORS = st.builds(
    lambda name, datatype, shape: Tensor(name=name, datatype=datatype, shape=shape),
    st.sampled_from(["x", "a", "b", "s", "f", "", "é"]),
    st.sampled_from([*(dtype.value for dtype in DType), "", "FP8"]),
    st.lists(SIZES, max_size=4),
)
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": st.lists(st.booleans(), max_size=4),
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
        "uint64_contents": st.lists(st.integers(0, 2**64 - 1), max_size=4),
        "fp32_contents": st.lists(st.floats(width=32), max_size=4),
        "bytes_contents": st.lists(st.binary(max_size=4), max_size=4),
    },
)
SIGNATURES = st.sampled_from([PLAIN, PAIR, UNTIED, TEXT, FLAGS, SMALL, HALF, SCALAR])


@settings(max_examples=300, deadline=None)
@given(
    tensors=st.lists(st.tuples(TENSORS, CONTENTS), max_size=3),
    blobs=st.lists(st.binary(max_size=24), max_size=3),
    signature=SIGNATURES,
)
@example(tensors=[(Tensor(name="s", datatype="BYTES", shape=[0]), {})], blobs=[b""], signature=TEXT)
def test_any_request_is_taken_or_refused_as_invalid_input(
    tensors: list[tuple[Tensor, dict[str, list[object]]]], blobs: list[bytes], signature: Signature
) -> None:
    request = ModelInferRequest(raw_input_contents=blobs)
    for tensor, contents in tensors:
        request.inputs.append(tensor)
        for field, values in contents.items():
            getattr(request.inputs[-1].contents, field).extend(values)
    check(request, signature)


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[ModelInferRequest, Signature]:
    """The right names and datatypes with shapes and bytes that may disagree."""
    signature = draw(SIGNATURES)
    request = ModelInferRequest()
    for spec in signature.inputs:
        shape = [dim if isinstance(dim, int) and draw(st.booleans()) else draw(SIZES) for dim in spec.shape]
        request.inputs.append(Tensor(name=spec.name, datatype=spec.dtype.value, shape=shape))
        request.raw_input_contents.append(draw(st.binary(max_size=40)))
    return request, signature


@settings(max_examples=300, deadline=None)
@given(nearly_right())
def test_a_request_with_right_names_and_wrong_bytes_is_taken_or_refused(
    drawn: tuple[ModelInferRequest, Signature],
) -> None:
    check(*drawn)


def check(request: ModelInferRequest, signature: Signature) -> None:
    try:
        read = read_inputs(whole_request(request), signature, True, no_shared)
    except InvalidInput:
        return
    for spec, array in zip(signature.inputs, read.arrays, strict=True):
        assert array.dtype == spec.dtype.numpy
        assert array.ndim == len(spec.shape)
        assert all(not isinstance(dim, int) or dim == size for dim, size in zip(spec.shape, array.shape, strict=True))
