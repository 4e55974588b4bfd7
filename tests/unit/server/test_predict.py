from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interlock.errors import (
    AliasNotFound,
    Cancelled,
    DeadlineExceeded,
    InterlockError,
    InternalError,
    InvalidArgument,
    InvalidInput,
    InvalidName,
    InvalidRef,
    ModelNotFound,
    NotReady,
    TooLarge,
    VersionNotLoaded,
)
from interlock.model import ServableState, ServingConfig
from interlock.protocols.open_inference_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from interlock.types import DType, ModelRef, Signature, TensorSpec
from interlock_server.snapshot import VersionKey
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.metrics import MOST_PAST, WorkerMetrics
from interlock_server.worker.predict import Predictor
from interlock_server.worker.shared_memory import SharedMemory
from interlock_server.worker.tracing import Tracer
from onnx import helper

from tests import models
from tests.support import eventually
from tests.unit.server.builders import (
    RecordingCall,
    bare_spec,
    route,
    servable_in,
    signature,
    snapshot,
    version_spec,
)

Tensor = ModelInferRequest.InferInputTensor
Output = ModelInferRequest.InferRequestedOutputTensor
TWO_OUTPUTS = Signature(
    (TensorSpec("x", DType.FP32, ("batch", 2)),),
    (TensorSpec("y", DType.FP32, ("batch", 2)), TensorSpec("h", DType.FP16, ("batch", 2))),
)


def two_outputs() -> bytes:
    """x FP32 → y = x and h = x as FP16, which has no typed form."""
    return models.build(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Cast", ["x"], ["h"], to=10)],
        [models.value("x", DType.FP32, ("batch", 2))],
        [models.value("y", DType.FP32, ("batch", 2)), models.value("h", DType.FP16, ("batch", 2))],
    )


@pytest.fixture
def metrics(catalog: Catalog) -> WorkerMetrics:
    return WorkerMetrics(catalog)


@pytest.fixture
def predict(catalog: Catalog, metrics: WorkerMetrics) -> Callable[[ModelInferRequest | bytes], RecordingCall]:
    predictor = Predictor(catalog, metrics, SharedMemory(enabled=False), Tracer())

    def run(request: ModelInferRequest | bytes, deadline: float = float("inf")) -> RecordingCall:
        data = request if isinstance(request, bytes) else request.SerializeToString()
        call = RecordingCall("/inference.GRPCInferenceService/ModelInfer", data, deadline=deadline)
        predictor.start(call)
        predictor.settle()
        eventually(lambda: call.ended > 0, "the call was answered")
        assert call.ended == 1
        return call

    return run


Predict = Callable[..., RecordingCall]


def load(catalog: Catalog, *specs: object, **more: object) -> None:
    catalog.apply(snapshot(*specs, **more))  # type: ignore[arg-type]
    eventually(lambda: catalog.settled, "everything is loaded")


def asking(model: str = "m", version: str = "", rows: int = 1, **more: object) -> ModelInferRequest:
    return ModelInferRequest(
        model_name=model,
        model_version=version,
        inputs=[Tensor(name="x", datatype="FP32", shape=[rows, 2])],
        raw_input_contents=[np.ones((rows, 2), np.float32).tobytes()],
        **more,  # type: ignore[arg-type]
    )


def answer(call: RecordingCall) -> ModelInferResponse:
    assert call.error is None, call.error
    assert call.reply is not None
    return ModelInferResponse.FromString(call.reply)


def test_an_answer_names_the_version_the_request_and_where_the_time_went(
    catalog: Catalog, predict: Predict, tmp_path: Path
) -> None:
    spec = version_spec(tmp_path, 3)
    load(catalog, spec, routes=[route("m", 3, generation=9)])
    call = predict(asking(id="r-7"))
    reply = answer(call)
    assert (reply.model_name, reply.model_version, reply.id) == ("m", "3", "r-7")
    trailing = dict(call.trailing)
    assert trailing["interlock-alias"] == "stable"
    assert trailing["interlock-generation"] == "9"
    assert trailing["interlock-digest"] == spec.digest
    assert int(trailing["interlock-queue-us"]) >= 0 and int(trailing["interlock-run-us"]) >= 0


