"""What is kept of requests and answers must never show: the same bytes and values as without."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interlock.errors import InternalError, InvalidInput
from interlock.protocols import open_inference_pb2 as pb
from interlock.tensors import encode_raw
from interlock.types import Array, DType, ModelRef, Signature, TensorSpec
from interlock_client._codec import Codec
from interlock_client._infer import Inputs, infer_request, infer_result

REF = ModelRef.parse("digits:canary")
SIGNATURE = Signature(
    (TensorSpec("x", DType.FP32, (None, 2)), TensorSpec("s", DType.BYTES, (None,))),
    (TensorSpec("y", DType.FP64, (None,)), TensorSpec("z", DType.INT8, (None,))),
    (TensorSpec("bias", DType.FP32, (1,)),),
)


def plain(inputs: Inputs, outputs: list[str] | None, request_id: str) -> bytes | str:
    try:
        return infer_request(REF, SIGNATURE, inputs, outputs=outputs, parameters=None, request_id=request_id)
    except InvalidInput as error:
        return error.message


def coded(codec: Codec, inputs: Inputs, outputs: list[str] | None, request_id: str) -> bytes | str:
    try:
        return codec.request(inputs, outputs=outputs, parameters=None, request_id=request_id)
    except InvalidInput as error:
        return error.message


def inputs_of(rows: int, words: list[str], bias: bool, wrong: str) -> Inputs:
    made: dict[str, object] = {"x": np.arange(2 * rows, dtype=np.float32).reshape(rows, 2), "s": words}
    if bias:
        made["bias"] = [1.0]
    if wrong == "missing":
        del made["x"]
    elif wrong == "unknown":
        made["q"] = 1
    elif wrong == "dtype":
        made["x"] = np.zeros((rows, 2), np.float64)
    return made  # type: ignore[return-value]


ASKED = st.tuples(
    st.builds(
        inputs_of,
        st.integers(0, 3),
        st.lists(st.sampled_from(["", "a", "bc"]), max_size=2),
        st.booleans(),
        st.sampled_from(["", "", "", "missing", "unknown", "dtype"]),
    ),
    st.sampled_from([None, ["z"]]),
    st.sampled_from(["", "", "r1"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ASKED, max_size=8))
def test_a_request_is_the_same_bytes_however_often_its_shapes_were_sent(
    asked: list[tuple[Inputs, list[str] | None, str]],
) -> None:
    codec = Codec(REF, SIGNATURE)
    for inputs, outputs, request_id in asked:
        assert coded(codec, inputs, outputs, request_id) == plain(inputs, outputs, request_id)


def test_envelopes_are_bounded() -> None:
    codec = Codec(REF, SIGNATURE)
    for rows in range(200):
        inputs = inputs_of(rows, [], False, "")
        assert coded(codec, inputs, None, "") == plain(inputs, None, "")
    assert len(codec._envelopes) <= 64


def answer(version: str, request_id: str, tail: bytes = b"", **arrays: Array) -> bytes:
    message = pb.ModelInferResponse(model_name="digits", model_version=version, id=request_id)
    for name, array in arrays.items():
        dtype = DType.BYTES if array.dtype.hasobject else DType("BOOL" if array.dtype == bool else "FP64")
        message.outputs.add(name=name, datatype=dtype.value, shape=array.shape)
        message.raw_output_contents.append(encode_raw(array, dtype))
    return message.SerializeToString() + tail


ARRAYS = st.one_of(
    st.lists(st.floats(allow_nan=False), max_size=3).map(lambda values: np.array(values, np.float64)),
    st.lists(st.booleans(), max_size=2).map(lambda values: np.array(values, bool)),
    st.lists(st.binary(max_size=2), max_size=2).map(lambda values: np.array(values, object)),
)
ANSWERS = st.builds(
    answer,
    st.sampled_from(["3", "4", "x"]),
    st.sampled_from(["", "", "r1"]),
    st.sampled_from([b"", b"", b"\x12\x019", b"\x0a"]),
    y=ARRAYS,
    z=ARRAYS,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANSWERS, max_size=8), st.sampled_from([{}, {"interlock-alias": "a"}, {"interlock-generation": "x"}]))
def test_an_answer_is_read_alike_whatever_was_read_before(found: list[bytes], trailing: Mapping[str, str]) -> None:
    codec = Codec(REF, SIGNATURE)
    for data in [each for each in found for _ in range(2)]:
        try:
            expected = infer_result(data, trailing)
        except InternalError as error:
            with pytest.raises(InternalError) as caught:
                codec.result(data, trailing)
            assert caught.value.message == error.message
            continue
        result = codec.result(data, trailing)
        assert (result.model, result.version, result.alias, result.request_id) == (
            expected.model,
            expected.version,
            expected.alias,
            expected.request_id,
        )
        assert list(result) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(result[name], array)
            assert result[name].dtype == array.dtype
            assert result[name].flags.aligned and not (result[name].flags.writeable and not array.flags.writeable)
