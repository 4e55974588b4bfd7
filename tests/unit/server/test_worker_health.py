from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from interlock.errors import InvalidArgument, InvalidRef, NotFound, Unimplemented
from interlock.model import ServableState
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.protocols.pool import service_descriptor
from interlock_registry.domain import ModelStanding
from interlock_server.front.seam import Arity
from interlock_server.settings import Settings
from interlock_server.worker.assembly import inference_handler
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.health import Health
from interlock_server.worker.inference import InferenceHandler
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.repository import RepositoryAnswers
from interlock_server.worker.shared_memory import SharedMemory

from tests.support import eventually
from tests.unit.server.builders import RecordingCall, bare_spec, route, snapshot, version_spec

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def health(catalog: Catalog) -> Health:
    return Health(catalog)


async def nothing() -> tuple[ModelStanding, ...]:
    return ()


@asynccontextmanager
async def handling(catalog: Catalog, health: Health, **said: str) -> AsyncIterator[InferenceHandler]:
    repository, settings = RepositoryAnswers(catalog, nothing), Settings.load({**said}, None)
    yield inference_handler(settings, catalog, WorkerMetrics(catalog), health, SharedMemory(enabled=False), repository)
    await repository.close()


@pytest.fixture
async def handler(catalog: Catalog, health: Health) -> AsyncIterator[InferenceHandler]:
    async with handling(catalog, health) as made:
        yield made


Ask = Callable[[str, bytes], RecordingCall]


@pytest.fixture
def ask(handler: InferenceHandler) -> Ask:
    return partial(asked, handler)


def asked(handler: InferenceHandler, method: str, request: bytes) -> RecordingCall:
    made = RecordingCall(method, request)
    handler.handle(made)
    handler.settle()
    return made


def check(ask: Ask, service: str) -> int:
    call = ask("/grpc.health.v1.Health/Check", HealthCheckRequest(service=service).SerializeToString())
    assert call.error is None, call.error
    assert call.reply is not None
    return HealthCheckResponse.FromString(call.reply).status


def watch(ask: Ask, service: str) -> RecordingCall:
    return ask("/grpc.health.v1.Health/Watch", HealthCheckRequest(service=service).SerializeToString())


def seen(call: RecordingCall) -> list[int]:
    return [HealthCheckResponse.FromString(message).status for message in call.messages]


def test_a_watch_follows_a_worker_from_its_start_to_its_end(
    catalog: Catalog, health: Health, ask: Ask, tmp_path: Path
) -> None:
    calls = [watch(ask, service) for service in ("", "inference.GRPCInferenceService")]
    assert [seen(call) for call in calls] == [[NOT_SERVING]] * 2
    catalog.apply(snapshot(version_spec(tmp_path)))
    eventually(lambda: all(len(call.messages) == 2 for call in calls), "they were told")
    health.drain()
    assert [seen(call) for call in calls] == [[NOT_SERVING, SERVING, NOT_SERVING]] * 2
    assert [call.ended for call in calls] == [1, 1]


def test_a_worker_stays_serving_while_a_candidate_is_loaded(
    catalog: Catalog, health: Health, ask: Ask, tmp_path: Path
) -> None:
    catalog.apply(snapshot(version_spec(tmp_path)))
    eventually(lambda: health.ready, "the worker is ready")
    call = watch(ask, "")
    os.mkfifo(tmp_path / "pipe")
    slow = replace(bare_spec(2), manifest_path=str(tmp_path / "pipe"))
    catalog.apply(snapshot(version_spec(tmp_path), slow, routes=[route("m", 1)], epoch=2))
    eventually(
        lambda: any(each.state is ServableState.LOADING for each in catalog.servables()), "the candidate is loading"
    )
    assert health.ready
    assert seen(call) == [SERVING]
    with (tmp_path / "pipe").open("wb"):
        pass