def test_a_request_of_a_known_form_gets_its_own_id_back_and_the_time_that_it_names(
    catalog: Catalog, predict: Predict, tmp_path: Path
) -> None:
    load(catalog, version_spec(tmp_path, 3))
    for number in range(3):
        call = predict(asking(id=f"r-{number}", parameters={"timeout": InferParameter(int64_param=5_000_000)}))
        assert answer(call).id == f"r-{number}"
        assert call.deadline == call.received + 5.0


def test_raw_goes_back_raw(catalog: Catalog, predict: Predict, tmp_path: Path) -> None:
    load(catalog, version_spec(tmp_path, 2))
    reply = answer(predict(asking(rows=2)))
    assert list(reply.outputs[0].shape) == [2, 2]
    np.testing.assert_array_equal(np.frombuffer(reply.raw_output_contents[0], np.float32), [2, 2, 2, 2])
    assert not reply.outputs[0].HasField("contents")


def test_typed_goes_back_typed(catalog: Catalog, predict: Predict, tmp_path: Path) -> None:
    load(catalog, version_spec(tmp_path, 2))
    request = ModelInferRequest(model_name="m", inputs=[Tensor(name="x", datatype="FP32", shape=[1, 2])])
    request.inputs[0].contents.fp32_contents.extend([1.0, 4.0])
    reply = answer(predict(request))
    assert list(reply.outputs[0].contents.fp32_contents) == [2.0, 8.0]
    assert not reply.raw_output_contents


@pytest.mark.parametrize(("asked", "as_typed"), [([], False), (["h"], False), (["y"], True), (["y", "h"], False)])
def test_an_answer_is_typed_only_if_every_output_has_a_typed_form(
    catalog: Catalog, predict: Predict, tmp_path: Path, asked: list[str], as_typed: bool
) -> None:
    load(catalog, version_spec(tmp_path, content=two_outputs(), said=TWO_OUTPUTS))
    request = ModelInferRequest(model_name="m", inputs=[Tensor(name="x", datatype="FP32", shape=[1, 2])])
    request.inputs[0].contents.fp32_contents.extend([1.0, 4.0])
    request.outputs.extend(Output(name=name) for name in asked)
    reply = answer(predict(request))
    assert [output.name for output in reply.outputs] == (asked or ["y", "h"])
    assert bool(reply.raw_output_contents) is not as_typed
    assert all(output.HasField("contents") is as_typed for output in reply.outputs)


def test_only_the_outputs_that_were_asked_for_come_and_in_that_order(
    catalog: Catalog, predict: Predict, tmp_path: Path
) -> None:
    load(catalog, version_spec(tmp_path, content=two_outputs(), said=TWO_OUTPUTS))
    reply = answer(predict(asking(outputs=[Output(name="h"), Output(name="y")])))
    assert [(output.name, output.datatype) for output in reply.outputs] == [("h", "FP16"), ("y", "FP32")]
    assert [len(data) for data in reply.raw_output_contents] == [4, 8]


REFUSED: list[tuple[ModelInferRequest | bytes, type[InterlockError]]] = [
    (b"\xff\xff\xff", InvalidArgument),
    (asking("no_such"), ModelNotFound),
    (asking("spaced name"), ModelNotFound),
    (asking(""), ModelNotFound),
    (asking(version="7"), VersionNotLoaded),
    (asking(version="0"), InvalidRef),
    (asking(version="-1"), InvalidRef),
    (asking(version="canary"), AliasNotFound),
    (asking(version="No"), InvalidName),
    (asking(outputs=[Output(name="z")]), InvalidInput),
    (asking(rows=5), InvalidInput),
    (ModelInferRequest(model_name="m"), InvalidInput),
]


@pytest.mark.parametrize(("request_", "error"), REFUSED)
def test_what_cannot_be_answered_is_refused_and_holds_no_lease(
    catalog: Catalog, predict: Predict, tmp_path: Path, request_: ModelInferRequest | bytes, error: type[Exception]
) -> None:
    load(catalog, version_spec(tmp_path, config=ServingConfig(max_batch_size=4)))
    call = predict(request_)
    assert type(call.error) is error, call.error
    assert [each.status().in_flight for each in catalog.servables()] == [0]


