"""Client stub of the Open Inference Protocol over the private pool, with the call shape of generated code.

``GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=5)`` works with `grpc` and `grpc.aio` channels.
"""

from interlock.protocols import pool as _pool
from interlock.protocols.pool import message_factory as _factory

SERVICE = "inference.GRPCInferenceService"


class GRPCInferenceServiceStub:
    """One callable per RPC of `inference.GRPCInferenceService`."""

    def __init__(self, channel):
        for method in _pool.service_descriptor(SERVICE).methods:
            reply = _factory.GetMessageClass(method.output_type)
            request = _factory.GetMessageClass(method.input_type)
            make = channel.stream_stream if method.client_streaming else channel.unary_unary
            call = make(
                f"/{SERVICE}/{method.name}",
                request_serializer=request.SerializeToString,
                response_deserializer=reply.FromString,
            )
            setattr(self, method.name, call)
