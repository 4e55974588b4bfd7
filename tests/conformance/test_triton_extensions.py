"""What Triton adds to the protocol, asked by its own client: streams, configuration, statistics, shared memory."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.utils.shared_memory as shm
from tritonclient.grpc import model_config_pb2 as config
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from tests.server import Server
from tests.support import eventually

ONE = np.ones((1, 2), np.float32)


@pytest.fixture(scope="module")
def client(served: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(served.grpc) as made:
        yield made


def tensor(name: str, array: Any) -> Any:
    made = triton.InferInput(name, list(array.shape), "FP32" if array.dtype == np.float32 else "BYTES")
    made.set_data_from_numpy(array)
    return made


def ask(client: Any, said: queue.SimpleQueue[tuple[Any, Any]], count: int) -> list[tuple[Any, Any]]:
    return [said.get(timeout=60) for _ in range(count)]


# --- streams ---


def test_a_stream_answers_in_order_and_goes_on_after_an_error(client: Any) -> None:
    said: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    client.start_stream(lambda result, error: said.put((result, error)))
    for number in range(100):
        model = "nobody" if number == 50 else "m"
        client.async_stream_infer(model, [tensor("x", number * ONE)], request_id=str(number))
    answers = ask(client, said, 100)
    client.stop_stream()
    for number, (result, error) in enumerate(answers):
        if number == 50:
            assert "Request for unknown model: 'nobody' is not found" in error.message()
            continue
        assert error is None, error
        reply = result.get_response()
        assert (reply.id, reply.model_version) == (str(number), "2")
        np.testing.assert_array_equal(result.as_numpy("y"), 3 * number * ONE)


def test_an_answer_of_a_stream_says_that_it_is_the_last_one_of_its_request(client: Any) -> None:
    said: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    client.start_stream(lambda result, error: said.put((result, error)))
    client.async_stream_infer("m", [tensor("x", ONE)], enable_empty_final_response=True)
    ((result, error),) = ask(client, said, 1)
    client.stop_stream()
    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param


def test_a_stream_can_end_with_a_status_instead(served: Server) -> None:
    with triton.InferenceServerClient(served.grpc) as client:
        said: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        client.start_stream(lambda result, error: said.put((result, error)), headers={"triton_grpc_error": "true"})
        client.async_stream_infer("nobody", [tensor("x", ONE)])
        ((_, error),) = ask(client, said, 1)
        assert error.status() == "StatusCode.NOT_FOUND"


async def test_an_asyncio_stream_is_answered(served: Server) -> None:
    async def questions() -> Any:
        for number in range(20):
            yield {"model_name": "m", "inputs": [tensor("x", number * ONE)], "request_id": str(number)}

    async with triton_aio.InferenceServerClient(served.grpc) as client:
        number = 0
        async for result, error in client.stream_infer(questions()):
            assert error is None
            np.testing.assert_array_equal(result.as_numpy("y"), 3 * number * ONE)
            number += 1
        assert number == 20


# --- configuration and statistics ---


def test_the_configuration_says_how_a_version_is_served(client: Any) -> None:
    found = client.get_model_config("m").config
    assert (found.name, found.backend, found.max_batch_size) == ("m", "onnxruntime", 32)
    assert [(each.name, each.data_type, list(each.dims)) for each in found.input] == [("x", config.TYPE_FP32, [2])]
    assert [(each.name, each.data_type, list(each.dims)) for each in found.output] == [("y", config.TYPE_FP32, [2])]
    assert sorted(found.version_policy.specific.versions) == [1, 2]
    assert [(group.count, group.kind) for group in found.instance_group] == [(1, config.ModelInstanceGroup.KIND_CPU)]
    assert found.dynamic_batching.default_queue_policy.max_queue_size == 1024
    assert found.parameters["interlock.version"].string_value == "2"
    fixed = client.get_model_config("fixed").config
    assert (fixed.max_batch_size, list(fixed.input[0].dims)) == (0, [2, 3])
    parameters = client.get_model_config("m", "1", as_json=True)["config"]["parameters"]
    assert parameters["interlock.version"] == {"string_value": "1"}
    assert all("string_value" in each for each in parameters.values()), "pytriton reads it of every parameter"
    assert client.get_model_config("same_bytes").config.input[0].data_type == config.TYPE_STRING


def test_statistics_count_what_was_answered_and_what_failed(client: Any) -> None:
    def numbers() -> Any:
        (found,) = client.get_inference_statistics("pair", "1").model_stats
        return found

    before = numbers()
    rows = np.ones((3, 2), np.float32)
    for _ in range(4):
        client.infer("pair", [tensor("a", rows), tensor("b", rows)])
    with pytest.raises(InferenceServerException):
        client.infer("pair", [tensor("a", rows)])
    after = numbers()
    assert (after.name, after.version) == ("pair", "1")
    assert after.inference_count - before.inference_count == 12
    assert after.execution_count - before.execution_count == 4
    assert after.last_inference > 1_600_000_000_000
    for kind in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        now, then = getattr(after.inference_stats, kind), getattr(before.inference_stats, kind)
        assert now.count - then.count == 4, kind
        assert now.ns >= then.ns
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    spent = after.inference_stats
    parts = spent.queue.ns + spent.compute_input.ns + spent.compute_infer.ns + spent.compute_output.ns
    assert 0 < spent.compute_infer.ns <= parts <= spent.success.ns
    runs = {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats}
    assert sum(runs.values()) == after.execution_count
    assert sum(size * count for size, count in runs.items()) == after.inference_count


def test_statistics_are_of_a_version_a_model_or_everything(client: Any) -> None:
    def named(*asked: str) -> list[tuple[str, str]]:
        return [(each.name, each.version) for each in client.get_inference_statistics(*asked).model_stats]

    assert named("m") == [("m", "1"), ("m", "2")]
    assert named("m", "2") == [("m", "2")]
    assert named("m", "canary") == [("m", "1")]
    assert {("m", "1"), ("m", "2"), ("pair", "1")} <= set(named())


def test_the_server_lists_the_extensions_that_it_has(client: Any) -> None:
    extensions = set(client.get_server_metadata().extensions)
    assert {"statistics", "model_configuration", "system_shared_memory", "parameters"} <= extensions
    assert not extensions & {"cuda_shared_memory", "sequence", "classification"}


# --- optional inputs ---


def test_an_input_with_a_default_may_be_left_out(served: Server, client: Any) -> None:
    x, five = tensor("x", ONE), tensor("scale", np.array([5.0], np.float32))
    np.testing.assert_array_equal(client.infer("scaled", [x]).as_numpy("y"), 2 * ONE)
    np.testing.assert_array_equal(client.infer("scaled", [five, x]).as_numpy("y"), 5 * ONE)
    with ThreadPoolExecutor(8) as pool:
        given = [[x, five] if number % 3 == 0 else [x] for number in range(48)]
        answers = list(pool.map(lambda inputs: client.infer("scaled", inputs).as_numpy("y")[0, 0], given))
    assert answers == [5.0 if len(inputs) == 2 else 2.0 for inputs in given]
    with pytest.raises(InferenceServerException, match="may be given scale FP32"):
        client.infer("scaled", [x, tensor("z", ONE)])
    with pytest.raises(InferenceServerException, match="'x' is missing"):
        client.infer("scaled", [five])
    with pytest.raises(InferenceServerException, match="has size 1 in dimension 0"):
        client.infer("scaled", [x, tensor("scale", np.ones(2, np.float32))])


def test_the_configuration_and_our_own_client_know_which_inputs_are_optional(served: Server, client: Any) -> None:
    found = client.get_model_config("scaled").config
    assert [(each.name, each.optional, list(each.dims)) for each in found.input] == [
        ("x", False, [2]),
        ("scale", True, [1]),
    ]
    assert [each.name for each in client.get_model_metadata("scaled").inputs] == ["x", "scale"]
    with served.client() as ours:
        signature = ours.metadata("scaled").signature
        assert [spec.name for spec in signature.inputs] == ["x"]
        assert [spec.name for spec in signature.optional] == ["scale"]
        np.testing.assert_array_equal(ours.infer("scaled", {"x": ONE})["y"], 2 * ONE)
        np.testing.assert_array_equal(ours.infer("scaled", {"x": ONE, "scale": [4.0]})["y"], 4 * ONE)


# --- parameters ---


def test_priority_and_timeout_are_taken_and_sequences_are_not(client: Any) -> None:
    x = [tensor("x", ONE)]
    np.testing.assert_array_equal(client.infer("m", x, priority=1, timeout=10_000_000).as_numpy("y"), 3 * ONE)
    with pytest.raises(InferenceServerException, match="takes sequences"):
        client.infer("m", x, sequence_id=7, sequence_start=True)
    with pytest.raises(InferenceServerException, match="from 0 to 16"):
        client.infer("m", x, priority=99)
    with pytest.raises(InferenceServerException, match="classification"):
        client.infer("m", x, outputs=[triton.InferRequestedOutput("y", class_count=2)])


# --- shared memory ---


@pytest.fixture
def region(client: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    name = f"interlock-{request.node.originalname}"[:60]
    handle = shm.create_shared_memory_region("region", f"/{name}", 256)
    client.register_system_shared_memory("region", f"/{name}", 256)
    yield handle
    client.unregister_system_shared_memory("region")
    shm.destroy_shared_memory_region(handle)


def placed(name: str, kind: str, shape: list[int], size: int, offset: int = 0) -> Any:
    made = triton.InferInput(name, shape, kind)
    made.set_shared_memory("region", size, offset)
    return made


def wanted(name: str, size: int, offset: int) -> Any:
    made = triton.InferRequestedOutput(name)
    made.set_shared_memory("region", size, offset)
    return made


def test_tensors_go_in_and_out_through_shared_memory(client: Any, region: Any) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    shm.set_shared_memory_region(region, [x])
    result = client.infer("m", [placed("x", "FP32", [3, 2], 24)], outputs=[wanted("y", 64, 128)])
    output = result.get_output("y")
    assert output.parameters["shared_memory_region"].string_param == "region"
    assert output.parameters["shared_memory_byte_size"].int64_param == 24
    assert list(result.get_response().raw_output_contents) == [b""]
    np.testing.assert_array_equal(shm.get_contents_as_numpy(region, np.float32, [3, 2], 128), 3 * x)


def test_strings_go_through_shared_memory_too(client: Any, region: Any) -> None:
    words = np.array([["text with \u00e4".encode(), b""]], dtype=object)
    packed = serialize_byte_tensor(words)
    shm.set_shared_memory_region(region, [packed])
    size = len(packed.item())
    client.infer("same_bytes", [placed("x", "BYTES", [1, 2], size)], outputs=[wanted("y", 100, 128)])
    np.testing.assert_array_equal(shm.get_contents_as_numpy(region, np.object_, [1, 2], 128), words)


def test_shared_and_sent_tensors_mix(client: Any, region: Any) -> None:
    shm.set_shared_memory_region(region, [5 * ONE])
    result = client.infer(
        "pair",
        [tensor("b", ONE), placed("a", "FP32", [1, 2], 8)],
        outputs=[wanted("sum", 8, 64), triton.InferRequestedOutput("difference")],
    )
    np.testing.assert_array_equal(result.as_numpy("difference"), 4 * ONE)
    np.testing.assert_array_equal(shm.get_contents_as_numpy(region, np.float32, [1, 2], 64), 6 * ONE)


def test_wrong_places_are_refused(client: Any, region: Any) -> None:
    for made, said in (
        (placed("x", "FP32", [1, 2], 9), "9 raw bytes"),
        (placed("x", "FP32", [1, 2], 8, 256), "Invalid offset"),
        (placed("x", "FP32", [38, 2], 304), "Invalid offset \\+ byte size"),
    ):
        with pytest.raises(InferenceServerException, match=said):
            client.infer("m", [made])
    with pytest.raises(InferenceServerException, match="at least 8 bytes"):
        client.infer("m", [tensor("x", ONE)], outputs=[wanted("y", 7, 0)])
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'none'"):
        lost = triton.InferInput("x", [1, 2], "FP32")
        lost.set_shared_memory("none", 8)
        client.infer("m", [lost])


def test_regions_are_shown_and_unregistering_what_is_not_there_is_well(client: Any, region: Any) -> None:
    found = client.get_system_shared_memory_status().regions
    assert [(each.name, each.offset, each.byte_size) for each in found.values()] == [("region", 0, 256)]
    with pytest.raises(InferenceServerException, match="already in manager"):
        client.register_system_shared_memory("region", found["region"].key, 256)
    client.unregister_system_shared_memory("never registered")
    client.unregister_cuda_shared_memory()
    assert len(client.get_cuda_shared_memory_status().regions) == 0
    with pytest.raises(InferenceServerException, match="GPUs not supported"):
        client.register_cuda_shared_memory("gpu", b"aGFuZGxl", 0, 64)


# --- the repository, logs and traces ---


def test_the_index_lists_every_version_with_its_state_and_reason(client: Any) -> None:
    found = {(each.name, each.version): each for each in client.get_model_repository_index().models}
    assert found["m", "1"].state == found["m", "2"].state == "READY"
    assert found["unserved", "1"].state == "UNAVAILABLE"
    assert "interlock pin unserved 1" in found["unserved", "1"].reason


def test_the_registry_says_what_is_loaded_and_callers_do_not(client: Any) -> None:
    client.load_model("m")
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: client.load_model("unserved"), "interlock promote unserved"),
        (lambda: client.load_model("m", config="{}"), "a version never changes"),
        (lambda: client.unload_model("m"), "failed to unload 'm'"),
        (lambda: client.load_model("nobody"), "Request for unknown model"),
    ]
    for refused, said in wrong:
        with pytest.raises(InferenceServerException, match=said):
            refused()
    client.unload_model("unserved")
    assert client.is_model_ready("m")


def test_log_settings_change_what_the_server_logs(served: Server, client: Any) -> None:
    before = client.get_log_settings().settings
    assert before["log_info"].bool_param and before["log_verbose_level"].uint32_param == 0
    try:
        assert client.update_log_settings({"log_verbose_level": 1}).settings["log_verbose_level"].uint32_param == 1
        with pytest.raises(InferenceServerException, match="can not be updated"):
            client.update_log_settings({"log_file": "elsewhere"})
    finally:
        client.update_log_settings({"log_verbose_level": 0})


def test_a_traced_request_is_in_the_log(served: Server, client: Any) -> None:
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
    changed = client.update_trace_settings("m", {"trace_level": ["TENSORS"], "trace_rate": "1", "trace_count": "1"})
    assert changed.settings["trace_rate"].value == ["1"]
    for number in range(3):
        client.infer("m", [tensor("x", ONE)], request_id=f"traced-{number}")
    client.update_trace_settings("m", {"trace_level": None, "trace_rate": None, "trace_count": None})
    eventually(lambda: "traced-0" in served.log(), "the trace is written")
    (line,) = (line for line in served.log().splitlines() if '"traced-' in line)
    traced = json.loads(line)
    assert (traced["request_id"], traced["model"], traced["version"], traced["code"]) == ("traced-0", "m", "2", "OK")
    assert traced["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 2]}]
    assert 0 < traced["compute_infer_us"] <= traced["total_us"]