def test_a_watch_of_a_model_follows_its_alias(catalog: Catalog, ask: Ask, tmp_path: Path) -> None:
    good, bad = version_spec(tmp_path, 1), version_spec(tmp_path, 2, content=b"nonsense")
    call = watch(ask, "model/m")
    assert seen(call) == [NOT_SERVING]
    catalog.apply(snapshot(good, bad, routes=[route("m", 1)]))
    eventually(lambda: catalog.settled, "both are settled")
    eventually(lambda: seen(call)[-1] == SERVING, "it serves")
    catalog.apply(snapshot(good, bad, routes=[route("m", 2)], epoch=2))
    assert seen(call)[-1] == NOT_SERVING
    catalog.apply(snapshot(good, bad, routes=[route("m", 1)], epoch=3))
    assert seen(call)[-1] == SERVING
    catalog.apply(snapshot(epoch=4))
    assert seen(call)[-1] == UNKNOWN
    before = len(call.messages)
    catalog.apply(snapshot(epoch=5))
    assert len(call.messages) == before, "what has not changed is not told again"


def test_one_failed_model_makes_itself_not_serving_and_nobody_else(catalog: Catalog, ask: Ask, tmp_path: Path) -> None:
    good, bad = version_spec(tmp_path, 1, "good"), version_spec(tmp_path, 1, "bad", content=b"nonsense")
    catalog.apply(snapshot(good, bad))
    eventually(lambda: catalog.settled, "both are settled")
    assert check(ask, "") == SERVING
    assert check(ask, "model/good") == check(ask, "model/good@1") == check(ask, "model/good:stable") == SERVING
    assert check(ask, "model/bad") == NOT_SERVING
    assert check(ask, "model/good@2") == NOT_SERVING


@pytest.mark.parametrize("service", ["other", "model/no_such", "model/", "model/a b", "model/m@x", "model/m:none"])
def test_an_unknown_service_is_not_found_by_check_and_told_by_watch(
    catalog: Catalog, ask: Ask, tmp_path: Path, service: str
) -> None:
    catalog.apply(snapshot(version_spec(tmp_path)))
    call = ask("/grpc.health.v1.Health/Check", HealthCheckRequest(service=service).SerializeToString())
    assert type(call.error) is NotFound
    assert seen(watch(ask, service)) == [UNKNOWN]


def test_a_watcher_that_left_is_told_nothing_more(catalog: Catalog, ask: Ask) -> None:
    call = watch(ask, "")
    call.cancel()
    catalog.apply(snapshot())
    assert seen(call) == [NOT_SERVING]


def test_a_watch_of_a_draining_worker_ends_at_once(health: Health, ask: Ask) -> None:
    health.drain()
    assert watch(ask, "").ended == 1


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_bytes_that_are_no_health_request_are_refused(ask: Ask, method: str) -> None:
    call = ask(f"/grpc.health.v1.Health/{method}", b"\xff\xff")
    assert type(call.error) is InvalidArgument


# --- the other methods ---

SERVICE = "/inference.GRPCInferenceService/"


def test_every_method_of_the_protocol_and_health_are_served(handler: InferenceHandler) -> None:
    described = service_descriptor("inference.GRPCInferenceService").methods
    expected = {SERVICE + each.name: Arity.CONVERSATION if each.client_streaming else Arity.UNARY for each in described}
    found = {path: arity for path, arity in handler.methods.items() if path.startswith(SERVICE)}
    assert found == expected
    health = {path: arity for path, arity in handler.methods.items() if path.startswith("/grpc.health")}
    assert health == {"/grpc.health.v1.Health/Check": Arity.UNARY, "/grpc.health.v1.Health/Watch": Arity.STREAM}


def test_a_worker_is_live_before_it_is_ready(catalog: Catalog, ask: Ask) -> None:
    def ready() -> bool:
        call = ask(SERVICE + "ServerReady", b"")
        assert call.reply is not None
        return pb.ServerReadyResponse.FromString(call.reply).ready

    live = ask(SERVICE + "ServerLive", b"").reply
    assert live is not None and pb.ServerLiveResponse.FromString(live).live
    assert not ready()
    catalog.apply(snapshot())
    assert ready()


