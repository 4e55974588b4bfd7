"""What waits: deadlines, cancellations, a full queue, and requests that share a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from interlock.model import ServingConfig
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub
from interlock.types import DType
from onnx import helper

from tests import models, stalling
from tests.conformance import requests
from tests.server import Server
from tests.stalling import sample, until_running
from tests.support import eventually

QUEUE = 4


@pytest.fixture(scope="module")
def slow(served: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose requests take as long as they ask for, with a short queue."""
    with served.admin() as admin:
        stalling.register(admin, tmp_path_factory.mktemp("slow"), "slow", max_queue_size=QUEUE)
        admin.promote("slow", 1)
    return "slow"


def ask(rounds: int) -> pb.ModelInferRequest:
    return requests.raw("slow", {"n": (DType.INT64, np.array(rounds, np.int64))})


@pytest.fixture
def busy(served: Server, stub: GRPCInferenceServiceStub, slow: str) -> Iterator[Callable[[], None]]:
    """The model runs a request that does not end by itself; calling the fixture's value ends it."""
    call: Any = stub.ModelInfer.future(ask(stalling.FOR_EVER), timeout=120)
    until_running(served, slow, 1)

    def end() -> None:
        call.cancel()
        until_running(served, slow, 0)

    yield end
    end()


def test_a_deadline_that_passes_in_the_queue_is_told_and_not_run(
    served: Server, stub: GRPCInferenceServiceStub, busy: Callable[[], None]
) -> None:
    runs = sample(served, "interlock_inference_run_seconds_count", model="slow")
    began = time.monotonic()
    found = requests.refused(lambda: stub.ModelInfer(ask(1), timeout=0.3))
    took = time.monotonic() - began
    assert found.code is StatusCode.DEADLINE_EXCEEDED
    assert 0.25 < took < 60
    busy()
    assert sample(served, "interlock_inference_run_seconds_count", model="slow") == runs, "nobody was answered"
    assert stub.ModelInfer(ask(2), timeout=60).id == ""
    assert sample(served, "interlock_inference_run_seconds_count", model="slow") == runs + 1


def test_the_parameter_timeout_ends_a_request_that_waits_and_one_that_runs(
    served: Server, stub: GRPCInferenceServiceStub, busy: Callable[[], None]
) -> None:
    waiting, running = ask(1), ask(stalling.FOR_EVER)
    for request in (waiting, running):
        request.parameters["timeout"].int64_param = 200_000
    found = requests.refused(lambda: stub.ModelInfer(waiting, timeout=60))
    assert found.code is StatusCode.DEADLINE_EXCEEDED and "`timeout`" in found.details
    until_running(served, "slow", 1, queued=0)
    busy()
    found = requests.refused(lambda: stub.ModelInfer(running, timeout=60))
    assert found.code is StatusCode.DEADLINE_EXCEEDED and "`timeout`" in found.details
    until_running(served, "slow", 0)


def test_a_request_that_is_cancelled_in_the_queue_leaves_it(
    served: Server, stub: GRPCInferenceServiceStub, busy: Callable[[], None]
) -> None:
    waiting: list[Any] = [stub.ModelInfer.future(ask(1), timeout=60) for _ in range(QUEUE)]
    until_running(served, "slow", 1 + QUEUE, queued=QUEUE)
    for call in waiting:
        call.cancel()
    until_running(served, "slow", 1, queued=0)
    again: Any = stub.ModelInfer.future(ask(7), timeout=60)
    until_running(served, "slow", 2, queued=1)
    busy()
    assert again.result().outputs[0].name == "y"


