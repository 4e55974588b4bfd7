"""The reference front: grpc.aio, public API only."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import grpc
import grpc.aio
from interlock.errors import Cancelled, InterlockError
from interlock.status import to_wire

from interlock_server.certificates import Certificates
from interlock_server.faults import opaque
from interlock_server.front.credentials import add_port, certificate_names
from interlock_server.front.limits import (
    COUNTED,
    LARGE,
    LARGE_AT_ONCE,
    MAX_STREAM_BACKLOG,
    OVER,
    WALL,
    Parked,
    Room,
    check_size,
    server_options,
)
from interlock_server.front.seam import MAX_UNANSWERED, Arity, Call, Conversation, Handler, Limits, Trailing


class _Alarms:
    """Timers of one call, on the loop; those that have not rung end with it."""

    __slots__ = ("_ended", "_handles", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handles: list[asyncio.TimerHandle] = []
        self._ended = False

    def set(self, at: float, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(self._set, at, callback)

    def _set(self, at: float, callback: Callable[[], None]) -> None:
        if not self._ended:
            # A conversation may stay for days: what has rung must go before its end.
            now = self._loop.time()
            left = [each for each in self._handles if each.when() > now]
            self._handles = [*left, self._loop.call_later(at - time.monotonic(), self._ring, callback)]

    def _ring(self, callback: Callable[[], None]) -> None:
        if not self._ended:
            callback()

    def end(self) -> None:
        self._ended = True
        for handle in self._handles:
            handle.cancel()


class _UnaryCall(Call):
    __slots__ = ("_alarms", "_future", "_held", "_loop", "_most", "_room", "_through", "_weighed")

    def __init__(
        self,
        method: str,
        request: bytes,
        metadata: Mapping[str, str],
        deadline: float,
        loop: asyncio.AbstractEventLoop,
        room: Room,
        most: int,
    ) -> None:
        super().__init__(method, request, metadata, deadline)
        self._loop = loop
        self._room = room
        self._most = most
        self._held = 0
        self._through = self._weighed = False
        self._alarms: _Alarms | None = None
        self._future: asyncio.Future[tuple[bytes, Trailing]] = loop.create_future()

    def message(self, data: bytes) -> None:
        raise TypeError(f"{self.method} answers with one message: end it with done()")

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        self._loop.call_soon_threadsafe(self._resolve, data or b"", trailing)

    def fail(self, error: InterlockError) -> None:
        self._loop.call_soon_threadsafe(self._reject, error)

    def _resolve(self, data: bytes, trailing: Trailing) -> None:
        if not self._future.done():
            self._future.set_result((data, trailing))

    def _reject(self, error: InterlockError) -> None:
        if not self._future.done():
            self._future.set_exception(error)

    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        self._alarms = self._alarms or _Alarms(self._loop)
        self._alarms.set(at, callback)

    def hold(self, count: int) -> None:
        """Count bytes as here until gRPC is through with the call; raises ResourceExhausted."""
        self._room.take(count)
        with self._lock:
            if not self._through:
                self._held += count
                return
        self._room.give(count)

    def let_go(self) -> None:
        """Give back what was held, now that gRPC is through with the call."""
        with self._lock:
            self._through = True
            held, self._held = self._held, 0
        self._room.give(held)

    def weigh(self, data: bytes) -> None:
        check_size("an answer", data, self._most)
        if len(data) > COUNTED:
            self.hold(len(data))
        self._weighed = True

    async def answer(self) -> tuple[bytes, Trailing]:
        data, trailing = await self._future
        if not self._weighed:
            self.weigh(data)
        return data, trailing

    def end(self) -> None:
        if self._alarms is not None:
            self._alarms.end()
        self.release()


class _StreamCall(Call):
    __slots__ = ("_alarms", "_error", "_loop", "_queue")

    def __init__(
        self,
        method: str,
        request: bytes,
        metadata: Mapping[str, str],
        deadline: float,
        loop: asyncio.AbstractEventLoop,
        backlog: int = MAX_STREAM_BACKLOG,
    ) -> None:
        super().__init__(method, request, metadata, deadline)
        self._loop = loop
        self._alarms = _Alarms(loop)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(backlog)
        self._error: InterlockError | None = None

    def alarm(self, at: float, callback: Callable[[], None]) -> None:
        self._alarms.set(at, callback)

    def end(self) -> None:
        self._alarms.end()
        self.cancel()

    def message(self, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._put, data)

    def done(self, data: bytes | None = None, trailing: Trailing = ()) -> None:
        self._loop.call_soon_threadsafe(self._put, None)

    def fail(self, error: InterlockError) -> None:
        self._error = error
        self._loop.call_soon_threadsafe(self._put, None)

    def _put(self, data: bytes | None) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(data)

    async def answers(self) -> AsyncIterator[bytes]:
        while (data := await self._queue.get()) is not None:
            yield data
        if self._error is not None:
            raise self._error


def _unheard(data: bytes) -> None:
    raise TypeError("a conversation's handler must listen to it before it returns")


class _ConversationCall(_StreamCall, Conversation):
    """Reads only so far ahead of the answers: what the caller sends beyond that waits on its own side."""

    __slots__ = ("_held", "_on_end", "_on_message", "_places", "_room")

    def __init__(
        self, method: str, metadata: Mapping[str, str], deadline: float, loop: asyncio.AbstractEventLoop, room: Room
    ) -> None:
        super().__init__(method, b"", metadata, deadline, loop, MAX_UNANSWERED + 1)  # and its end
        self._room = room
        self._held: deque[int] = deque()
        self._places = asyncio.Semaphore(MAX_UNANSWERED)
        self._on_message: Callable[[bytes], None] = _unheard
        self._on_end: Callable[[], None] = self.done

    def listen(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._on_message, self._on_end = on_message, on_end

    async def read(
        self, requests: AsyncIterator[bytes], large: ThreadPoolExecutor, most: int, settle: Callable[[], None]
    ) -> None:
        """Pass messages on until the caller sends no more."""
        try:
            async for data in requests:
                await self._places.acquire()
                check_size("a request", data, most)
                counted = len(data) if len(data) > COUNTED else 0
                self._room.take(counted)
                self._held.append(counted)
                if counted > LARGE:
                    await self._loop.run_in_executor(large, self._on_message, data)
                else:
                    self._on_message(data)
                settle()
            self._on_end()
        except InterlockError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - it must end as this call's answer, and in the log
            self.fail(opaque(error))

    def answered(self) -> None:
        """Note that an answer is on its way to the caller."""
        self._places.release()
        if self._held:
            self._room.give(self._held.popleft())

    def end(self) -> None:
        """Let go of what was never answered."""
        super().end()
        self._room.give(sum(self._held))
        self._held.clear()


class AioFront:
    """grpc.aio behind the seam. Start, stop and handle on one event loop."""

    name: Final = "aio"

    def __init__(self, limits: Limits, certificates: Certificates | None = None, room: Room | None = None) -> None:
        """Take what large messages are counted in, where others count there too."""
        self._limits = limits
        self._certificates = certificates
        self._server: grpc.aio.Server | None = None
        self._room: Final = room or Room(limits.max_in_flight_bytes)
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large requests")

    @property
    def stuck_s(self) -> float:
        """Always 0: its calls are taken by the event loop that would be asked."""
        return 0.0

    @property
    def turned_away(self) -> int:
        """Always 0: it looks at every call."""
        return 0

    async def start(self, handler: Handler, address: str) -> None:
        """Listen; returns when bound."""
        server = grpc.aio.server(
            options=server_options(self._limits, WALL * self._limits.max_message_bytes, self._limits.max_connections)
        )
        self.mount(handler, server)
        add_port(server, address, self._certificates)
        await server.start()
        self._server = server

    def mount(self, handler: Handler, server: grpc.aio.Server) -> None:
        """Add the handler's methods to a server that is not started yet; it stays its maker's to stop."""
        services: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
        for path, arity in handler.methods.items():
            _, service, method = path.split("/")
            services.setdefault(service, {})[method] = self._method(handler, path, arity)
        for service, methods in services.items():
            server.add_registered_method_handlers(service, methods)

    async def stop(self, grace_s: float) -> None:
        """Send GOAWAY, let running calls finish for so long, then cancel them."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s)
        self._large.shutdown(wait=False, cancel_futures=True)

    def _method(self, handler: Handler, path: str, arity: Arity) -> grpc.RpcMethodHandler[bytes, bytes]:
        if arity is Arity.UNARY:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler, path))
        if arity is Arity.CONVERSATION:
            return grpc.stream_stream_rpc_method_handler(self._conversation(handler, path))
        return grpc.unary_stream_rpc_method_handler(self._stream(handler, path))

    def _unary(
        self, handler: Handler, path: str
    ) -> Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]:
        most = self._limits.max_message_bytes

        async def unary(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            loop = asyncio.get_running_loop()
            remaining = _remaining_s(context)
            limit = self._limits.default_deadline_s if remaining is None else self._limits.max_deadline_s
            allowed = limit if remaining is None else min(remaining, limit)
            call = _UnaryCall(path, request, _metadata(context), time.monotonic() + allowed, loop, self._room, most)
            context.add_done_callback(lambda _: call.let_go())  # type: ignore[arg-type]
            call.peer = partial(_names, context)
            call.address = context.peer
            parked = Parked(request)
            expiry = loop.call_later(allowed, call.expire, OVER) if remaining is None or remaining > limit else None
            try:
                check_size("a request", request, most)
                if len(request) > COUNTED:
                    call.hold(len(request))
                if len(request) > LARGE:
                    call.request = b""
                    await loop.run_in_executor(self._large, _take_large, handler, call, parked)
                else:
                    handler.handle(call)
                handler.settle()
                data, trailing = await call.answer()
            except InterlockError as error:
                await _abort(context, error)
                raise
            except asyncio.CancelledError:
                call.cancel()
                raise
            finally:
                if expiry is not None:
                    expiry.cancel()
                parked.take()
                call.end()
            if trailing:
                context.set_trailing_metadata(trailing)
            return data

        return unary

    def _stream(
        self, handler: Handler, path: str
    ) -> Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], AsyncIterator[bytes]]:
        async def stream(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
            loop = asyncio.get_running_loop()
            remaining = _remaining_s(context)  # a stream without a deadline may stay for ever
            deadline = float("inf") if remaining is None else time.monotonic() + remaining
            call = _StreamCall(path, request, _metadata(context), deadline, loop)
            call.peer = partial(_names, context)
            call.address = context.peer
            handler.handle(call)
            try:
                async for data in call.answers():
                    yield data
            except InterlockError as error:
                await _abort(context, error)
            finally:
                call.end()

        return stream

    def _conversation(
        self, handler: Handler, path: str
    ) -> Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext[bytes, bytes]], AsyncIterator[bytes]]:
        most = self._limits.max_message_bytes

        async def conversation(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> AsyncIterator[bytes]:
            loop = asyncio.get_running_loop()
            remaining = _remaining_s(context)
            deadline = float("inf") if remaining is None else time.monotonic() + remaining
            call = _ConversationCall(path, _metadata(context), deadline, loop, self._room)
            call.peer = partial(_names, context)
            call.address = context.peer
            handler.converse(call)
            reading = loop.create_task(call.read(requests, self._large, most, handler.settle))
            try:
                async for data in call.answers():
                    check_size("an answer", data, most)
                    yield data
                    call.answered()
            except InterlockError as error:
                await _abort(context, error)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                call.end()

        return conversation


def _take_large(handler: Handler, call: _UnaryCall, parked: Parked) -> None:
    request = parked.take()
    if request is not None:  # else the call is over
        call.request = request
        handler.handle(call)


def _remaining_s(context: grpc.aio.ServicerContext[bytes, bytes]) -> float | None:
    """Return the time until the caller's deadline; None where it named none (which grpc's type stubs deny)."""
    return context.time_remaining()


def _metadata(context: grpc.aio.ServicerContext[bytes, bytes]) -> Mapping[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _names(context: grpc.aio.ServicerContext[bytes, bytes]) -> tuple[str, ...]:
    return certificate_names(context.auth_context())


async def _abort(context: grpc.aio.ServicerContext[bytes, bytes], error: InterlockError) -> None:
    if isinstance(error, Cancelled):
        raise asyncio.CancelledError
    status = to_wire(error)
    await context.abort(status.code, status.message, status.trailing)
