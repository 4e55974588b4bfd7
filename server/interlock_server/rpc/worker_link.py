"""The control process's end of a worker's internal service."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from interlock import convert
from interlock.errors import InterlockError, WorkerUnavailable
from interlock.model import ServableState, WorkerStatus
from interlock.status import from_wire
from interlock.v1 import admin_pb2, worker_pb2, worker_pb2_grpc

from interlock_server.process.boot import switch_socket
from interlock_server.snapshot import Snapshot, VersionSpec
from interlock_server.snapshot_wire import SnapshotWriter, worker_spec_message
from interlock_server.vitals import Vitals, vitals_value

_CREDENTIALS: Final = struct.Struct("3i")
"""Linux's struct ucred: process, user, group."""
_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A connection that nothing has used for half an hour would be closed, and be missing when it is to switch at once.
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker told about itself."""

    status: WorkerStatus
    incarnation: str
    settled: bool
    draining: bool
    metrics: bytes
    vitals: Vitals
    levers: str = ""
    """The shared memory that its routes look for levers in; "" where they look for none."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a worker's PREPARE ended."""

    ready: bool
    reason: str
    resident: bool
    load_s: float
    dropped: bool
    """The worker's snapshot does not keep it."""


class WorkerLink:
    """Calls to one worker; each raises WorkerUnavailable where nobody answers, DeadlineExceeded where it hangs."""

    def __init__(self, name: str, socket_path: str) -> None:
        self.name = name
        self._socket_path = socket_path
        self._channel, self._switch_channel = (
            grpc.aio.insecure_channel(f"unix:{path}", options=_OPTIONS)
            for path in (socket_path, switch_socket(socket_path))
        )
        self._stub = worker_pb2_grpc.WorkerServiceStub(self._channel)
        self._switch_stub = worker_pb2_grpc.WorkerServiceStub(self._switch_channel)
        self._writer = SnapshotWriter()

    async def apply(self, snapshot: Snapshot, timeout_s: float, *, reconnect: bool = False) -> WorkerReport:
        """Switch the worker to a snapshot; returns what it is and does right after.

        With `reconnect` a channel that has lost its connection is given the time to find it again.
        """
        request = self._writer.request(snapshot)
        try:
            response = await self._switch_stub.Apply(request, timeout=timeout_s, wait_for_ready=reconnect)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        return _report(response.report)

    async def prepare(self, spec: VersionSpec, timeout_s: float, *, if_kept: bool = False) -> Preparation:
        """Have a version loaded, warmed and golden-checked; with `if_kept` only one that the snapshot keeps."""
        last = worker_pb2.PrepareResponse()
        try:
            async for message in self._stub.Prepare(
                worker_pb2.PrepareRequest(spec=worker_spec_message(spec), if_kept=if_kept), timeout=timeout_s
            ):
                last = message
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        state = ServableState(admin_pb2.ServableState.Name(last.state).removeprefix("SERVABLE_STATE_"))
        return Preparation(
            ready=state is ServableState.READY,
            reason=last.reason or state.value,
            resident=last.resident,
            load_s=last.load_s,
            dropped=state is ServableState.UNLOADED,
        )

    async def report(self, timeout_s: float, *, with_metrics: bool = False) -> WorkerReport:
        """Ask the worker what it is and does."""
        try:
            response = await self._stub.Report(worker_pb2.ReportRequest(with_metrics=with_metrics), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        return _report(response)

    async def ask(self, method: str, request: bytes, timeout_s: float) -> bytes:
        """Have a method of the inference port answered for this worker alone; raises what it refuses with."""
        try:
            response = await self._stub.Ask(worker_pb2.AskRequest(method=method, request=request), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        return response.answer

    def listener(self) -> int:
        """Return the process id of whoever listens on the socket, also one that hangs; 0 where nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.setblocking(False)
            try:
                line.connect(self._socket_path)
                pid, _, _ = _CREDENTIALS.unpack(
                    line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                )
            except OSError:
                return 0
        return int(pid)

    def _translate(self, error: grpc.aio.AioRpcError) -> InterlockError:
        # Nobody here cancels a call (that would be asyncio's CancelledError): a worker that stops does, with what is
        # still open when it closes its socket.
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return WorkerUnavailable(f"{self.name} does not answer: {error.details()}")
        trailing = [(key, value) for key, value in error.trailing_metadata()]
        return from_wire(error.code(), error.details() or "", trailing)

    async def close(self) -> None:
        """Close the channels. Idempotent."""
        await self._channel.close()
        await self._switch_channel.close()


def _report(message: worker_pb2.ReportResponse) -> WorkerReport:
    return WorkerReport(
        status=convert.from_worker(message.status),
        incarnation=message.incarnation,
        settled=message.settled,
        draining=message.draining,
        metrics=message.metrics,
        vitals=vitals_value(message.vitals),
        levers=message.levers,
    )