def test_a_run_that_nobody_waits_for_any_more_is_ended(
    served: Server, stub: GRPCInferenceServiceStub, slow: str
) -> None:
    found = requests.refused(lambda: stub.ModelInfer(ask(stalling.FOR_EVER), timeout=0.5))
    assert found.code is StatusCode.DEADLINE_EXCEEDED
    until_running(served, slow, 0)
    assert stub.ModelInfer(ask(1), timeout=60).model_version == "1"


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(
    served: Server, stub: GRPCInferenceServiceStub, busy: Callable[[], None]
) -> None:
    waiting: list[Any] = [stub.ModelInfer.future(ask(index), timeout=60) for index in range(QUEUE)]
    until_running(served, "slow", 1 + QUEUE, queued=QUEUE)
    found = requests.refused(lambda: stub.ModelInfer(ask(99), timeout=60))
    assert found.code is StatusCode.RESOURCE_EXHAUSTED
    assert "slow@1 is full" in found.details and "max_queue_size" in found.details
    if "native" not in served.flags:  # whose package keeps gRPC's own keys to itself
        assert int(str(found.trailing["grpc-retry-pushback-ms"])) >= 1
    details = found.trailing["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    kinds = [detail.TypeName() for detail in status_pb2.Status.FromString(details).details]
    assert error_details_pb2.RetryInfo.DESCRIPTOR.full_name in kinds
    busy()
    for call in waiting:
        assert call.result().model_version == "1", "those that waited are answered"


def test_a_full_queue_makes_room_for_another_caller(
    served: Server, stub: GRPCInferenceServiceStub, busy: Callable[[], None]
) -> None:
    waiting: list[Any] = [stub.ModelInfer.future(ask(index), timeout=60) for index in range(QUEUE)]
    until_running(served, "slow", 1 + QUEUE, queued=QUEUE)
    with served.client(timeout=60) as other, ThreadPoolExecutor(1) as pool:
        beside = pool.submit(other.infer, "slow", {"n": np.int64(5)})
        eventually(lambda: any(call.done() for call in waiting), "one of them had to go")
        gone = next(call for call in waiting if call.done())
        found = requests.refused(gone.result)
        assert found.code is StatusCode.RESOURCE_EXHAUSTED and "slow@1 is full" in found.details
        busy()
        assert beside.result(60).version == 1
    for call in waiting:
        assert call is gone or call.result().model_version == "1", "only one of the caller who had most had to go"
    refused = sample(served, "interlock_inference_refused_total", model="slow", reason="queue_full")
    assert refused >= 1


def test_a_busy_model_delays_neither_health_nor_another_model(
    served: Server, stub: GRPCInferenceServiceStub, busy: Callable[[], None]
) -> None:
    one = np.ones((1, 2), np.float32)
    with served.client(timeout=60) as client:
        for _ in range(20):
            assert client.server_live()
            np.testing.assert_array_equal(client.infer("m", {"x": one})["y"], 3 * one)


def test_requests_that_arrive_together_share_runs_and_keep_their_answers(served: Server, tmp_path: Path) -> None:
    with served.admin() as admin:
        file = models.write(tmp_path / "joint.onnx", models.mlp(width=64, hidden=512, layers=6))
        config = ServingConfig(max_batch_size=16, max_queue_delay_us=20_000)
        assert admin.register("joint", file, config=config).version == 1
        admin.promote("joint", 1)
    inputs = [np.random.default_rng(seed).standard_normal((1 + seed % 3, 64)).astype(np.float32) for seed in range(64)]
    with served.client(timeout=60) as client:
        alone = [client.infer("joint", {"x": x})["y"] for x in inputs]
        before = rows(served, "joint")
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda x: client.infer("joint", {"x": x})["y"], inputs))
    for x, single, joined in zip(inputs, alone, together, strict=True):
        assert joined.shape == (len(x), 10)
        np.testing.assert_allclose(joined, single, rtol=1e-4, atol=1e-5)
    answered, in_rows = (later - earlier for later, earlier in zip(rows(served, "joint"), before, strict=True))
    assert answered == len(inputs)
    assert in_rows / answered > 2.1, "on average more rows ran together than one request has"
    assert sample(served, "interlock_inference_batch_rows_bucket", model="joint", le="16.0") == rows(served, "joint")[0]


def rows(server: Server, model: str) -> tuple[float, float]:
    return (
        sample(server, "interlock_inference_batch_rows_count", model=model),
        sample(server, "interlock_inference_batch_rows_sum", model=model),
    )