def test_more_rows_than_a_batch_say_what_to_do(catalog: Catalog, predict: Predict, tmp_path: Path) -> None:
    load(catalog, version_spec(tmp_path, config=ServingConfig(max_batch_size=4)))
    call = predict(asking(rows=5))
    assert call.error is not None
    assert "5 rows" in call.error.message and "max_batch_size is 4" in call.error.message


@pytest.mark.parametrize(("config", "joinable"), [(ServingConfig(max_batch_size=0), True), (ServingConfig(4), False)])
def test_a_version_that_joins_nothing_takes_any_number_of_rows(
    catalog: Catalog, predict: Predict, tmp_path: Path, config: ServingConfig, joinable: bool
) -> None:
    load(catalog, version_spec(tmp_path, config=config, joinable=joinable))
    assert list(answer(predict(asking(rows=100))).outputs[0].shape) == [100, 2]


def test_a_version_that_failed_to_load_says_why(catalog: Catalog, predict: Predict, tmp_path: Path) -> None:
    load(catalog, version_spec(tmp_path, content=b"nonsense"))
    call = predict(asking())
    assert type(call.error) is NotReady
    assert "m:stable is not ready: version 1 is FAILED: ONNX Runtime cannot load it" in call.error.message
    assert call.error.facts["state"] == "FAILED"


def test_a_model_that_fails_while_running_is_an_internal_error_that_names_the_cause(
    catalog: Catalog, predict: Predict, tmp_path: Path
) -> None:
    gather = models.build(
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        [models.value("i", DType.INT64, ("batch",))],
        [models.value("y", DType.FP32, ("batch",))],
        [models.constant("table", np.arange(3, dtype=np.float32))],
    )
    said = Signature((TensorSpec("i", DType.INT64, ("batch",)),), (TensorSpec("y", DType.FP32, ("batch",)),))
    load(catalog, version_spec(tmp_path, content=gather, said=said))
    request = ModelInferRequest(
        model_name="m",
        inputs=[Tensor(name="i", datatype="INT64", shape=[1])],
        raw_input_contents=[np.array([99], np.int64).tobytes()],
    )
    call = predict(request)
    assert type(call.error) is InternalError
    assert "the model failed while running" in call.error.message
    assert [each.status().in_flight for each in catalog.servables()] == [0]


def test_a_request_whose_deadline_has_passed_is_not_run(catalog: Catalog, predict: Predict, tmp_path: Path) -> None:
    load(catalog, version_spec(tmp_path))
    call = predict(asking(), deadline=time.monotonic())
    assert type(call.error) is DeadlineExceeded
    assert [each.status().in_flight for each in catalog.servables()] == [0]


def test_a_caller_that_has_gone_gives_its_lease_back(catalog: Catalog, metrics: WorkerMetrics, tmp_path: Path) -> None:
    load(catalog, version_spec(tmp_path, config=ServingConfig(max_batch_size=8, max_queue_delay_us=60_000_000)))
    call = RecordingCall("/inference.GRPCInferenceService/ModelInfer", asking().SerializeToString())
    Predictor(catalog, metrics, SharedMemory(enabled=False), Tracer()).start(call)
    assert [each.status().in_flight for each in catalog.servables()] == [1]
    call.cancel()
    assert type(call.error) is Cancelled
    assert [each.status().in_flight for each in catalog.servables()] == [0]


def test_text_goes_in_and_comes_out(catalog: Catalog, predict: Predict, tmp_path: Path) -> None:
    said = signature(DType.BYTES, ("batch",))
    load(catalog, version_spec(tmp_path, content=models.identity(DType.BYTES, ("batch",)), said=said))
    request = ModelInferRequest(model_name="m", inputs=[Tensor(name="x", datatype="BYTES", shape=[2])])
    request.inputs[0].contents.bytes_contents.extend(["grüße".encode(), b""])
    assert list(answer(predict(request)).outputs[0].contents.bytes_contents) == ["grüße".encode(), b""]


