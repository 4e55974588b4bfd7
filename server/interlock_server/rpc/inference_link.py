"""The control process's end of a worker's inference methods, on the worker's own socket."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import grpc.aio
from interlock.errors import InterlockError, WorkerUnavailable
from interlock.status import DETAILS_KEY, from_wire


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer."""

    data: bytes
    trailing: tuple[tuple[str, str], ...]


class InferenceLink:
    """Unary calls of the inference port's methods, in bytes.

    Over a connection of its own: a large tensor must not stand in the way of a switch.
    """

    def __init__(self, name: str, socket_path: str) -> None:
        self.name = name
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket_path}",
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 250),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )

    async def call(self, method: str, request: bytes, timeout_s: float) -> Reply:
        """Call a method by its full path; raises what the worker answers, WorkerUnavailable where nobody does.

        Cancelling the task that waits cancels the call.
        """
        asked = self._methods.get(method)
        if asked is None:
            asked = self._methods[method] = self._channel.unary_unary(method)
        call = asked(request, timeout=timeout_s)
        try:
            data = await call
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        trailing = await call.trailing_metadata()
        return Reply(data, tuple((key, value) for key, value in trailing or () if isinstance(value, str)))

    def _translate(self, error: grpc.aio.AioRpcError) -> InterlockError:
        trailing = list(error.trailing_metadata())
        if error.code() is grpc.StatusCode.UNAVAILABLE and all(key != DETAILS_KEY for key, _ in trailing):
            return WorkerUnavailable(f"{self.name} does not answer: {error.details()}; try again in a moment")
        return from_wire(error.code(), error.details() or "", trailing)

    async def close(self) -> None:
        """Close the channel. Idempotent."""
        await self._channel.close()
