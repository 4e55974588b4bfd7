"""A gRPC server that answers as a test tells it, over real sockets and with the real messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from interlock import convert, status
from interlock.errors import InterlockError, NotReady
from interlock.model import ServingConfig, Version, VersionState
from interlock.protocols import open_inference_pb2 as oip
from interlock.protocols.open_inference_pb2_grpc import SERVICE
from interlock.protocols.pool import service_descriptor
from interlock.types import DType, Signature, TensorSpec
from interlock.v1 import admin_pb2

Behaviour = Callable[[Any, grpc.ServicerContext], Message]

SIGNATURE: Final = Signature((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))
NOON: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def a_version(number: int = 3, **changes: Any) -> Version:
    """A version as a registry would describe it."""
    fields: dict[str, Any] = {
        "model": "digits",
        "version": number,
        "state": VersionState.VALIDATED,
        "digest": "ab" * 32,
        "size_bytes": 2048,
        "signature": SIGNATURE,
        "config": ServingConfig(),
        "proven": True,
        "golden_samples": 8,
        "note": "first",
        "tags": {"team": "vision"},
        "created_at": NOON,
        "created_by": "ann@host",
        "report_json": "{}",
        "aliases": ("stable",),
    }
    return Version(**(fields | changes))


class ScriptedServer:
    """Both services on one port; `behaviours` maps an RPC's name to what it does."""

    def __init__(self, port: int = 0) -> None:
        self.behaviours: Final[dict[str, Behaviour]] = {}
        self.calls: Final[list[str]] = []
        self.requests: Final[list[Any]] = []
        self.headers: Final[list[Mapping[str, str | bytes]]] = []
        # Without it a port that another server holds would be shared silently.
        self._server: Final = grpc.server(
            ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        )
        for service in (service_descriptor(SERVICE), admin_pb2.DESCRIPTOR.services_by_name["AdminService"]):
            self._server.add_generic_rpc_handlers([self._handlers(service)])
        self.port: Final = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _handlers(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in service.methods:
            make = (
                grpc.stream_unary_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
            )
            handlers[method.name] = make(
                self._handler(method.name),
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
            )
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _handler(self, name: str) -> Behaviour:
        def handle(request: Any, context: grpc.ServicerContext) -> Message:
            self.calls.append(name)
            self.requests.append(request)
            self.headers.append({key: value for key, value in context.invocation_metadata()})
            try:
                return self.behaviours[name](request, context)
            except InterlockError as error:
                wire = status.to_wire(error)
                context.set_trailing_metadata(wire.trailing)
                context.abort(wire.code, wire.message)
                raise AssertionError("abort raises") from error

        return handle

    def serve_model(self, signature: Signature = SIGNATURE, version: int = 3) -> None:
        """Answer for any model: outputs are the first input times the version, in the outputs' datatypes."""
        self.behaviours["ModelMetadata"] = lambda request, _: describe(request.name, signature, version)
        self.behaviours["ModelInfer"] = lambda request, context: multiply(request, context, signature, version)

    def stop(self) -> None:
        self._server.stop(grace=None).wait()


def describe(name: str, signature: Signature, version: int) -> oip.ModelMetadataResponse:
    reply = oip.ModelMetadataResponse(name=name, versions=[str(version)], platform="onnxruntime_onnx")
    reply.interlock_properties["interlock.version"] = str(version)
    for side, specs in ((reply.inputs, signature.inputs), (reply.outputs, signature.outputs)):
        for spec in specs:
            side.add(
                name=spec.name,
                datatype=spec.dtype.value,
                shape=[dim if isinstance(dim, int) else -1 for dim in spec.shape],
            )
    return reply


def multiply(
    request: oip.ModelInferRequest, context: grpc.ServicerContext, signature: Signature, version: int
) -> oip.ModelInferResponse:
    context.set_trailing_metadata(
        (
            ("interlock-alias", request.model_version or "stable"),
            ("interlock-generation", "7"),
            ("interlock-digest", "ab" * 32),
            ("interlock-queue-us", "250"),
            ("interlock-run-us", "1500"),
        )
    )
    given = request.inputs[0]
    array = np.frombuffer(request.raw_input_contents[0], dtype=DType(given.datatype).numpy).reshape(given.shape)
    reply = oip.ModelInferResponse(model_name=request.model_name, model_version=str(version), id=request.id)
    for spec in signature.outputs:
        out = (array * version).astype(spec.dtype.numpy)
        reply.outputs.add(name=spec.name, datatype=spec.dtype.value, shape=out.shape)
        reply.raw_output_contents.append(out.tobytes())
    return reply


def receive(parts: Iterator[admin_pb2.RegisterVersionRequest]) -> tuple[admin_pb2.RegisterVersionRequest.Header, bytes]:
    """Read a whole upload."""
    header = next(parts).header
    return header, b"".join(part.chunk for part in parts)


def registered(number: int = 3) -> admin_pb2.RegisterVersionResponse:
    return admin_pb2.RegisterVersionResponse(version=convert.version(a_version(number)))


def unavailable(
    times: int, then: Callable[[Any, grpc.ServicerContext], Any]
) -> Callable[[Any, grpc.ServicerContext], Any]:
    left = [times]

    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise NotReady("still loading")
        return then(request, context)

    return behave
