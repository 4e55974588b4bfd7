"""The fast front: one thread takes the events of grpcio's own completion queue; answers go out from any thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from interlock.errors import InterlockError, ResourceExhausted, Unimplemented

from interlock_server.certificates import Certificates
from interlock_server.faults import opaque
from interlock_server.front.alarms import Alarms, Patience
from interlock_server.front.completion import (
    SEND_METADATA,
    CompletionServer,
    Event,
    Metadata,
    authentication_of,
    deadline_of,
    receive_close,
    receive_message,
    send_status,
)
from interlock_server.front.core_calls import Census, Common, ConversationCall, CoreCall, StreamCall, UnaryCall, ignore
from interlock_server.front.credentials import certificate_names, server_credentials
from interlock_server.front.limits import (
    COUNTED,
    LARGE,
    LARGE_AT_ONCE,
    WALL,
    Parked,
    Room,
    check_size,
    server_options,
)
from interlock_server.front.seam import Arity, Handler, Limits
from interlock_server.front.turnstile import Turnstile, turned_away

log = logging.getLogger("interlock.front")

_ARMED: Final = 64
"""Calls that may begin between two looks at the queue without waiting for one."""
_TOGETHER: Final = 256
"""Events that are taken before what was kept back is seen to: whoever came first waits no longer for company."""


_UNKNOWN: Final[tuple[str, Arity | None]] = ("", None)


class CoreFront:
    """grpcio's completion queue behind the seam. Start and stop on one event loop; calls never touch it."""

    name: Final = "core"

    def __init__(self, limits: Limits, certificates: Certificates | None = None, room: Room | None = None) -> None:
        """Take what large messages are counted in, where others count there too."""
        self._limits = limits
        self._room: Final = room or Room(limits.max_in_flight_bytes)
        self._certificates = certificates
        self._handler: Handler | None = None
        self._server: CompletionServer | None = None
        self._thread: threading.Thread | None = None
        self._common: Common | None = None
        self._methods: dict[bytes | None, tuple[str, Arity]] = {}
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large requests")
        self._stopping = False
        self._unsettled: list[UnaryCall] = []
        self._spoken = False
        self._busy_since = 0.0
        self._turnstile = Turnstile()
        self._census = Census()
        self._shut = False
        self._drained = threading.Event()

    @property
    def stuck_s(self) -> float:
        """How long the polling thread has been busy with one event; 0 while it waits."""
        since = self._busy_since
        return time.monotonic() - since if since else 0.0

    @property
    def turned_away(self) -> int:
        """Calls that were refused as they began, for want of time to look at them."""
        return self._turnstile.turned_away

    async def start(self, handler: Handler, address: str) -> None:
        """Listen; returns when bound. Raises OSError."""
        server = CompletionServer(
            server_options(self._limits, WALL * self._limits.max_message_bytes, self._limits.max_connections)
        )
        server.listen(address, None if self._certificates is None else server_credentials(self._certificates))
        self._handler = handler
        self._methods = {path.encode(): (path, arity) for path, arity in handler.methods.items()}
        alarms = Alarms()
        self._common = Common(
            alarms,
            Patience(alarms),
            self._limits.max_message_bytes,
            self._room,
            self._turnstile,
            self._census,
        )
        self._server = server
        for _ in range(_ARMED):
            server.request_call(self._on_call)
        self._thread = threading.Thread(target=self._poll, args=(server,), name="front core", daemon=True)
        self._thread.start()

    async def stop(self, grace_s: float) -> None:
        """Send GOAWAY, let running calls finish for so long, then cancel them. Idempotent."""
        if self._server is not None and not self._stopping:
            self._stopping = True
            await asyncio.to_thread(self._stop, self._server, grace_s)

    def _stop(self, server: CompletionServer, grace_s: float) -> None:
        server.shut_down(self._on_shut)
        if not self._drained.wait(grace_s):
            server.cancel_calls()
            self._drained.wait()
        server.close()
        assert self._thread is not None and self._common is not None
        self._thread.join()
        self._common.alarms.close()
        self._large.shutdown(wait=False, cancel_futures=True)

    def _on_shut(self, event: Event) -> None:
        self._shut = True  # gRPC has no connection any more, but may not have told how each call ended

    def _poll(self, server: CompletionServer) -> None:
        """Take events, and after those that are there together see to what the handler kept back."""
        turnstile, ended = self._turnstile, time.monotonic()
        while (event := server.poll()) is not None:
            now = time.monotonic()
            turnstile.worked(now - ended, now)
            self._pass_on(event)
            left = _TOGETHER
            while (self._unsettled or self._spoken) and left and (event := server.poll_now()) is not None:
                self._pass_on(event)
                left -= 1
            # What an event refers to must not live on until the next one comes.
            del event
            if self._unsettled or self._spoken:
                self._settle()
            if self._shut and not self._census.open:
                self._drained.set()
            self._busy_since = 0.0
            ended = time.monotonic()

    def _pass_on(self, event: Event) -> None:
        self._busy_since = time.monotonic()
        try:
            event.tag(event)
        except Exception:
            log.exception("an event of a call could not be handled")

    def _settle(self) -> None:
        assert self._handler is not None
        self._spoken = False
        self._busy_since = time.monotonic()
        try:
            self._handler.settle()
        except Exception:
            log.exception("calls that came together could not be handled")
        for call in self._unsettled:
            if not call.ended:
                call.watch()
        self._unsettled.clear()

    # --- a call begins ---

    def _on_call(self, event: Event) -> None:
        if not event.success:
            return  # the server is shutting down
        assert self._server is not None and self._handler is not None
        if not self._stopping:
            self._server.request_call(self._on_call)
        method, arity = self._methods.get(event.call_details.method, _UNKNOWN)
        if arity is Arity.UNARY:
            if self._turnstile.suspects and self._turnstile.turns_away(method, event.call.peer()):
                away = turned_away()
                status = send_status(away.code, away.message, away.trailing)
                event.call.start_server_batch((receive_close(), SEND_METADATA, status), ignore)
            else:
                self._begin_unary(method, event)
        elif arity is Arity.STREAM:
            self._begin_stream(method, event)
        elif arity is Arity.CONVERSATION:
            self._begin_conversation(method, event)
        else:
            # In gRPC's own words, as on the other fronts: clients tell a wrong port by them.
            unknown = send_status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", ())
            event.call.start_server_batch((receive_close(), SEND_METADATA, unknown), ignore)

    def _begin_unary(self, method: str, event: Event) -> None:
        assert self._common is not None
        remaining = _remaining_s(event)
        limit = self._limits.default_deadline_s if remaining is None else self._limits.max_deadline_s
        allowed = limit if remaining is None else min(remaining, limit)
        call = UnaryCall(
            method,
            _metadata(event.invocation_metadata),
            time.monotonic() + allowed,
            event.call,
            self._common,
            self._take_unary,
        )
        if remaining is None:
            call.wait_patiently()
        elif remaining > limit:
            call.alarm(call.deadline, call.overdue)
        self._introduce(call, event)
        call.receive()

    def _begin_stream(self, method: str, event: Event) -> None:
        assert self._common is not None
        call = StreamCall(
            method,
            _metadata(event.invocation_metadata),
            _open_end(event),
            event.call,
            self._common,
        )
        self._introduce(call, event)
        event.call.start_server_batch((receive_close(),), call.on_close)
        event.call.start_server_batch((receive_message(),), lambda event: self._on_request(call, event))

    def _begin_conversation(self, method: str, event: Event) -> None:
        assert self._common is not None and self._handler is not None
        call = ConversationCall(
            method,
            _metadata(event.invocation_metadata),
            _open_end(event),
            event.call,
            self._common,
            self._large,
            self._handler.settle,
            self._settle_soon,
        )
        self._introduce(call, event)
        event.call.start_server_batch((receive_close(),), call.on_close)
        try:
            self._handler.converse(call)
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            call.fail(opaque(error))
            return
        call.read()

    def _introduce(self, call: CoreCall, event: Event) -> None:
        if self._certificates is not None and self._certificates.asks_callers:
            core = event.call
            call.peer = lambda: certificate_names(authentication_of(core))

    def _take_unary(self, call: UnaryCall, request: bytes | None) -> None:
        if request is None:  # mostly since its caller gave up before it was read
            if self._turnstile.busy:
                call.in_vain()
            call.fail(_none_came(call.method))
        elif len(request) <= COUNTED:
            self._handle(call, request)
            self._unsettled.append(call)
        elif self._held(call, request):
            if len(request) > LARGE:
                call.watch()
                self._park(call, request)
            else:
                self._handle(call, request)
                self._unsettled.append(call)

    def _park(self, call: UnaryCall | StreamCall, request: bytes) -> None:
        call.parked = Parked(request)
        self._large.submit(self._take_large, call, call.parked)

    def _take_large(self, call: UnaryCall | StreamCall, parked: Parked) -> None:
        request = parked.take()
        if request is None:
            return  # the call is over
        assert self._handler is not None
        self._handle(call, request)
        self._handler.settle()

    def _on_request(self, call: StreamCall, event: Event) -> None:
        request = event.batch_operations[0].message()
        if request is None:
            call.fail(_none_came(call.method))
            return
        if not self._held(call, request):
            return
        if len(request) > LARGE:
            self._park(call, request)
        else:
            self._handle(call, request)

    def _held(self, call: UnaryCall | StreamCall, request: bytes) -> bool:
        """Count a request's bytes as here; where that cannot be, the call ends."""
        try:
            if len(request) > COUNTED:
                call.hold(len(request))
        except ResourceExhausted as error:
            call.fail(error)
            return False
        return True

    def _settle_soon(self) -> None:
        self._spoken = True

    def _handle(self, call: UnaryCall | StreamCall, request: bytes) -> None:
        assert self._handler is not None
        try:
            check_size("a request", request, self._limits.max_message_bytes)
            call.request = request
            self._handler.handle(call)
        except InterlockError as error:
            call.fail(error)
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            call.fail(opaque(error))


def _none_came(method: str) -> Unimplemented:
    return Unimplemented(f"{method} takes exactly one message, and none came")


def _remaining_s(event: Event) -> float | None:
    deadline = deadline_of(event.call_details)
    return None if deadline is None else max(0.0, deadline - time.time())


def _open_end(event: Event) -> float:
    """Return a stream's deadline on the monotonic clock: one that names none may stay for ever."""
    remaining = _remaining_s(event)
    return float("inf") if remaining is None else time.monotonic() + remaining


def _metadata(pairs: Metadata) -> Mapping[str, str]:
    return {key: value for key, value in pairs if isinstance(value, str)}
