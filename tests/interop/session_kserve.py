"""A session of the KServe SDK's gRPC client: readiness, raw and typed tensors, strings, errors. Usage: ADDRESS."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.logging import logger

ONE = np.ones((1, 2), np.float32)


def request(model: str, datatype: str, array: Any, *, binary: bool, version: str = "") -> Any:
    made = InferInput("x", list(array.shape), datatype)
    if binary:
        made.set_data_from_numpy(array, binary_data=True)
    else:
        made.data = array.ravel().tolist()
    return InferRequest(model, [made], request_id="r-1", model_version=version)


async def session(address: str) -> None:
    async with InferenceGRPCClient(address, timeout=30) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("m") and not await client.is_model_ready("nobody")
        print("  readiness: right", flush=True)

        raw = await client.infer(request("m", "FP32", 2 * ONE, binary=True))
        assert (raw.model_name, raw.model_version, raw.id) == ("m", "2", "r-1")
        np.testing.assert_array_equal(raw.outputs[0].as_numpy(), 6 * ONE)
        old = await client.infer(request("m", "FP32", ONE, binary=True, version="1"))
        assert old.model_version == "1"
        print("  raw tensors: right", flush=True)

        typed = await client.infer(request("m", "FP32", 2 * ONE, binary=False))
        assert list(typed.outputs[0].data) == [6.0, 6.0], "typed requests are answered in typed form"
        for datatype, dtype in (("INT8", np.int8), ("UINT16", np.uint16), ("INT64", np.int64), ("FP64", np.float64)):
            array = np.array([[1, 127]], dtype)
            answer = await client.infer(request(f"same_{datatype.lower()}", datatype, array, binary=False))
            assert list(answer.outputs[0].data) == [1, 127], datatype
        print("  typed tensors: right", flush=True)

        words = np.array([["one", "zw\u00f6lf"]], dtype=np.object_)
        answer = await client.infer(request("same_bytes", "BYTES", words, binary=True))
        assert [bytes(word).decode() for word in answer.outputs[0].as_numpy().ravel()] == ["one", "zw\u00f6lf"]
        print("  strings: right", flush=True)

        logger.setLevel(logging.CRITICAL)  # it logs each error with its traceback
        for wrong, code in (
            (request("nobody", "FP32", ONE, binary=True), grpc.StatusCode.NOT_FOUND),
            (request("m", "FP64", ONE.astype(np.float64), binary=True), grpc.StatusCode.INVALID_ARGUMENT),
            (request("m", "FP32", ONE, binary=True, version="99"), grpc.StatusCode.NOT_FOUND),
        ):
            try:
                await client.infer(wrong)
            except grpc.RpcError as error:
                assert error.code() is code, error
            else:
                raise AssertionError("that should have been refused")
        print("  errors: right", flush=True)


if __name__ == "__main__":
    asyncio.run(session(sys.argv[1]))
