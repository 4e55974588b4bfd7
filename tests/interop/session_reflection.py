"""A session of grpcio's own reflection client: from services to a call. Usage: ADDRESS."""

from __future__ import annotations

import sys
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "inference.GRPCInferenceService"


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = list(database.get_services())
        assert SERVICE in services and "grpc.health.v1.Health" in services, services
        pool = DescriptorPool(database)
        methods = pool.FindServiceByName(SERVICE).methods_by_name
        assert len(methods) == 20 and methods["ModelStreamInfer"].client_streaming
        print(f"  {len(services)} services, {len(methods)} methods: right", flush=True)
        method = methods["ModelReady"]
        request = message_factory.GetMessageClass(method.input_type)(name="m")
        reply = message_factory.GetMessageClass(method.output_type)
        call: Any = channel.unary_unary(
            f"/{SERVICE}/ModelReady",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        assert call(request, timeout=10).ready
        print("  a call by what reflection told: right", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
