"""What goes into an input, what is refused, and what the refusal says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interlock.errors import InvalidInput
from interlock.tensors import decode_raw, encode_raw, raw_buffer
from interlock.types import Dim, DType, TensorSpec
from interlock_client._tensor import to_array


def spec(dtype: DType, *shape: Dim) -> TensorSpec:
    return TensorSpec("x", dtype, shape)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (DType.FP32, [1, 2.5, -3], np.array([1, 2.5, -3], np.float32)),
        (DType.FP32, [0.1], np.array([0.1], np.float32)),
        (DType.FP32, [float("inf"), float("-inf")], np.array([np.inf, -np.inf], np.float32)),
        (DType.FP16, [1, 65504], np.array([1, 65504], np.float16)),
        (DType.FP64, [2**53], np.array([2.0**53])),
        (DType.FP32, [2**30], np.array([2.0**30], np.float32)),
        (DType.INT64, [1.0, -2.0], np.array([1, -2])),
        (DType.INT64, [2**63 - 1, -1], np.array([2**63 - 1, -1])),
        (DType.UINT64, [2**64 - 1], np.array([2**64 - 1], np.uint64)),
        (DType.UINT8, [0, 255], np.array([0, 255], np.uint8)),
        (DType.INT8, (1, 2), np.array([1, 2], np.int8)),
        (DType.BOOL, [True, False], np.array([True, False])),
        (DType.FP32, [], np.empty(0, np.float32)),
        (DType.INT32, [], np.empty(0, np.int32)),
        (DType.BF16, [1.0, -2.0], np.array([0x3F80, 0xC000], np.uint16)),
        (DType.BF16, [1, 256], np.array([0x3F80, 0x4380], np.uint16)),
    ],
)
def test_python_literals_are_converted_where_no_value_changes(
    dtype: DType, value: object, expected: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> None:
    array = to_array(spec(dtype, None), value)
    assert array.dtype == dtype.numpy
    assert np.array_equal(array, expected)


def test_bf16_rounds_to_nearest_and_keeps_nan() -> None:
    bits = to_array(spec(DType.BF16, None), [1 + 2**-9, 1 + 3 * 2**-8, float("nan"), float("inf")])
    assert bits.tolist() == [0x3F80, 0x3F82, 0x7FC0, 0x7F80]


@pytest.mark.parametrize(
    ("dtype", "value", "why"),
    [
        (DType.FP32, [True], "got True of type bool"),
        (DType.FP32, ["1"], "got '1' of type str"),
        (DType.FP32, [None], "got None of type NoneType"),
        (DType.FP32, [1e39], "got 1e+39, which is too large for it"),
        (DType.FP32, [10**400], "which is too large for it"),
        (DType.FP16, [65520], "got 65520, which is too large for it"),
        (DType.FP16, [70000.0], "got 70000.0, which is too large for it"),
        (DType.BF16, [257], "got 257, which it cannot hold exactly"),
        (DType.BF16, [3.4e38], "got 3.4e+38, which is too large for it"),
        (DType.FP32, [2**24 + 1], "got 16777217, which it cannot hold exactly"),
        (DType.FP64, [2**53 + 1], "which it cannot hold exactly"),
        (DType.FP64, [2**53 + 1, 0.5], "which it cannot hold exactly"),
        (DType.FP16, [2049, 0.5], "got 2049, which it cannot hold exactly"),
        (DType.INT64, [1.5], "got 1.5, which is not a whole number"),
        (DType.INT64, [float("nan")], "got nan, which is not a whole number"),
        (DType.INT64, [2**63], "which is not between -9223372036854775808 and 9223372036854775807"),
        (DType.INT64, [-1, 2**63], "which is not between"),
        (DType.UINT64, [2**63, -1], "got -1, which is not between 0 and"),
        (DType.UINT8, [256], "got 256, which is not between 0 and 255"),
        (DType.INT8, [1e300], "which is not between -128 and 127"),
        (DType.BOOL, [1], "got 1: use True and False"),
        (DType.FP32, [[1], [1, 2]], "got nested lists of unequal lengths"),
        (DType.FP32, [[[1]], [1]], "got nested lists of unequal lengths"),
        (DType.FP32, [np.zeros((2, 2)), np.zeros((2, 3))], "got nested lists of unequal lengths"),
        (DType.BYTES, [1], "got 1 of type int in it"),
        (DType.BYTES, ["\ud800"], "not valid Unicode"),
        (DType.FP32, {"a": 1}, "of type dict"),
    ],
)
def test_python_literals_that_would_change_are_refused(dtype: DType, value: object, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_array(spec(dtype, None), value)
    assert caught.value.message.startswith("input 'x' expects ")
    assert why in caught.value.message
    assert [each.field for each in caught.value.violations] == ["inputs[x]"]


@pytest.mark.parametrize(
    ("dtype", "array", "message"),
    [
        (
            DType.FP32,
            np.zeros(2),
            "input 'x' expects FP32 (numpy float32), got float64: convert with x.astype(np.float32)",
        ),
        (
            DType.INT64,
            np.zeros(2, np.int32),
            "input 'x' expects INT64 (numpy int64), got int32: convert with x.astype(np.int64)",
        ),
        (
            DType.BOOL,
            np.zeros(2, np.uint8),
            "input 'x' expects BOOL (numpy bool), got uint8: convert with x.astype(np.bool)",
        ),
        (DType.FP32, np.array(["a"]), "input 'x' expects FP32 (numpy float32), got <U1"),
        (DType.FP32, np.array([None]), "input 'x' expects FP32 (numpy float32), got object"),
        (
            DType.BF16,
            np.zeros(2, np.float32),
            "input 'x' expects BF16 (its bits as numpy uint16), got float32: pass Python floats, an "
            "ml_dtypes.bfloat16 array or the bits as uint16",
        ),
        (DType.BYTES, np.zeros(2), "input 'x' expects BYTES (str or bytes), got float64"),
    ],
)
def test_arrays_of_another_dtype_are_refused_with_the_way_out(
    dtype: DType, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_array(spec(dtype, None), array)
    assert caught.value.message == message


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.BYTES])
def test_arrays_of_the_right_dtype_pass_untouched(dtype: DType) -> None:
    array = np.ones((2, 3), dtype.numpy)
    assert to_array(spec(dtype, None, 3), array) is array


def test_big_endian_and_strided_arrays_arrive_as_they_read() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    sent = encode_raw(to_array(spec(DType.FP32, None, 2), array), DType.FP32)
    assert np.array_equal(decode_raw("x", DType.FP32, array.shape, sent), array)


def test_a_masked_array_is_sent_whole_where_nothing_is_masked_and_refused_where_something_is() -> None:
    values = np.ma.masked_array(np.array([1, 2, 3], np.float32), [False, False, False])
    raw = raw_buffer(to_array(spec(DType.FP32, None), values), DType.FP32)
    assert memoryview(raw).nbytes == 12 and np.array_equal(np.frombuffer(raw, np.float32), [1, 2, 3])
    with pytest.raises(InvalidInput, match=r"got a masked array with values masked, .* fill them"):
        to_array(spec(DType.FP32, None), np.ma.masked_equal(values, 2))


def test_an_ml_dtypes_bfloat16_array_is_sent_as_its_bits() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.0, -2.0], dtype=ml_dtypes.bfloat16)
    assert to_array(spec(DType.BF16, None), array).tolist() == [0x3F80, 0xC000]


def test_numpy_scalars_are_as_strict_as_arrays() -> None:
    assert to_array(spec(DType.FP32), np.float32(1.5)) == np.float32(1.5)
    with pytest.raises(InvalidInput, match="got float64"):
        to_array(spec(DType.FP32), np.float64(1.5))
    assert to_array(spec(DType.FP32), 1.5).shape == ()


def test_an_object_that_numpy_cannot_read_is_refused_with_its_reason() -> None:
    class OnGpu:
        def __array__(self, dtype: object = None, copy: object = None) -> None:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    with pytest.raises(InvalidInput, match="got a OnGpu that numpy cannot read: can't convert cuda:0"):
        to_array(spec(DType.FP32, None), OnGpu())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", b"b\0"], [b"a", b"b\0"]),
        ("é", "é".encode()),
        (b"\0", b"\0"),
        (np.array(["a", "bc"]), [b"a", b"bc"]),
        (np.array([b"a", b"bc"]), [b"a", b"bc"]),
        (np.array(["a", "é"], dtype=np.dtypes.StringDType()), [b"a", "é".encode()]),
        (np.array(["a", b"b"], dtype=object), [b"a", b"b"]),
        ([["a"], ["b"]], [[b"a"], [b"b"]]),
    ],
)
def test_text_and_bytes_go_into_bytes(value: object, expected: object) -> None:
    rank = np.asarray(value, dtype=object).ndim
    assert to_array(spec(DType.BYTES, *([None] * rank)), value).tolist() == expected


@pytest.mark.parametrize(
    ("shape", "value", "why"),
    [
        (
            (None, 2),
            np.zeros(2, np.float32),
            "shape [?, 2] (rank 2), got shape [2] (rank 1); a batch of one is x[np.newaxis]",
        ),
        ((None,), np.zeros((1, 2), np.float32), "shape [?] (rank 1), got shape [1, 2] (rank 2)"),
        ((None, 2), np.zeros((5, 3), np.float32), "shape [?, 2], got [5, 3]: dimension 1 must be 2"),
        (("batch", 2), [[1, 2, 3]], "shape [batch, 2], got [1, 3]: dimension 1 must be 2"),
        ((), [1], "shape [] (rank 0), got shape [1] (rank 1)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape: tuple[Dim, ...], value: object, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_array(spec(DType.FP32, *shape), value)
    assert caught.value.message == f"input 'x' expects FP32 (numpy float32), {why}"


NUMERIC = [dtype for dtype in DType if dtype not in (DType.BYTES, DType.BF16, DType.BOOL)]


@given(st.sampled_from(NUMERIC), st.lists(st.one_of(st.integers(), st.floats(), st.booleans(), st.text()), max_size=5))
def test_whatever_is_accepted_keeps_its_values(dtype: DType, values: list[object]) -> None:
    try:
        array = to_array(spec(dtype, None), values)
    except InvalidInput:
        return
    assert array.dtype == dtype.numpy
    for stored, value in zip(array.tolist(), values, strict=True):
        if isinstance(value, int) or dtype.numpy.kind in "iu":
            assert stored == value
        else:
            assert isinstance(value, float)
            assert stored == float(dtype.numpy.type(value)) or np.isnan(value)
