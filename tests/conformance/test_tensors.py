"""Tensors on the wire: every datatype, raw and typed, whole, empty and without dimensions."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock.tensors import TYPED_FIELD, decode_raw, decode_typed
from interlock.types import Array, DType

from tests.conformance import requests
from tests.server import Server


def example(dtype: DType, rows: int) -> Array:
    """Return distinct values, extreme ones among them."""
    count = rows * 2
    if dtype is DType.BYTES:
        items = np.empty(count, dtype=object)
        items[:] = [b"", "\u00e4\u00f6".encode(), b"with\nlines"][:count] + [b"x" * index for index in range(3, count)]
        return items.reshape(rows, 2)
    if dtype is DType.BOOL:
        return np.asarray(np.arange(count) % 2 == 0).reshape(rows, 2)
    if dtype is DType.BF16:  # its bits
        return np.arange(0x3F80, 0x3F80 + count, dtype=np.uint16).reshape(rows, 2)
    values: Any = np.arange(count).astype(dtype.numpy)
    if count:
        limits: Any = np.iinfo(values.dtype) if values.dtype.kind in "iu" else np.finfo(values.dtype)
        values[0], values[-1] = limits.max, limits.min
    return np.asarray(values.reshape(rows, 2))


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("dtype", list(DType), ids=lambda dtype: dtype.value)
def test_raw_contents_come_back_raw(stub: GRPCInferenceServiceStub, dtype: DType, rows: int) -> None:
    array = example(dtype, rows)
    reply = stub.ModelInfer(requests.raw(f"same_{dtype.value.lower()}", {"x": (dtype, array)}, id="my id"), timeout=60)
    (output,) = reply.outputs
    assert (reply.id, reply.model_version) == ("my id", "1")
    assert (output.name, output.datatype, list(output.shape)) == ("y", dtype.value, [rows, 2])
    assert not output.HasField("contents") and len(reply.raw_output_contents) == 1
    np.testing.assert_array_equal(decode_raw("y", dtype, [rows, 2], reply.raw_output_contents[0]), array)


@pytest.mark.parametrize("dtype", list(TYPED_FIELD), ids=lambda dtype: dtype.value)
def test_typed_contents_come_back_typed(stub: GRPCInferenceServiceStub, dtype: DType) -> None:
    array = example(dtype, 3)
    reply = stub.ModelInfer(requests.typed(f"same_{dtype.value.lower()}", {"x": (dtype, array)}), timeout=60)
    (output,) = reply.outputs
    assert not reply.raw_output_contents
    np.testing.assert_array_equal(decode_typed("y", dtype, output.shape, output.contents), array)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
def test_a_compressed_request_is_answered_as_any_other(
    served: Server, stub: GRPCInferenceServiceStub, compression: grpc.Compression
) -> None:
    if compression is grpc.Compression.Deflate and "native" in served.flags:
        pytest.skip("docs/guide/operations.md says that the native front takes gzip alone")
    array = np.zeros((5, 2), np.float32)
    array[3] = 7
    asked = requests.raw("same_fp32", {"x": (DType.FP32, array)})
    reply = stub.ModelInfer(asked, timeout=60, compression=compression)
    np.testing.assert_array_equal(decode_raw("y", DType.FP32, [5, 2], reply.raw_output_contents[0]), array)


def test_a_scalar_has_no_dimensions(stub: GRPCInferenceServiceStub) -> None:
    reply = stub.ModelInfer(requests.raw("scalar", {"x": (DType.FP32, np.array(2.5, np.float32))}), timeout=60)
    assert list(reply.outputs[0].shape) == []
    assert decode_raw("y", DType.FP32, [], reply.raw_output_contents[0]) == np.float32(2.5)


def test_outputs_come_in_the_order_in_which_they_were_asked_for(stub: GRPCInferenceServiceStub) -> None:
    one = np.ones((1, 2), np.float32)
    inputs = {"b": (DType.FP32, one), "a": (DType.FP32, 4 * one)}
    for asked in (["difference", "sum"], ["sum", "difference"], ["difference"]):
        reply = stub.ModelInfer(requests.raw("pair", inputs, outputs=asked), timeout=60)
        assert [output.name for output in reply.outputs] == asked
        for output, content in zip(reply.outputs, reply.raw_output_contents, strict=True):
            expected = {"sum": 5 * one, "difference": 3 * one}[output.name]
            np.testing.assert_array_equal(decode_raw(output.name, DType.FP32, output.shape, content), expected)


def test_nan_and_infinity_pass_through(stub: GRPCInferenceServiceStub) -> None:
    array = np.array([[np.nan, np.inf], [-np.inf, -0.0]], np.float32)
    for request in (requests.raw, requests.typed):
        reply = stub.ModelInfer(request("same_fp32", {"x": (DType.FP32, array)}), timeout=60)
        output = reply.outputs[0]
        answer = (
            decode_raw("y", DType.FP32, output.shape, reply.raw_output_contents[0])
            if reply.raw_output_contents
            else decode_typed("y", DType.FP32, output.shape, output.contents)
        )
        np.testing.assert_array_equal(answer, array)


def test_strings_with_nul_and_empty_strings_keep_their_length(stub: GRPCInferenceServiceStub) -> None:
    array = np.array([[b"a\0b", b"\0"], [b"", b"tail\0"]], dtype=object)
    reply = stub.ModelInfer(requests.raw("same_bytes", {"x": (DType.BYTES, array)}), timeout=60)
    np.testing.assert_array_equal(decode_raw("y", DType.BYTES, [2, 2], reply.raw_output_contents[0]), array)


def test_the_answer_says_who_gave_it(stub: GRPCInferenceServiceStub) -> None:
    x = {"x": (DType.FP32, np.ones((1, 2), np.float32))}
    for version, alias, concrete in (("", "stable", "2"), ("canary", "canary", "1"), ("2", "", "2")):
        reply, call = stub.ModelInfer.with_call(requests.raw("m", x, version=version), timeout=60)
        trailing = dict(call.trailing_metadata())
        assert (reply.model_name, reply.model_version) == ("m", concrete)
        assert trailing["interlock-alias"] == alias
        assert len(trailing["interlock-digest"]) == 64
        assert int(trailing["interlock-run-us"]) >= 0 and int(trailing["interlock-queue-us"]) >= 0
