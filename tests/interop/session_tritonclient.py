"""A session of tritonclient's gRPC clients: blocking, callbacks, streams, shared memory, asyncio. Usage: ADDRESS."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.utils.shared_memory as shm
from ml_dtypes import bfloat16
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

ONE = np.ones((1, 2), np.float32)
ARRAYS: dict[str, Any] = {
    "BOOL": np.array([[True, False]]),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-32768, 32767]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "FP16": np.array([[1.5, -0.25]], np.float16),
    "BF16": np.array([[1.5, -0.25]], bfloat16),
    "FP32": np.array([[1e-30, -3.4e38]], np.float32),
    "FP64": np.array([[1e-300, -1.7e308]], np.float64),
    "BYTES": np.array([[b"", "text with \u00e4".encode()]], dtype=object),
}


def tensor(name: str, array: Any, datatype: str = "FP32") -> Any:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def refused(call: Callable[[], object]) -> InferenceServerException:
    try:
        call()
    except InferenceServerException as error:
        return error
    raise AssertionError("that should have been refused")


def blocking(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("m") and client.is_model_ready("m", "1") and not client.is_model_ready("nobody")
    assert "statistics" in client.get_server_metadata().extensions
    assert list(client.get_model_metadata("m").inputs[0].shape) == [-1, 2]
    for datatype, array in ARRAYS.items():
        answer = client.infer(f"same_{datatype.lower()}", [tensor("x", array, datatype)]).as_numpy("y")
        np.testing.assert_array_equal(answer, array)
    for algorithm in ("gzip",) if "native" in sys.argv else ("gzip", "deflate"):  # docs/guide/operations.md
        rows = np.ones((32, 2), np.float32)
        result = client.infer("m", [tensor("x", rows)], compression_algorithm=algorithm)
        np.testing.assert_array_equal(result.as_numpy("y"), 3 * rows)
    result = client.infer(
        "m", [tensor("x", ONE)], model_version="canary", request_id="r", priority=1, timeout=9_000_000
    )
    assert (result.get_response().model_version, result.get_response().id) == ("1", "r")
    error = refused(lambda: client.infer("nobody", [tensor("x", ONE)]))
    assert "Request for unknown model: 'nobody' is not found" in error.message()
    assert error.status() == "StatusCode.NOT_FOUND"
    assert refused(lambda: client.infer("m", [tensor("z", ONE)])).status() == "StatusCode.INVALID_ARGUMENT"


def described(client: Any) -> None:
    config = client.get_model_config("m").config
    assert config.max_batch_size == 32 and list(config.input[0].dims) == [2]
    before = client.get_inference_statistics("m", "2").model_stats[0]
    client.infer("m", [tensor("x", ONE)])
    after = client.get_inference_statistics("m", "2").model_stats[0]
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    index = {(each.name, each.version): each.state for each in client.get_model_repository_index().models}
    assert index["m", "2"] == "READY" and index["unserved", "1"] == "UNAVAILABLE"
    client.load_model("m")
    assert "failed to unload 'm'" in refused(lambda: client.unload_model("m")).message()
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
    assert client.update_log_settings({"log_verbose_level": 0}).settings["log_info"].bool_param


def callbacks(client: Any) -> None:
    said: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for number in range(50):
        client.async_infer("m", [tensor("x", number * ONE)], lambda result, error: said.put(error or result))
    answers = sorted(float(said.get(timeout=30).as_numpy("y")[0, 0]) for _ in range(50))
    assert answers == [3.0 * number for number in range(50)]


def stream(client: Any) -> None:
    said: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.start_stream(lambda result, error: said.put((result, error)))
    for number in range(200):
        client.async_stream_infer(
            "nobody" if number == 100 else "m", [tensor("x", number * ONE)], request_id=str(number)
        )
    for number in range(200):
        result, error = said.get(timeout=30)
        if number == 100:
            assert "unknown model" in error.message()
        else:
            assert error is None and result.get_response().id == str(number)
            np.testing.assert_array_equal(result.as_numpy("y"), 3 * number * ONE)
    client.stop_stream()


def shared_memory(client: Any) -> None:
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    name = f"/interlock-interop-{os.getpid()}"
    handle = shm.create_shared_memory_region("region", name, 256)
    try:
        client.register_system_shared_memory("region", name, 256)
        x = np.arange(6, dtype=np.float32).reshape(3, 2)
        shm.set_shared_memory_region(handle, [x])
        given, wanted = triton.InferInput("x", [3, 2], "FP32"), triton.InferRequestedOutput("y")
        given.set_shared_memory("region", x.nbytes)
        wanted.set_shared_memory("region", x.nbytes, offset=128)
        client.infer("m", [given], outputs=[wanted])
        np.testing.assert_array_equal(shm.get_contents_as_numpy(handle, np.float32, [3, 2], 128), 3 * x)
        words = np.array([[b"one", "zw\u00f6lf".encode()]], dtype=object)
        packed = serialize_byte_tensor(words)
        shm.set_shared_memory_region(handle, [packed])
        given, wanted = triton.InferInput("x", [1, 2], "BYTES"), triton.InferRequestedOutput("y")
        given.set_shared_memory("region", len(packed.item()))
        wanted.set_shared_memory("region", 64, offset=64)
        client.infer("same_bytes", [given], outputs=[wanted])
        np.testing.assert_array_equal(shm.get_contents_as_numpy(handle, np.object_, [1, 2], 64), words)
        assert "region" in client.get_system_shared_memory_status().regions
        client.unregister_system_shared_memory("region")
        assert not client.get_system_shared_memory_status().regions
    finally:
        shm.destroy_shared_memory_region(handle)


async def asynchronous(address: str) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready() and await client.is_model_ready("m", "2")
        answers = await asyncio.gather(*(client.infer("m", [tensor("x", number * ONE)]) for number in range(50)))
        for number, result in enumerate(answers):
            np.testing.assert_array_equal(result.as_numpy("y"), 3 * number * ONE)

        async def questions() -> Any:
            for number in range(20):
                yield {"model_name": "m", "inputs": [tensor("x", number * ONE)]}

        seen = [result.as_numpy("y")[0, 0] async for result, error in client.stream_infer(questions()) if error is None]
        assert seen == [3.0 * number for number in range(20)]
        assert (await client.get_model_config("m")).config.name == "m"
        assert (await client.get_inference_statistics("m")).model_stats


def main(address: str) -> None:
    keepalive = triton.KeepAliveOptions(
        keepalive_time_ms=10_000, keepalive_timeout_ms=20_000, keepalive_permit_without_calls=True
    )
    with triton.InferenceServerClient(address, keepalive_options=keepalive) as client:
        for part in (blocking, described, callbacks, stream, shared_memory):
            part(client)
            print(f"  {part.__name__}: right", flush=True)
    asyncio.run(asynchronous(address))
    print("  asynchronous: right", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
