"""The control process's internal service: what workers ask it. Inference never does."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import grpc.aio
from interlock.v1 import worker_pb2, worker_pb2_grpc
from interlock_registry.domain import ModelStanding

from interlock_server.rpc.errors import unary


class ControlServicer(worker_pb2_grpc.ControlServiceServicer):
    """Answers from the registry."""

    def __init__(self, standing: Callable[[], Awaitable[tuple[ModelStanding, ...]]]) -> None:
        self._standing = standing

    @unary
    async def ListStanding(
        self,
        request: worker_pb2.ListStandingRequest,
        context: grpc.aio.ServicerContext[worker_pb2.ListStandingRequest, worker_pb2.ListStandingResponse],
    ) -> worker_pb2.ListStandingResponse:
        """List every version."""
        models = [
            worker_pb2.ListStandingResponse.Model(name=each.name, validated=each.validated, retired=each.retired)
            for each in await self._standing()
        ]
        return worker_pb2.ListStandingResponse(models=models)


async def start(servicer: ControlServicer, socket_path: str) -> grpc.aio.Server:
    """Serve on a unix socket that only this user can open."""
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
    worker_pb2_grpc.add_ControlServiceServicer_to_server(servicer, server)
    if server.add_insecure_port(f"unix:{socket_path}") == 0:
        raise OSError(f"{socket_path} cannot be bound")
    await server.start()
    os.chmod(socket_path, 0o600)
    return server
