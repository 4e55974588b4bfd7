"""The internal service of a worker, on its unix socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import grpc.aio
from interlock import convert
from interlock.model import ServableState, WorkerStatus
from interlock.v1 import admin_pb2, worker_pb2, worker_pb2_grpc

from interlock_server.rpc.errors import streaming, unary
from interlock_server.snapshot_wire import SpecValues, snapshot_value, spec_value
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.health import Health
from interlock_server.worker.metrics import WorkerMetrics


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """Snapshots in, reports out."""

    def __init__(
        self,
        catalog: Catalog,
        health: Health,
        metrics: WorkerMetrics,
        alone: Callable[[str, bytes], bytes],
        *,
        index: int,
        provider: str,
        front: str,
        address: str,
        prepare_timeout_s: float,
    ) -> None:
        self._specs = SpecValues()
        self._catalog = catalog
        self._health = health
        self._metrics = metrics
        self._alone = alone
        self._index = index
        self._provider = provider
        self._front = front
        self._address = address
        self._prepare_timeout_s = prepare_timeout_s

    @unary
    async def Apply(
        self,
        request: worker_pb2.ApplyRequest,
        context: grpc.aio.ServicerContext[worker_pb2.ApplyRequest, worker_pb2.ApplyResponse],
    ) -> worker_pb2.ApplyResponse:
        """Switch to a snapshot."""
        applied = self._catalog.apply(snapshot_value(request.snapshot, self._specs))
        return worker_pb2.ApplyResponse(epoch=applied.epoch, waiting=applied.waiting, report=self._report())

    @streaming
    async def Prepare(
        self,
        request: worker_pb2.PrepareRequest,
        context: grpc.aio.ServicerContext[worker_pb2.PrepareRequest, worker_pb2.PrepareResponse],
    ) -> AsyncIterator[worker_pb2.PrepareResponse]:
        """Load a version and say how it ended."""
        yield worker_pb2.PrepareResponse(state=admin_pb2.SERVABLE_STATE_LOADING)
        prepared = await asyncio.to_thread(self._catalog.prepare, spec_value(request.spec), self._prepare_timeout_s)
        yield worker_pb2.PrepareResponse(
            state=_state(prepared.state), reason=prepared.reason, resident=prepared.resident, load_s=prepared.load_s
        )

    @unary
    async def Report(
        self,
        request: worker_pb2.ReportRequest,
        context: grpc.aio.ServicerContext[worker_pb2.ReportRequest, worker_pb2.ReportResponse],
    ) -> worker_pb2.ReportResponse:
        """Tell what this worker is and does."""
        return self._report(self._metrics.text() if request.with_metrics else b"")

    @unary
    async def Ask(
        self,
        request: worker_pb2.AskRequest,
        context: grpc.aio.ServicerContext[worker_pb2.AskRequest, worker_pb2.AskResponse],
    ) -> worker_pb2.AskResponse:
        """Answer a method of the inference port for this worker alone."""
        return worker_pb2.AskResponse(answer=self._alone(request.method, request.request))

    def _report(self, metrics: bytes = b"") -> worker_pb2.ReportResponse:
        status = WorkerStatus(
            index=self._index,
            pid=os.getpid(),
            reachable=True,
            epoch=self._catalog.epoch,
            provider=self._provider,
            front=self._front,
            servables=tuple(servable.status() for servable in self._catalog.servables()),
        )
        return worker_pb2.ReportResponse(
            status=convert.worker(status),
            incarnation=self._catalog.incarnation,
            settled=self._catalog.settled and self._health.joined,
            metrics=metrics,
            inference_address=self._address,
            draining=self._health.draining,
        )


def _state(state: ServableState) -> admin_pb2.ServableState.ValueType:
    return admin_pb2.ServableState.Value(f"SERVABLE_STATE_{state.value}")


async def start(
    servicer: WorkerServicer, socket_path: str, mount: Callable[[grpc.aio.Server], None]
) -> grpc.aio.Server:
    """Serve on a unix socket that only this user can open, with what else `mount` adds before the start."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(servicer, server)
    mount(server)
    if server.add_insecure_port(f"unix:{socket_path}") == 0:
        raise OSError(f"{socket_path} cannot be bound")
    await server.start()
    os.chmod(socket_path, 0o600)
    return server
