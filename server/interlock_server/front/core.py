"""The fast front: one thread takes the events of grpcio's own completion queue; answers go out from any thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from interlock.errors import Cancelled, InterlockError, TooLarge, Unimplemented
from interlock.status import to_wire

from interlock_server.faults import opaque
from interlock_server.front.alarms import Alarm, Alarms
from interlock_server.front.completion import (
    Batchable,
    CompletionServer,
    Event,
    Metadata,
    Operation,
    deadline_of,
    receive_close,
    receive_message,
    send_message,
    send_metadata,
    send_status,
)
from interlock_server.front.limits import (
    LARGE,
    LARGE_AT_ONCE,
    MAX_STREAM_BACKLOG,
    OVER,
    WALL,
    check_size,
    server_options,
)
from interlock_server.front.seam import MAX_UNANSWERED, Arity, Call, Conversation, Handler, Limits, Trailing

log = logging.getLogger("interlock.front")

_ARMED: Final = 32
"""Calls that may begin between two looks at the queue without waiting for one."""


class _CoreCall(Call):
    """One RPC on the completion queue; its batches' events come to the methods named `on_…`, on the front's thread."""

    __slots__ = ("_alarm_list", "_alarms", "_core", "_ended", "_most")

    def __init__(
        self, method: str, metadata: Mapping[str, str], deadline: float, core: Batchable, alarms: Alarms, most: int
    ) -> None:
        super().__init__(method, b"", metadata, deadline)
        self._core = core
        self._alarms = alarms
        self._alarm_list: list[Alarm] = []
        self._most = most
        self._ended = False

    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        self._alarm_list.append(self._alarms.set(at, callback))

    def on_close(self, event: Event) -> None:
        """Note that the call is over: by our status, by the caller or by its deadline."""
        with self._lock:
            self._ended = True
        for alarm in self._alarm_list:
            alarm.end()
        if event.batch_operations[0].cancelled():
            self.cancel()

    def _start(self, *operations: Operation) -> None:
        self._core.start_server_batch(operations, _ignore)

    def _first_end(self) -> bool:
        with self._lock:
            first, self._ended = not self._ended, True
        return first


class _UnaryCall(_CoreCall):
    __slots__ = ()

    def message(self, data: bytes) -> None:
        raise TypeError(f"{self.method} answers with one message: end it with done()")

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        try:
            check_size("an answer", data or b"", self._most)
        except TooLarge as error:
            self.fail(error)
            return
        if self._first_end():
            self._start(send_metadata(), send_message(data or b""), send_status(None, "", trailing))

    def fail(self, error: InterlockError) -> None:
        if self._first_end():
            self._start(send_metadata(), _status(error))


class _StreamCall(_CoreCall):
    """Sends one message after the other; those that wait are bounded, as a slow reader must not fill the memory."""

    __slots__ = ("_begun", "_outbox", "_sending", "_status", "_waiting")

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        deadline: float,
        core: Batchable,
        alarms: Alarms,
        most: int,
        waiting: int = MAX_STREAM_BACKLOG,
    ) -> None:
        super().__init__(method, metadata, deadline, core, alarms, most)
        self._outbox: deque[bytes] = deque(maxlen=waiting)
        self._sending = False
        self._begun = False
        self._status: Operation | None = None

    def message(self, data: bytes) -> None:
        with self._lock:
            if self._ended or self._status is not None:
                return
            self._outbox.append(data)
            self._send()

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        self._finish(send_status(None, "", trailing))

    def fail(self, error: InterlockError) -> None:
        self._finish(_status(error))

    def _finish(self, status: Operation) -> None:
        with self._lock:
            if self._ended or self._status is not None:
                return
            self._status = status
            self._send()

    def _send(self) -> None:
        """Send what is next, unless something is on its way; the lock is held."""
        if self._sending:
            return
        operations = [] if self._begun else [send_metadata()]
        if self._outbox:
            operations.append(send_message(self._outbox.popleft()))
        elif self._status is not None:
            operations.append(self._status)
            self._ended = True
        else:
            return
        self._begun = self._sending = True
        self._core.start_server_batch(operations, self.on_sent)

    def on_sent(self, event: Event) -> None:
        """Go on with what waits."""
        with self._lock:
            self._sending = False
            if not self._ended:
                self._send()


def _unheard(data: bytes) -> None:
    raise TypeError("a conversation's handler must listen to it before it returns")


class _ConversationCall(_StreamCall, Conversation):
    """Reads only so far ahead of the answers: what the caller sends beyond that waits on its own side."""

    __slots__ = ("_large", "_on_end", "_on_message", "_reading", "_unanswered")

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        deadline: float,
        core: Batchable,
        alarms: Alarms,
        most: int,
        large: ThreadPoolExecutor,
    ) -> None:
        super().__init__(method, metadata, deadline, core, alarms, most, MAX_UNANSWERED + 1)
        self._large = large
        self._on_message: Callable[[bytes], None] = _unheard
        self._on_end: Callable[[], None] = self.done
        self._unanswered = 0
        self._reading = False

    def listen(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._on_message, self._on_end = on_message, on_end

    def read(self) -> None:
        """Ask for the next message, unless too many are unanswered."""
        with self._lock:
            if self._reading or self._ended or self._unanswered >= MAX_UNANSWERED:
                return
            self._reading = True
        self._core.start_server_batch((receive_message(),), self.on_message)

    def on_message(self, event: Event) -> None:
        """Pass a message on."""
        data = event.batch_operations[0].message()
        if data is not None and len(data) > LARGE:
            self._large.submit(self._take, data)
        else:
            self._take(data)

    def _take(self, data: bytes | None) -> None:
        try:
            if data is None:
                self._on_end()
                return
            check_size("a request", data, self._most)
            with self._lock:
                self._unanswered += 1
            self._on_message(data)
        except InterlockError as error:
            self.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            self.fail(opaque(error))
            return
        with self._lock:
            self._reading = False
        self.read()

    def message(self, data: bytes) -> None:
        try:
            check_size("an answer", data, self._most)
        except TooLarge as error:
            self.fail(error)
            return
        super().message(data)

    def on_sent(self, event: Event) -> None:
        with self._lock:
            self._unanswered -= 1
        super().on_sent(event)
        self.read()

    def on_close(self, event: Event) -> None:
        super().on_close(event)
        self.cancel()


class CoreFront:
    """grpcio's completion queue behind the seam. Start and stop on one event loop; calls never touch it."""

    name: Final = "core"

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._handler: Handler | None = None
        self._server: CompletionServer | None = None
        self._thread: threading.Thread | None = None
        self._alarms: Alarms | None = None
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large requests")
        self._stopping = False
        self._drained = threading.Event()

    async def start(self, handler: Handler, address: str) -> None:
        """Listen; returns when bound. Raises OSError."""
        server = CompletionServer(server_options(self._limits, WALL * self._limits.max_message_bytes))
        server.listen(address)
        self._handler = handler
        self._alarms = Alarms()
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
        server.shut_down(lambda _: self._drained.set())
        if not self._drained.wait(grace_s):
            server.cancel_calls()
            self._drained.wait()
        server.close()
        assert self._thread is not None and self._alarms is not None
        self._thread.join()
        self._alarms.close()
        self._large.shutdown(wait=False, cancel_futures=True)

    def _poll(self, server: CompletionServer) -> None:
        while (event := server.poll()) is not None:
            try:
                event.tag(event)
            except Exception:
                log.exception("an event of a call could not be handled")
            # What an event refers to must not live on until the next one comes.
            del event

    # --- a call begins ---

    def _on_call(self, event: Event) -> None:
        if not event.success:
            return  # the server is shutting down
        assert self._server is not None and self._handler is not None
        if not self._stopping:
            self._server.request_call(self._on_call)
        method = (event.call_details.method or b"").decode()
        arity = self._handler.methods.get(method)
        if arity is Arity.UNARY:
            self._begin_unary(method, event)
        elif arity is Arity.STREAM:
            self._begin_stream(method, event)
        elif arity is Arity.CONVERSATION:
            self._begin_conversation(method, event)
        else:
            unknown = Unimplemented(f"this server has no method {method[:256]}")
            event.call.start_server_batch((receive_close(), send_metadata(), _status(unknown)), _ignore)

    def _begin_unary(self, method: str, event: Event) -> None:
        assert self._alarms is not None
        now = time.monotonic()
        remaining = _remaining_s(event)
        limit = self._limits.default_deadline_s if remaining is None else self._limits.max_deadline_s
        allowed = limit if remaining is None else min(remaining, limit)
        call = _UnaryCall(
            method,
            _metadata(event.invocation_metadata),
            now + allowed,
            event.call,
            self._alarms,
            self._limits.max_message_bytes,
        )
        if remaining is None or remaining > limit:
            call.alarm(now + allowed, lambda: call.expire(OVER))
        event.call.start_server_batch((receive_close(),), call.on_close)
        event.call.start_server_batch((receive_message(),), lambda event: self._on_request(call, event))

    def _begin_stream(self, method: str, event: Event) -> None:
        assert self._alarms is not None
        call = _StreamCall(
            method,
            _metadata(event.invocation_metadata),
            _open_end(event),
            event.call,
            self._alarms,
            self._limits.max_message_bytes,
        )
        event.call.start_server_batch((receive_close(),), call.on_close)
        event.call.start_server_batch((receive_message(),), lambda event: self._on_request(call, event))

    def _begin_conversation(self, method: str, event: Event) -> None:
        assert self._alarms is not None and self._handler is not None
        call = _ConversationCall(
            method,
            _metadata(event.invocation_metadata),
            _open_end(event),
            event.call,
            self._alarms,
            self._limits.max_message_bytes,
            self._large,
        )
        event.call.start_server_batch((receive_close(),), call.on_close)
        try:
            self._handler.converse(call)
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            call.fail(opaque(error))
            return
        call.read()

    def _on_request(self, call: _UnaryCall | _StreamCall, event: Event) -> None:
        request = event.batch_operations[0].message()
        if request is None:
            call.fail(Unimplemented(f"{call.method} takes exactly one message, and none came"))
        elif len(request) > LARGE:
            self._large.submit(self._handle, call, request)
        else:
            self._handle(call, request)

    def _handle(self, call: _UnaryCall | _StreamCall, request: bytes) -> None:
        assert self._handler is not None
        try:
            check_size("a request", request, self._limits.max_message_bytes)
            call.request = request
            self._handler.handle(call)
        except InterlockError as error:
            call.fail(error)
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            call.fail(opaque(error))


def _ignore(event: Event) -> None:
    """Nothing waits for the end of this batch."""


def _status(error: InterlockError) -> Operation:
    if isinstance(error, Cancelled):
        return send_status(grpc.StatusCode.CANCELLED, error.message, ())
    status = to_wire(error)
    return send_status(status.code, status.message, status.trailing)


def _remaining_s(event: Event) -> float | None:
    deadline = deadline_of(event.call_details)
    return None if deadline is None else max(0.0, deadline - time.time())


def _open_end(event: Event) -> float:
    """Return a stream's deadline on the monotonic clock: one that names none may stay for ever."""
    remaining = _remaining_s(event)
    return float("inf") if remaining is None else time.monotonic() + remaining


def _metadata(pairs: Metadata) -> Mapping[str, str]:
    return {key: value for key, value in pairs if isinstance(value, str)}
