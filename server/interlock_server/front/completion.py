"""grpcio's own server machinery, typed: the only place that touches its private module.

`grpc._server` is written on the same calls. A call is met with `request_call`, lived through in batches of operations,
and every batch ends as an event on the completion queue, which carries the tag that the batch was started with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, cast

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

NEWEST_KNOWN: Final = (1, 86)
"""The private module is only used up to here: grpcio below this release was tried."""
OLDEST_KNOWN: Final = (1, 80)

_NO_FLAGS: Final = 0
_LONG_AGO: Final = 0.0
_SHUTDOWN: Final = cygrpc.CompletionType.queue_shutdown
_NO_EVENT: Final = (cygrpc.CompletionType.queue_timeout, _SHUTDOWN)
_OK: Final = grpc.StatusCode.OK.value[0]
_FOREVER_S: Final = 1e12
"""Deadlines beyond this, on the wall clock, mean none."""

Metadata = Sequence[tuple[str, str | bytes]]
"""As it comes from callers: names that end in `-bin` have bytes."""


class Operation(Protocol):
    """One step of a call; what it received, once its batch has ended."""

    def message(self) -> bytes | None:
        """Return the message of a ReceiveMessage; None where the caller sends no more."""
        ...

    def cancelled(self) -> bool:
        """Tell whether a ReceiveClose ended otherwise than by our status."""
        ...


class Batchable(Protocol):
    """A call of the core's."""

    def start_server_batch(self, operations: Sequence[Operation], tag: Callable[[Event], None]) -> object:
        """Begin a batch; any thread may."""
        ...

    def cancel(self) -> object:
        """Reset the call, whatever is on its way."""
        ...

    def peer(self) -> bytes:
        """Return where it comes from, HOST:PORT."""
        ...


class CallDetails(Protocol):
    """What the caller asked for."""

    method: bytes | None
    deadline: float


class Event(Protocol):
    """The end of a batch, of a request for a call, or of the queue."""

    completion_type: int
    success: bool
    tag: Callable[[Event], None]
    call: Batchable
    call_details: CallDetails
    invocation_metadata: Metadata
    batch_operations: Sequence[Operation]


class _Queue(Protocol):
    def poll(self, deadline: float | None = None) -> Event: ...
    def shutdown(self) -> None: ...


class _Server(Protocol):
    def register_completion_queue(self, queue: _Queue) -> None: ...
    def add_http2_port(self, address: bytes, credentials: object) -> int: ...
    def start(self) -> None: ...
    def request_call(self, call_queue: _Queue, server_queue: _Queue, tag: Callable[[Event], None]) -> object: ...
    def shutdown(self, queue: _Queue, tag: Callable[[Event], None]) -> None: ...
    def cancel_all_calls(self) -> None: ...
    def destroy(self) -> None: ...


class _Wrapped(Protocol):
    """Credentials as grpc's public functions return them, around what the server takes."""

    _credentials: object


class CompletionServer:
    """A gRPC server whose events one thread takes."""

    def __init__(self, options: Sequence[tuple[str, int]]) -> None:
        self._queue = cast(_Queue, cygrpc.CompletionQueue())
        self._server = cast(_Server, cygrpc.Server(tuple(options), False))
        self._server.register_completion_queue(self._queue)

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> None:
        """Bind and begin to accept connections, with TLS where there are credentials; raises OSError."""
        inner = None if credentials is None else cast(_Wrapped, credentials)._credentials
        try:
            port = self._server.add_http2_port(address.encode(), inner)
        except RuntimeError as error:
            raise OSError(f"{address} cannot be bound: {error}") from error
        if port == 0:
            raise OSError(f"{address} cannot be bound")
        self._server.start()

    def request_call(self, tag: Callable[[Event], None]) -> None:
        """Ask for one more call."""
        self._server.request_call(self._queue, self._queue, tag)

    def poll(self) -> Event | None:
        """Wait for the next event; None once the queue is shut down and empty."""
        event = self._queue.poll()
        return None if event.completion_type == _SHUTDOWN else event

    def poll_now(self) -> Event | None:
        """Return the next event if there is one already."""
        event = self._queue.poll(_LONG_AGO)
        return None if event.completion_type in _NO_EVENT else event

    def shut_down(self, tag: Callable[[Event], None]) -> None:
        """Send GOAWAY and take no new calls; the tag's event comes when the last call has ended."""
        self._server.shutdown(self._queue, tag)

    def cancel_calls(self) -> None:
        """End every call that is still running."""
        self._server.cancel_all_calls()

    def close(self) -> None:
        """Let the queue run dry; only after `shut_down` is complete."""
        self._server.destroy()
        self._queue.shutdown()


# What each call takes several of is made without a function of ours in between.
_Make = Callable[..., Operation]
_SEND_MESSAGE: Final[_Make] = cygrpc.SendMessageOperation
_SEND_STATUS: Final[_Make] = cygrpc.SendStatusFromServerOperation
SEND_METADATA: Final = cast(Operation, cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS))
"""Begins the answer. It holds nothing, so that one serves every call."""
receive_message: Final = cast(Callable[[], Operation], partial(cast(_Make, cygrpc.ReceiveMessageOperation), _NO_FLAGS))
"""Receives one message."""
receive_close: Final = cast(
    Callable[[], Operation], partial(cast(_Make, cygrpc.ReceiveCloseOnServerOperation), _NO_FLAGS)
)
"""Learns that the call has ended, and how."""


def send_message(data: bytes) -> Operation:
    """Send one message."""
    return _SEND_MESSAGE(data, _NO_FLAGS)


def send_ok(trailing: Metadata) -> Operation:
    """End the call well."""
    return _SEND_STATUS(trailing or None, _OK, b"", _NO_FLAGS)


def send_status(code: grpc.StatusCode, details: str, trailing: Metadata) -> Operation:
    """End the call with an error."""
    return _SEND_STATUS(trailing or None, code.value[0], details.encode(), _NO_FLAGS)


def authentication_of(call: Batchable) -> Mapping[str, Sequence[bytes]]:
    """Return what TLS found out about a caller."""
    found: Mapping[bytes, Sequence[bytes]] = cygrpc.auth_context(call) or {}
    return {key.decode(): value for key, value in found.items()}


def deadline_of(details: CallDetails) -> float | None:
    """Return the caller's deadline on the wall clock; None where it named none."""
    deadline = details.deadline
    return None if deadline > _FOREVER_S else deadline


def missing() -> str:
    """Say why this grpcio cannot be used so; "" where it can."""
    found = tuple(int(part) for part in grpc.__version__.split(".")[:2])
    if not OLDEST_KNOWN <= found < NEWEST_KNOWN:
        newest = ".".join(map(str, NEWEST_KNOWN))
        return f"grpcio {grpc.__version__} is not between {'.'.join(map(str, OLDEST_KNOWN))} and {newest}"
    names = (
        "CompletionQueue",
        "CompletionType",
        "ReceiveCloseOnServerOperation",
        "ReceiveMessageOperation",
        "SendInitialMetadataOperation",
        "SendMessageOperation",
        "SendStatusFromServerOperation",
        "Server",
        "auth_context",
    )
    absent = [name for name in names if not hasattr(cygrpc, name)]
    return f"grpcio {grpc.__version__} has no {', '.join(absent)}" if absent else ""
