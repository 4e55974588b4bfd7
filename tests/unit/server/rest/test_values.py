"""JSON values become arrays and arrays JSON values; what does not fit is refused, by its place."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import InvalidInput
from interlock.tensors import bf16_bits, encode_raw
from interlock.types import Array, DType
from interlock_server.rest.values import to_array, to_json

NUMBERS = [dtype for dtype in DType if dtype not in (DType.BYTES, DType.BOOL)]


def through_json(dtype: DType, array: Array) -> Array:
    text = orjson.dumps(to_json(dtype, array), option=orjson.OPT_SERIALIZE_NUMPY)
    return to_array("x", dtype, array.shape, orjson.loads(text))


@given(st.data())
def test_every_value_of_every_type_comes_back_from_json(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(NUMBERS))
    size = data.draw(st.integers(0, 8))
    bits = data.draw(st.binary(min_size=size * 8, max_size=size * 8))
    array = np.frombuffer(bits, dtype=dtype.numpy)
    if dtype is DType.BF16:
        nan = (array & 0x7F80 == 0x7F80) & (array & 0x7F != 0)
        array = np.where(nan, np.uint16(0x7FC0), array)
    elif array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)  # JSON knows one NaN
    assert encode_raw(through_json(dtype, array), dtype) == encode_raw(array, dtype)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]))))
def test_every_string_comes_back_from_json(texts: list[str]) -> None:
    array = np.empty(len(texts), dtype=object)
    array[:] = [text.encode() for text in texts]
    assert through_json(DType.BYTES, array).tolist() == array.tolist()


def test_booleans_are_true_and_false_or_one_and_nought() -> None:
    assert to_array("x", DType.BOOL, [4], [True, False, 1, 0]).tolist() == [True, False, True, False]
    assert orjson.dumps(to_json(DType.BOOL, np.array([[True], [False]])), option=orjson.OPT_SERIALIZE_NUMPY) == (
        b"[true,false]"
    )


def test_what_json_has_no_number_for_are_words() -> None:
    array = np.array([np.nan, np.inf, -np.inf, 0.1], np.float32)
    assert to_json(DType.FP32, array) == ["NaN", "Infinity", "-Infinity", 0.1]
    np.testing.assert_array_equal(to_array("x", DType.FP32, [4], ["NaN", "Infinity", "-Infinity", 0.1]), array)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2, 2], [1, 2, 3, 4]),
        ([2, 2], [[1, 2], [3, 4]]),
        ([1, 2, 2], [[[1, 2], [3, 4]]]),
        ([4, 1], [[1], [2], [3], [4]]),
    ],
)
def test_data_is_flat_or_nested_as_the_shape_says(shape: list[int], data: object) -> None:
    array = to_array("x", DType.INT32, shape, data)
    assert (list(array.shape), array.ravel().tolist()) == (shape, [1, 2, 3, 4])


def test_scalars_and_empty_tensors() -> None:
    assert to_array("x", DType.FP32, [], [2.5]).shape == ()
    assert to_array("x", DType.FP32, [], 2.5) == np.float32(2.5)
    assert to_array("x", DType.FP32, [0, 3], []).shape == (0, 3)
    assert to_array("x", DType.FP32, [2, 0], [[], []]).shape == (2, 0)


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert to_array("x", DType.INT8, [3], [1.0, -2e1, 3]).tolist() == [1, -20, 3]


def test_bfloat16_is_rounded_to_the_nearest_and_ties_to_even() -> None:
    values = [1.0, 1.00390625, 1.01171875, 3.38e38, -0.0]
    assert to_array("x", DType.BF16, [5], values).tolist() == bf16_bits(np.array(values)).tolist()
    assert to_array("x", DType.BF16, [3], values[:3]).tolist() == [0x3F80, 0x3F80, 0x3F82]


@pytest.mark.parametrize(
    ("dtype", "shape", "data", "field", "mentioned"),
    [
        (DType.FP32, [2], [1.0], "inputs[x].data", "1 values do not fill shape [2]"),
        (DType.FP32, [2], [1.0, 2.0, 3.0], "inputs[x].data", "3 values"),
        (DType.FP32, [2], {"a": 1}, "inputs[x].data", "an object"),
        (DType.FP32, [2], "12", "inputs[x].data", "a string"),
        (DType.FP32, [1], None, "inputs[x].data", "null"),
        (DType.FP32, [2], [1.0, None], "inputs[x].data[1]", "value 1 is null"),
        (DType.FP32, [2], [1.0, True], "inputs[x].data[1]", "a boolean"),
        (DType.FP32, [2], [1.0, "2.0"], "inputs[x].data[1]", "a string"),
        (DType.FP32, [2], [1.0, {}], "inputs[x].data[1]", "an object"),
        (DType.FP32, [2], [1.0, 1e39], "inputs[x].data[1]", "1e+39, which is too large for FP32"),
        (DType.FP16, [2], [65504, 65520], "inputs[x].data[1]", "too large for FP16"),
        (DType.BF16, [1], [3.5e38], "inputs[x].data[0]", "too large for BF16"),
        (DType.INT8, [2], [127, 128], "inputs[x].data[1]", "128, which is not between -128 and 127"),
        (DType.INT8, [2], [127, -129], "inputs[x].data[1]", "-129"),
        (DType.UINT8, [1], [-1], "inputs[x].data[0]", "-1, which is not between 0 and 255"),
        (DType.INT64, [1], [2**63], "inputs[x].data[0]", str(2**63)),
        (DType.UINT64, [1], [1.8446744073709552e19], "inputs[x].data[0]", "whole numbers"),
        (DType.INT64, [1], [9007199254740994.0], "inputs[x].data[0]", "whole numbers"),
        (DType.INT32, [2], [1, 1.5], "inputs[x].data[1]", "1.5"),
        (DType.INT32, [2], [1, True], "inputs[x].data[1]", "a boolean"),
        (DType.INT32, [2], [1, "2"], "inputs[x].data[1]", "a string"),
        (DType.BOOL, [2], [True, 2], "inputs[x].data[1]", "the number 2"),
        (DType.BOOL, [2], [True, 1.0], "inputs[x].data[1]", "the number 1.0"),
        (DType.BYTES, [2], ["a", 1], "inputs[x].data[1]", "BYTES takes strings"),
        (DType.INT32, [2, 2], [[1, 2], [3]], "inputs[x].data[1]", "dimension 1 must have 2 items, one has 1"),
        (DType.INT32, [2, 2], [[1, 2], 3], "inputs[x].data[1]", "the number 3"),
        (DType.INT32, [2, 2], [1, 2, [3, 4]], "inputs[x].data[0]", "the number 1"),
        (DType.INT32, [2, 2], [[[1, 2], [3, 4]]], "inputs[x].data", "2 values"),
        (DType.INT32, [4], [[1, 2, 3, 4]], "inputs[x].data", "1 values"),
        (DType.INT32, [-1], [], "inputs[x]", "-1"),
        (DType.INT32, [2**62, 4], [], "inputs[x]", "absurdly large"),
        (DType.INT32, [1] * 40, [1], "inputs[x]", "rank 40"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(
    dtype: DType, shape: list[int], data: object, field: str, mentioned: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        to_array("x", dtype, shape, data)
    assert refused.value.violations[0].field == field
    assert mentioned in refused.value.message


@given(st.data())
def test_whatever_json_brings_is_an_array_or_refused(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(list(DType)))
    leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
    values = data.draw(st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=12))
    shape = data.draw(st.lists(st.integers(-1, 4), max_size=3))
    try:
        array = to_array("x", dtype, shape, values)
    except InvalidInput:
        return
    assert array.dtype == dtype.numpy and list(array.shape) == shape and array.size == math.prod(shape)
