"""Services and methods are found through reflection alone, as grpcurl does it, and can be called by what was found."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from interlock.protocols import reflection_v1_pb2, reflection_v1alpha_pb2

from tests.server import Server

VERSIONS: dict[str, Any] = {"v1": reflection_v1_pb2, "v1alpha": reflection_v1alpha_pb2}
HEALTH = "grpc.health.v1.Health"
SERVICES: dict[str, tuple[Callable[[Server], str], str, str]] = {
    "inference": (lambda server: server.grpc, "inference.GRPCInferenceService", "ServerMetadata"),
    "admin": (lambda server: server.admin_address, "interlock.v1.AdminService", "GetStatus"),
}


@dataclass(frozen=True)
class Found:
    """What reflection told on one port."""

    port: str
    channel: grpc.Channel
    pool: DescriptorPool
    names: list[str]


class Asking:
    """One reflection stream; questions are answered in turn."""

    def __init__(self, channel: grpc.Channel, version: str) -> None:
        self._pb = VERSIONS[version]
        self._questions: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        method: Any = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=self._pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=self._pb.ServerReflectionResponse.FromString,
        )
        self.answers = method(iter(self._questions.get, None), timeout=60)

    def __call__(self, **question: str) -> Any:
        self._questions.put(self._pb.ServerReflectionRequest(**question))
        return next(self.answers)

    def end(self) -> None:
        self._questions.put(None)
        assert list(self.answers) == [] and self.answers.code() is grpc.StatusCode.OK


@pytest.fixture(params=[(port, version) for port in SERVICES for version in VERSIONS], ids="-".join)
def found(request: pytest.FixtureRequest, served: Server) -> Iterator[Found]:
    port, version = request.param
    with grpc.insecure_channel(SERVICES[port][0](served)) as channel:
        ask = Asking(channel, version)
        names = [each.name for each in ask(list_services="").list_services_response.service]
        pool = DescriptorPool()
        for name in names:
            for data in reversed(ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto):
                pool.AddSerializedFile(data)
        ask.end()
        yield Found(port, channel, pool, names)


def test_what_is_found_through_reflection_can_be_called(found: Found) -> None:
    _, service, easy = SERVICES[found.port]
    assert set(found.names) == {service, HEALTH, *(f"grpc.reflection.{each}.ServerReflection" for each in VERSIONS)}
    method = found.pool.FindServiceByName(service).methods_by_name[easy]
    call: Any = found.channel.unary_unary(
        f"/{service}/{easy}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    answer = call(message_factory.GetMessageClass(method.input_type)(), timeout=60)
    assert answer.ByteSize() > 0
