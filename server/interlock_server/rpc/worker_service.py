"""The internal service of a worker, on its unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import grpc.aio
from interlock import convert
from interlock.model import ServableState, WorkerStatus
from interlock.v1 import admin_pb2, worker_pb2, worker_pb2_grpc

from interlock_server.cores import Threads
from interlock_server.front.aio import AioFront
from interlock_server.front.core import CoreFront
from interlock_server.front.limits import WALL
from interlock_server.front.seam import Front
from interlock_server.process.boot import switch_socket
from interlock_server.rpc.errors import streaming, unary
from interlock_server.snapshot import VersionSpec
from interlock_server.snapshot_wire import SnapshotReader, spec_value
from interlock_server.vitals import Vitals, vitals_message
from interlock_server.worker.catalog import NOT_WANTED, Catalog, Prepared
from interlock_server.worker.health import Health
from interlock_server.worker.inference import InferenceHandler
from interlock_server.worker.methods import Methods
from interlock_server.worker.metrics import WorkerMetrics

_APPLY: Final = "/interlock.v1.WorkerService/Apply"


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
        threads: Threads,
        front: str,
        address: str,
        prepare_timeout_s: float,
        vitals: Callable[[], Vitals] = Vitals,
    ) -> None:
        self._reader = SnapshotReader()
        self._applying = threading.Lock()
        self._catalog = catalog
        self._health = health
        self._metrics = metrics
        self._alone = alone
        self._index = index
        self._provider = provider
        self._threads = threads
        self.front: Final = front
        self._address = address
        self._prepare_timeout_s = prepare_timeout_s
        self._vitals = vitals

    @unary
    async def Apply(
        self,
        request: worker_pb2.ApplyRequest,
        context: grpc.aio.ServicerContext[worker_pb2.ApplyRequest, worker_pb2.ApplyResponse],
    ) -> worker_pb2.ApplyResponse:
        """Switch to a snapshot."""
        return self.apply(request)

    @streaming
    async def Prepare(
        self,
        request: worker_pb2.PrepareRequest,
        context: grpc.aio.ServicerContext[worker_pb2.PrepareRequest, worker_pb2.PrepareResponse],
    ) -> AsyncIterator[worker_pb2.PrepareResponse]:
        """Load a version and say how it ended."""
        yield worker_pb2.PrepareResponse(state=admin_pb2.SERVABLE_STATE_LOADING)
        prepared = await self._prepare(spec_value(request.spec), if_kept=request.if_kept)
        yield worker_pb2.PrepareResponse(
            state=_state(prepared.state), reason=prepared.reason, resident=prepared.resident, load_s=prepared.load_s
        )

    async def _prepare(self, spec: VersionSpec, *, if_kept: bool) -> Prepared:
        """Wait on the loop: versions that many calls wait for would take every thread that draining needs."""
        preparing = self._catalog.begin(spec, if_kept=if_kept)
        if preparing is None:
            return NOT_WANTED
        loop, settled = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before the load
                loop.call_soon_threadsafe(settled.set)

        preparing.servable.when_settled(tell)
        try:
            async with asyncio.timeout(self._prepare_timeout_s):
                await settled.wait()
        except TimeoutError:
            raise preparing.late(self._prepare_timeout_s) from None
        return preparing.ended()

    @unary
    async def Report(
        self,
        request: worker_pb2.ReportRequest,
        context: grpc.aio.ServicerContext[worker_pb2.ReportRequest, worker_pb2.ReportResponse],
    ) -> worker_pb2.ReportResponse:
        """Tell what this worker is and does."""
        return self._report(self._metrics.text() if request.with_metrics else b"", self._vitals())

    @unary
    async def Ask(
        self,
        request: worker_pb2.AskRequest,
        context: grpc.aio.ServicerContext[worker_pb2.AskRequest, worker_pb2.AskResponse],
    ) -> worker_pb2.AskResponse:
        """Answer a method of the inference port for this worker alone."""
        return worker_pb2.AskResponse(answer=self._alone(request.method, request.request))

    def apply(self, request: worker_pb2.ApplyRequest) -> worker_pb2.ApplyResponse:
        """Switch to a snapshot, on any thread."""
        with self._applying:
            snapshot = self._reader.snapshot(request)
        applied = self._catalog.apply(snapshot)
        return worker_pb2.ApplyResponse(epoch=applied.epoch, waiting=applied.waiting, report=self._report())

    def _report(self, metrics: bytes = b"", vitals: Vitals | None = None) -> worker_pb2.ReportResponse:
        status = WorkerStatus(
            index=self._index,
            pid=os.getpid(),
            reachable=True,
            epoch=self._catalog.epoch,
            provider=self._provider,
            front=self.front,
            servables=tuple(servable.status() for servable in self._catalog.servables()),
            threads=self._threads.count,
            threads_reason=self._threads.reason,
        )
        return worker_pb2.ReportResponse(
            status=convert.worker(status),
            incarnation=self._catalog.incarnation,
            settled=self._catalog.settled and self._health.joined,
            metrics=metrics,
            inference_address=self._address,
            draining=self._health.draining,
            levers=self._catalog.levers,
            vitals=None if vitals is None else vitals_message(vitals),
        )


def _state(state: ServableState) -> admin_pb2.ServableState.ValueType:
    return admin_pb2.ServableState.Value(f"SERVABLE_STATE_{state.value}")


@dataclass(frozen=True, slots=True)
class _Inside:
    """No limits but gRPC's own: on these sockets nobody speaks but this replica's own processes."""

    max_message_bytes: int = (2**31 - 1) // WALL
    max_in_flight_bytes: int = 2**31 - 1
    max_connections: int = 2**16
    max_streams: int = 2**16
    default_deadline_s: float = 3600.0
    max_deadline_s: float = 3600.0
    keepalive_time_s: float = 7200.0
    keepalive_timeout_s: float = 20.0
    min_ping_interval_s: float = 10.0


class WorkerServer:
    """A worker's two unix sockets: snapshots have one of their own, past the event loop, as callers wait for them."""

    def __init__(self, servicer: WorkerServicer, socket_path: str, mount: Callable[[grpc.aio.Server], None]) -> None:
        """Take where to listen, and what else `mount` adds to the first socket before the start."""
        self._servicer = servicer
        self._path = socket_path
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(servicer, self._server)
        mount(self._server)
        self._switch: Front = CoreFront(_Inside()) if servicer.front == CoreFront.name else AioFront(_Inside())

    async def start(self) -> None:
        """Listen where only this user can connect; raises OSError."""
        switch = switch_socket(self._path)
        for path in (self._path, switch):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # the socket of a predecessor that was killed
        await self._switch.start(InferenceHandler([Methods(unary={_APPLY: self._apply})]), f"unix:{switch}")
        os.chmod(switch, 0o600)
        if self._server.add_insecure_port(f"unix:{self._path}") == 0:
            raise OSError(f"{self._path} cannot be bound")
        await self._server.start()
        os.chmod(self._path, 0o600)

    def _apply(self, request: bytes) -> worker_pb2.ApplyResponse:
        return self._servicer.apply(worker_pb2.ApplyRequest.FromString(request))

    async def stop(self, grace_s: float) -> None:
        """Let running calls finish for so long, then cancel them. Idempotent."""
        await self._switch.stop(grace_s)
        await self._server.stop(grace_s)
