"""A session of tritonclient's HTTP client: JSON and binary tensors, packed bodies, errors. Usage: GRPC HTTP."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

ONE = np.ones((1, 2), np.float32)


def tensor(name: str, array: Any, datatype: str = "FP32", *, binary: bool = True) -> Any:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def refused(call: Callable[[], object]) -> InferenceServerException:
    try:
        call()
    except InferenceServerException as error:
        return error
    raise AssertionError("that should have been refused")


def tensors(client: Any) -> None:
    arrays: dict[str, Any] = {
        "BOOL": np.array([[True, False]]),
        "INT8": np.array([[-128, 127]], np.int8),
        "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
        "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
        "FP32": np.array([[1e-30, -3.4e38]], np.float32),
        "FP64": np.array([[1e-300, -1.7e308]], np.float64),
        "BYTES": np.array([["", "text with \u00e4"]], dtype=object),
    }
    for datatype, array in arrays.items():
        for given in (True, False):
            for wanted in (True, False):
                answer = client.infer(
                    f"same_{datatype.lower()}",
                    [tensor("x", array, datatype, binary=given)],
                    outputs=[triton.InferRequestedOutput("y", binary_data=wanted)],
                ).as_numpy("y")
                if datatype == "BYTES":
                    answer = np.array([[word.decode() if isinstance(word, bytes) else word for word in answer[0]]])
                np.testing.assert_array_equal(answer, array)
    half = np.array([[1.5, -0.25]], np.float16)
    np.testing.assert_array_equal(client.infer("same_fp16", [tensor("x", half, "FP16")]).as_numpy("y"), half)


def packed(client: Any) -> None:
    rows = np.ones((32, 2), np.float32)
    for algorithm in ("gzip", "deflate"):
        result = client.infer("m", [tensor("x", rows)], request_compression_algorithm=algorithm)
        np.testing.assert_array_equal(result.as_numpy("y"), 3 * rows)


def described(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("m") and client.is_model_ready("m", "1") and not client.is_model_ready("nobody")
    assert "statistics" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("m")["inputs"][0]["shape"] == [-1, 2]
    assert client.get_model_config("m")["max_batch_size"] == 32
    assert client.get_inference_statistics("m", "2")["model_stats"][0]["version"] == "2"
    index = {(each["name"], each["version"]): each["state"] for each in client.get_model_repository_index()}
    assert index["m", "2"] == "READY" and index["unserved", "1"] == "UNAVAILABLE"
    client.load_model("m")
    assert "failed to unload 'm'" in refused(lambda: client.unload_model("m")).message()


def errors(client: Any) -> None:
    error = refused(lambda: client.infer("nobody", [tensor("x", ONE)]))
    assert "Request for unknown model: 'nobody' is not found" in error.message()
    assert "'z' does not exist" in refused(lambda: client.infer("m", [tensor("z", ONE)])).message()
    result = client.infer("m", [tensor("x", ONE)], model_version="canary", request_id="r", priority=1)
    assert (result.get_response()["model_version"], result.get_response()["id"]) == ("1", "r")


def settings(client: Any) -> None:
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    own = client.update_trace_settings("m", {"trace_level": ["TIMESTAMPS"], "trace_rate": "5"})
    assert (own["trace_level"], own["trace_rate"]) == (["TIMESTAMPS"], "5")
    assert client.get_trace_settings("m")["trace_rate"] == "5"
    assert client.update_trace_settings("m", {"trace_level": None, "trace_rate": None})["trace_level"] == ["OFF"]
    assert client.update_log_settings({"log_verbose_level": 0})["log_info"] is True
    assert "can not be updated" in refused(lambda: client.update_log_settings({"log_file": "elsewhere"})).message()


def shared_memory(client: Any) -> None:
    name = f"/interlock-http-{os.getpid()}"
    handle = shm.create_shared_memory_region("region", name, 64)
    try:
        shm.set_shared_memory_region(handle, [2 * ONE])
        client.unregister_system_shared_memory()
        client.register_system_shared_memory("region", name, 64)
        (told,) = client.get_system_shared_memory_status()
        assert (told["name"], told["key"], told["byte_size"]) == ("region", name, 64)
        given, wanted = triton.InferInput("x", [1, 2], "FP32"), triton.InferRequestedOutput("y", binary_data=True)
        given.set_shared_memory("region", 8)
        wanted.set_shared_memory("region", 8, 32)
        client.infer("m", [given], outputs=[wanted])
        np.testing.assert_array_equal(shm.get_contents_as_numpy(handle, np.float32, [1, 2], 32), 6 * ONE)
        client.unregister_system_shared_memory("region")
        assert client.get_system_shared_memory_status() == []
        client.unregister_cuda_shared_memory()
        assert client.get_cuda_shared_memory_status() == []
    finally:
        shm.destroy_shared_memory_region(handle)


def asynchronous(client: Any) -> None:
    asked = [client.async_infer("m", [tensor("x", number * ONE)]) for number in range(20)]
    for number, each in enumerate(asked):
        np.testing.assert_array_equal(each.get_result().as_numpy("y"), 3 * number * ONE)


def main(address: str) -> None:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        for part in (described, tensors, packed, errors, settings, shared_memory, asynchronous):
            part(client)
            print(f"  {part.__name__}: right", flush=True)


if __name__ == "__main__":
    main(sys.argv[2])