def test_requests_of_a_known_form_are_counted_of_a_version_that_was_loaded_again_too(
    catalog: Catalog, metrics: WorkerMetrics, predict: Predict, tmp_path: Path
) -> None:
    spec = version_spec(tmp_path, 3)
    load(catalog, spec)
    before = catalog.resolve(ModelRef("m")).servable
    answer(predict(asking()))
    load(catalog, epoch=2, routes=[])
    load(catalog, spec, epoch=3)
    eventually(lambda: catalog.resolve(ModelRef("m")).servable.state is ServableState.READY, "it is loaded again")
    assert catalog.resolve(ModelRef("m")).servable is not before
    answer(predict(asking()))
    assert metrics.answered()[spec.key].by_alias == {"stable": 2}


def test_counts_of_the_last_versions_that_were_unloaded_are_kept_and_of_no_more(metrics: WorkerMetrics) -> None:
    for version in range(1, MOST_PAST + 11):
        metrics.watch(servable_in(ServableState.UNLOADED, bare_spec(version)))
        metrics.failed("m", str(version), "stable", "INTERNAL")
        metrics.refused("m", str(version), "QUEUE_FULL")
        metrics.non_finite(VersionKey("m", version), "input")
    kept = range(11, MOST_PAST + 11)
    assert sorted(key.version for key in metrics.answered()) == [*kept]
    for counts in (metrics.failures(), metrics.refusals(), metrics.non_finites()):
        assert sorted(int(key[1]) for key in counts) == [*kept]


def test_every_outcome_is_counted(catalog: Catalog, metrics: WorkerMetrics, predict: Predict, tmp_path: Path) -> None:
    load(catalog, version_spec(tmp_path))
    predict(asking())
    predict(asking(outputs=[Output(name="z")]))
    predict(asking("no_such"))
    lines = metrics.text().decode()
    counted = 'interlock_inference_requests_total{alias="stable",code="%s",model="m",version="1"} 1.0'
    assert counted % "OK" in lines
    assert counted % "INVALID_ARGUMENT" in lines
    # A name that nobody registered is no label: anybody could make up millions.
    assert 'alias="",code="NOT_FOUND",model="",version=""' in lines
    assert 'interlock_servable_state{model="m",state="READY",version="1"} 1.0' in lines
    assert 'interlock_inference_in_flight{model="m",version="1"} 0.0' in lines
    assert 'interlock_inference_batch_rows_sum{model="m",version="1"} 1.0' in lines


def test_an_answer_that_the_front_does_not_take_is_counted_as_what_its_caller_gets(
    catalog: Catalog, metrics: WorkerMetrics, tmp_path: Path
) -> None:
    class Narrow(RecordingCall):
        def weigh(self, data: bytes) -> None:
            raise TooLarge("an answer", len(data), 1, "max_message_bytes")

    load(catalog, version_spec(tmp_path))
    call = Narrow("/inference.GRPCInferenceService/ModelInfer", asking().SerializeToString())
    predictor = Predictor(catalog, metrics, SharedMemory(enabled=False), Tracer())
    predictor.start(call)
    predictor.settle()
    eventually(lambda: call.ended > 0, "the call was answered")
    assert isinstance(call.error, TooLarge)
    servable = catalog.resolve(ModelRef("m")).servable
    eventually(lambda: servable.status().in_flight == 0, "its lease is given back")
    counted = servable.statistics.snapshot()
    assert (counted.success.count, counted.fail.count) == (0, 1)
    assert metrics.failures() == {("m", "1", "stable", "RESOURCE_EXHAUSTED"): 1}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=64), cut=st.integers(0, 60), spoil=st.binary(max_size=8))
def test_no_bytes_are_ever_a_fault_of_ours(
    catalog: Catalog, predict: Predict, tmp_path: Path, data: bytes, cut: int, spoil: bytes
) -> None:
    if not catalog.settled:
        load(catalog, version_spec(tmp_path))
    right = asking().SerializeToString()
    for request in (data, right[:cut], right[:cut] + spoil + right[cut:]):
        call = predict(request)
        assert not isinstance(call.error, InternalError), request
