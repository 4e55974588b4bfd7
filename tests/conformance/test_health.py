"""gRPC health v1 on both ports: the replica, the protocol's service, and every ref of a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests import models
from tests.conformance.requests import refused
from tests.server import Server
from tests.support import eventually

Status = HealthCheckResponse.ServingStatus
PORTS: dict[str, Callable[[Server], str]] = {
    "inference": lambda server: server.grpc,
    "admin": lambda server: server.admin_address,
}


@pytest.fixture(params=PORTS)
def line(request: pytest.FixtureRequest, served: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(PORTS[request.param](served)) as opened:
        yield opened


def check(channel: grpc.Channel, service: str) -> int:
    call: Any = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return int(call(HealthCheckRequest(service=service), timeout=60).status)


class Watching:
    """Collects what a Watch says."""

    def __init__(self, channel: grpc.Channel, service: str) -> None:
        method: Any = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        self.seen: list[int] = []
        self._call = method(HealthCheckRequest(service=service), timeout=60)
        self._thread = threading.Thread(target=self._read, name=f"watch {service}")
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self._call:
                self.seen.append(message.status)
        except grpc.RpcError:
            return  # cancelled by close()

    def close(self) -> None:
        self._call.cancel()
        self._thread.join()


@pytest.mark.parametrize(
    "service",
    ["", "inference.GRPCInferenceService", "model/m", "model/m@1", "model/m@2", "model/m:stable", "model/m:canary"],
)
def test_what_can_be_asked_is_serving(line: grpc.Channel, service: str) -> None:
    assert check(line, service) == Status.SERVING


@pytest.mark.parametrize(
    "service", ["nobody", "model/", "model/nobody", "model/m:beta", "model/m@0", "model/m@x", "model/../m", "models/m"]
)
def test_what_nobody_knows_is_not_found(line: grpc.Channel, service: str) -> None:
    assert refused(lambda: check(line, service)).code is grpc.StatusCode.NOT_FOUND


def test_a_watch_of_the_unknown_says_so_and_stays(line: grpc.Channel) -> None:
    watching = Watching(line, "model/nobody")
    try:
        eventually(lambda: watching.seen == [Status.SERVICE_UNKNOWN], "it says that nobody knows it")
    finally:
        watching.close()


def test_a_watch_sees_a_model_come_and_go(served: Server, line: grpc.Channel, tmp_path: Path, request: Any) -> None:
    name = f"watched-{request.node.callspec.id}"
    with served.admin() as admin:
        admin.register(name, models.write(tmp_path / "m.onnx", models.affine()))
        watching = Watching(line, f"model/{name}:beta")
        try:
            eventually(lambda: watching.seen == [Status.SERVICE_UNKNOWN], "it is unknown at first")
            admin.promote(name, 1, alias="beta")
            eventually(lambda: watching.seen[-1] == Status.SERVING, "it serves")
            admin.remove_alias(name, "beta")
            eventually(lambda: watching.seen[-1] == Status.SERVICE_UNKNOWN, "it is unknown again")
        finally:
            watching.close()
    assert set(watching.seen) <= {Status.SERVICE_UNKNOWN, Status.NOT_SERVING, Status.SERVING}


def test_watches_whose_callers_have_gone_cost_nothing(served: Server, line: grpc.Channel) -> None:
    for _ in range(50):
        Watching(line, "").close()
    assert check(line, "") == Status.SERVING
    with served.client() as client:
        assert client.server_ready()
