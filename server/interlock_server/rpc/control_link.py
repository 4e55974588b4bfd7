"""A worker's end of the control process's internal service."""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio
from interlock.errors import InterlockError, RegistryUnavailable
from interlock.status import from_wire
from interlock.v1 import worker_pb2, worker_pb2_grpc
from interlock_registry.domain import ModelStanding

_TIMEOUT_S: Final = 10.0


class ControlLink:
    """Calls to the control process, which may be away at any time. Made and used on one event loop."""

    def __init__(self, socket_path: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket_path}",
            options=[
                ("grpc.enable_retries", 0),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 250),
                ("grpc.max_receive_message_length", -1),
            ],
        )
        self._stub = worker_pb2_grpc.ControlServiceStub(self._channel)

    async def standing(self) -> tuple[ModelStanding, ...]:
        """List every version of the registry; raises RegistryUnavailable where nobody can tell."""
        try:
            response = await self._stub.ListStanding(worker_pb2.ListStandingRequest(), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        return tuple(ModelStanding(each.name, tuple(each.validated), tuple(each.retired)) for each in response.models)

    def _translate(self, error: grpc.aio.AioRpcError) -> InterlockError:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return RegistryUnavailable(f"the control process does not answer: {error.details()}")
        trailing = [(key, value) for key, value in error.trailing_metadata()]
        return from_wire(error.code(), error.details() or "", trailing)

    async def close(self) -> None:
        """Close the channel. Idempotent."""
        await self._channel.close()
