"""gRPC health v1 on the admin port, for the whole replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc
import grpc.aio
from interlock.errors import InvalidArgument, NotFound
from interlock.protocols.health_pb2 import HealthCheckRequest, HealthCheckResponse
from interlock.types import ModelRef

from interlock_server.control.standing import Standing
from interlock_server.control.workers import Workers
from interlock_server.rpc import errors

SERVICES: Final = ("", "interlock.v1.AdminService", "inference.GRPCInferenceService")
_MODEL_PREFIX: Final = "model/"
_SERVICE: Final = "grpc.health.v1.Health"

Status = HealthCheckResponse.ServingStatus
Context = grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]


class ReplicaHealth:
    """Check and Watch; a Watch ends when the process stops, so that it holds nothing up."""

    def __init__(self, standing: Standing, workers: Workers) -> None:
        self._standing = standing
        self._workers = workers
        self._changed = asyncio.Event()
        workers.subscribe(self.changed)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service; its messages are in the private pool, so there is no generated servicer."""
        server.add_registered_method_handlers(
            _SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(
                    self.check,
                    request_deserializer=HealthCheckRequest.FromString,
                    response_serializer=HealthCheckResponse.SerializeToString,
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    self.watch,
                    request_deserializer=HealthCheckRequest.FromString,
                    response_serializer=HealthCheckResponse.SerializeToString,
                ),
            },
        )

    def changed(self) -> None:
        """Wake every watcher."""
        # Whoever waits holds the old one; whoever looks from now on has seen the change.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        """Answer one Check."""
        status = self._status(request.service)
        if status is None:
            await errors.abort(context, NotFound(f"service {request.service!r} is unknown here"))
            raise AssertionError("unreachable: abort() raises")
        return HealthCheckResponse(status=status)

    async def watch(self, request: HealthCheckRequest, context: Context) -> AsyncIterator[HealthCheckResponse]:
        """Send the state now and at each change."""
        last: int | None = None
        while True:
            changed, stopping = self._changed, self._standing.stopping
            status = self._status(request.service)
            value = Status.SERVICE_UNKNOWN if status is None else status
            if value != last:
                last = value
                yield HealthCheckResponse(status=value)
            if stopping:
                return
            await changed.wait()

    def _status(self, service: str) -> Status.ValueType | None:
        if service in SERVICES:
            return Status.SERVING if self._standing.ready else Status.NOT_SERVING
        if not service.startswith(_MODEL_PREFIX):
            return None
        try:
            serving = self._workers.serving(ModelRef.parse(service.removeprefix(_MODEL_PREFIX)))
        except InvalidArgument:
            return None
        if serving is None:
            return None
        return Status.SERVING if serving and not self._standing.stopping else Status.NOT_SERVING