def centred() -> bytes:
    """x FP32[batch,2] → y = x - mean over the batch: a row's answer depends on its neighbours."""
    return models.build(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("batch", 2))],
        [models.constant("axes", np.array([0], np.int64))],
    )


def test_a_version_whose_rows_depend_on_each_other_never_shares_a_run(served: Server, tmp_path: Path) -> None:
    with served.admin() as admin:
        config = ServingConfig(max_batch_size=16, max_queue_delay_us=20_000)
        admin.register("centred", models.write(tmp_path / "c.onnx", centred()), config=config)
        admin.promote("centred", 1)
    inputs = [np.random.default_rng(seed).standard_normal((3, 2)).astype(np.float32) for seed in range(48)]
    with served.client(timeout=60) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda x: client.infer("centred", {"x": x})["y"], inputs))
    for x, y in zip(inputs, answers, strict=True):
        np.testing.assert_allclose(y, x - x.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_requests_of_different_lengths_do_not_share_a_run_and_are_all_right(served: Server, tmp_path: Path) -> None:
    with served.admin() as admin:
        file = models.write(tmp_path / "l.onnx", models.identity(DType.FP32, ("batch", "length")))
        admin.register("lengths", file, config=ServingConfig(max_batch_size=8, max_queue_delay_us=5_000))
        admin.promote("lengths", 1)
    inputs = [np.full((1, 1 + index % 5), index, np.float32) for index in range(60)]
    with served.client(timeout=60) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda x: client.infer("lengths", {"x": x})["y"], inputs))
    for x, y in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(y, x)


def test_strings_share_runs_too(served: Server) -> None:
    inputs = [np.array([[f"{index}".encode(), b"\xc3\xa4" * index]], dtype=object) for index in range(40)]
    with served.client(timeout=60) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda x: client.infer("same_bytes", {"x": x})["y"], inputs))
    for x, y in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(y, x)


def long_strings(elements: int) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name="long_bytes")
    made.inputs.add(name="x", datatype="BYTES", shape=[1, elements])
    made.raw_input_contents.append(b"\0\0\0\0" * elements)
    return made


def long_floats(elements: int) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name="long_fp32")
    contents = pb.InferTensorContents(fp32_contents=np.full(elements, 0.5, np.float32))
    made.inputs.add(name="x", datatype="FP32", shape=[1, elements], contents=contents)
    return made


@pytest.mark.parametrize(
    ("dtype", "make"), [(DType.BYTES, long_strings), (DType.FP32, long_floats)], ids=["strings", "typed"]
)
def test_a_request_that_is_long_to_read_holds_up_nobody(
    served: Server,
    stub: GRPCInferenceServiceStub,
    tmp_path: Path,
    dtype: DType,
    make: Callable[[int], pb.ModelInferRequest],
) -> None:
    """On one thread with everybody else it would look like a hang, and get the worker killed."""
    name = f"long_{dtype.value.lower()}"
    with served.admin() as admin:
        admin.register(name, models.write(tmp_path / "long.onnx", models.identity(dtype, ("batch", "length"))))
        admin.promote(name, 1)
    elements = 3_000_000
    long = make(elements)
    worker = served.pid_of("worker")
    replies: list[pb.ModelInferResponse] = []
    sender = threading.Thread(target=lambda: replies.append(stub.ModelInfer(long, timeout=110)), name="sender")
    seconds: list[float] = []
    one = np.ones((1, 2), np.float32)
    with served.client(timeout=60) as client, served.admin() as admin:
        sender.start()
        while sender.is_alive():
            began = time.monotonic()
            client.infer("m", {"x": one})
            seconds.append(time.monotonic() - began)
            if len(seconds) % 50 == 25:
                assert admin.promote("m", 1 + len(seconds) // 50 % 2, alias="other").lagging == ()
        sender.join()
    print(f"{len(seconds)} neighbours of {elements} {dtype.value}, slowest {1000 * max(seconds):.0f} ms")
    assert list(replies[0].outputs[0].shape) == [1, elements]
    assert len(seconds) > 10, "others were answered meanwhile"
    assert served.pid_of("worker") == worker