def test_metadata_describes_the_version_that_a_ref_means(catalog: Catalog, ask: Ask, tmp_path: Path) -> None:
    specs = [version_spec(tmp_path, number) for number in (1, 2, 10)]
    catalog.apply(snapshot(*specs, routes=[route("m", 2)]))
    call = ask(SERVICE + "ModelMetadata", pb.ModelMetadataRequest(name="m").SerializeToString())
    assert call.reply is not None
    found = pb.ModelMetadataResponse.FromString(call.reply)
    assert list(found.versions) == ["1", "2", "10"]
    assert (found.name, found.platform, found.inputs[0].datatype) == ("m", "onnx_onnxv1", "FP32")
    assert list(found.inputs[0].shape) == [-1, 2]
    assert not found.properties, "MLServer's clients cannot read them"
    assert found.interlock_properties["interlock.version"] == "2"
    assert found.interlock_properties["interlock.digest"] == specs[1].digest

    def loaded_from() -> str:
        reply = ask(SERVICE + "ModelMetadata", pb.ModelMetadataRequest(name="m").SerializeToString()).reply
        return pb.ModelMetadataResponse.FromString(reply or b"").interlock_properties["interlock.loaded_from"]

    eventually(lambda: loaded_from() == "artifact", "it is loaded")


async def test_the_server_is_called_and_answers_as_its_settings_say(
    catalog: Catalog, health: Health, tmp_path: Path
) -> None:
    catalog.apply(snapshot(version_spec(tmp_path)))
    eventually(lambda: catalog.settled, "it is loaded")
    typed = pb.ModelInferRequest(model_name="m")
    typed.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1.0, 4.0])
    async with handling(catalog, health, server_name="railway", typed_replies="raw") as handler:
        said = pb.ServerMetadataResponse.FromString(asked(handler, SERVICE + "ServerMetadata", b"").reply or b"")
        call = asked(handler, SERVICE + "ModelInfer", typed.SerializeToString())
        eventually(lambda: call.ended > 0, "it is answered")
    answer = pb.ModelInferResponse.FromString(call.reply or b"")
    assert said.name == "railway"
    assert len(answer.raw_output_contents) == 1 and not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("m", "", True), ("m", "1", True), ("m", "4", False), ("m", "beta", False), ("nobody", "", False)],
)
def test_readiness_is_asked_until_it_is_there_so_what_is_not_there_is_no_error(
    catalog: Catalog, ask: Ask, tmp_path: Path, name: str, version: str, ready: bool
) -> None:
    request = pb.ModelReadyRequest(name=name, version=version).SerializeToString()
    early = ask(SERVICE + "ModelReady", request).reply
    assert early is not None and not pb.ModelReadyResponse.FromString(early).ready
    catalog.apply(snapshot(version_spec(tmp_path)))
    eventually(lambda: catalog.settled, "it is loaded")
    call = ask(SERVICE + "ModelReady", request)
    assert call.reply is not None and pb.ModelReadyResponse.FromString(call.reply).ready is ready


def test_readiness_of_what_can_never_be_is_an_error(ask: Ask) -> None:
    call = ask(SERVICE + "ModelReady", pb.ModelReadyRequest(name="m", version="0").SerializeToString())
    assert type(call.error) is InvalidRef


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelInfer"])
def test_bytes_that_do_not_parse_are_refused(ask: Ask, method: str) -> None:
    call = ask(SERVICE + method, b"\xff\xff")
    assert type(call.error) is InvalidArgument


def test_a_method_that_is_not_served_is_unimplemented(ask: Ask) -> None:
    call = ask(SERVICE + "Nothing", b"")
    assert type(call.error) is Unimplemented
