"""tritonclient works unmodified: every RPC of the protocol, blocking and asyncio, every datatype."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from interlock.types import DType
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.server import Server
from tests.support import eventually

ARRAYS: dict[DType, Any] = {
    DType.BOOL: np.array([[True, False]]),
    DType.INT8: np.array([[-128, 127]], np.int8),
    DType.INT16: np.array([[-32768, 32767]], np.int16),
    DType.INT32: np.array([[-(2**31), 2**31 - 1]], np.int32),
    DType.INT64: np.array([[-(2**63), 2**63 - 1]], np.int64),
    DType.UINT8: np.array([[0, 255]], np.uint8),
    DType.UINT16: np.array([[0, 65535]], np.uint16),
    DType.UINT32: np.array([[0, 2**32 - 1]], np.uint32),
    DType.UINT64: np.array([[0, 2**64 - 1]], np.uint64),
    DType.FP16: np.array([[1.5, -0.25]], np.float16),
    DType.FP32: np.array([[1e-30, -3.4e38]], np.float32),
    DType.FP64: np.array([[1e-300, -1.7e308]], np.float64),
    DType.BYTES: np.array([[b"", "text with \u00e4".encode()]], dtype=object),
}


def tensor(name: str, array: Any, dtype: str | None = None) -> Any:
    made = triton.InferInput(name, list(array.shape), dtype or np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def test_every_rpc_answers_the_blocking_client(served: Server) -> None:
    x = np.ones((3, 2), np.float32)
    with triton.InferenceServerClient(served.grpc) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("m") and client.is_model_ready("m", "1") and client.is_model_ready("m", "canary")
        about = client.get_server_metadata()
        assert about.name == "interlock"
        described = client.get_model_metadata("m")
        assert described.name == "m" and sorted(described.versions) == ["1", "2"]
        assert [(each.name, each.datatype, list(each.shape)) for each in described.inputs] == [("x", "FP32", [-1, 2])]
        for asked, version, factor in (("", "2", 3.0), ("1", "1", 2.0), ("canary", "1", 2.0)):
            result = client.infer("m", [tensor("x", x)], model_version=asked, request_id="r-1")
            np.testing.assert_array_equal(result.as_numpy("y"), x * np.float32(factor))
            reply = result.get_response()
            assert (reply.model_name, reply.model_version, reply.id) == ("m", version, "r-1")


async def test_every_rpc_answers_the_asyncio_client(served: Server) -> None:
    x = np.ones((3, 2), np.float32)
    async with triton_aio.InferenceServerClient(served.grpc) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("m", "2")
        assert (await client.get_server_metadata()).name == "interlock"
        assert (await client.get_model_metadata("m", "1")).inputs[0].name == "x"
        result = await client.infer("m", [tensor("x", x)])
        np.testing.assert_array_equal(result.as_numpy("y"), x * np.float32(3))


@pytest.mark.parametrize("dtype", ARRAYS, ids=lambda dtype: dtype.value)
def test_every_datatype_comes_back_as_it_went(served: Server, dtype: DType) -> None:
    array = ARRAYS[dtype]
    with triton.InferenceServerClient(served.grpc) as client:
        result = client.infer(f"same_{dtype.value.lower()}", [tensor("x", array, dtype.value)])
    answer = result.as_numpy("y")
    assert answer.shape == array.shape
    np.testing.assert_array_equal(answer, array)


def test_only_the_requested_outputs_come_back(served: Server) -> None:
    one = np.ones((1, 2), np.float32)
    with triton.InferenceServerClient(served.grpc) as client:
        result = client.infer(
            "pair", [tensor("b", one), tensor("a", 5 * one)], outputs=[triton.InferRequestedOutput("difference")]
        )
    np.testing.assert_array_equal(result.as_numpy("difference"), 4 * one)
    assert result.as_numpy("sum") is None


def test_asynchronous_requests_are_all_answered_rightly(served: Server) -> None:
    answers: list[Any] = []
    with triton.InferenceServerClient(served.grpc) as client:
        for index in range(50):
            x = np.full((1, 2), index, np.float32)
            client.async_infer(
                "m",
                [tensor("x", x)],
                callback=lambda result, error: answers.append(error or result),
                request_id=str(index),
            )
        eventually(lambda: len(answers) == 50, "every request is answered")
    for result in answers:
        assert not isinstance(result, InferenceServerException), result
        expected = np.full((1, 2), 3.0 * float(result.get_response().id), np.float32)
        np.testing.assert_array_equal(result.as_numpy("y"), expected)


def test_an_unknown_model_is_said_in_the_words_that_tools_look_for(served: Server) -> None:
    with triton.InferenceServerClient(served.grpc) as client:
        with pytest.raises(InferenceServerException, match="Request for unknown model: 'nobody' is not found") as error:
            client.infer("nobody", [tensor("x", np.ones((1, 2), np.float32))])
        assert "NOT_FOUND" in error.value.status()
        with pytest.raises(InferenceServerException):
            client.get_model_metadata("nobody")


@pytest.mark.parametrize("first", ["tritonclient.grpc", "interlock_client"])
def test_one_process_uses_both_clients_whichever_is_imported_first(served: Server, first: str) -> None:
    second = {"tritonclient.grpc": "interlock_client", "interlock_client": "tritonclient.grpc"}[first]
    program = f"""
import {first}, {second}
import numpy as np
import tritonclient.grpc as triton
from interlock_client import Client
x = np.ones((1, 2), np.float32)
def ours():
    with Client({served.grpc!r}, retries=0) as client:
        return client.infer("m", {{"x": x}})["y"]
def theirs():
    made = triton.InferInput("x", [1, 2], "FP32")
    made.set_data_from_numpy(x)
    with triton.InferenceServerClient({served.grpc!r}) as client:
        return client.infer("m", [made]).as_numpy("y")
for ask in (ours, theirs, ours, theirs):
    np.testing.assert_array_equal(ask(), 3 * x)
print("both")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "both"), done.stderr
