from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import grpc
import grpc.aio
import pytest
from interlock.errors import InterlockError, InvalidInput, ModelNotFound, QueueFull
from interlock.status import from_wire
from interlock_server.front.aio import AioFront
from interlock_server.front.core import CoreFront
from interlock_server.front.limits import MAX_STREAM_BACKLOG
from interlock_server.front.native import NativeFront
from interlock_server.front.seam import MAX_UNANSWERED, Arity, Call, Conversation, Front

from tests.support import eventually_async

UNARY, STREAM = "/test.Service/Unary", "/test.Service/Stream"
CONVERSATION = "/test.Service/Conversation"


@dataclass(frozen=True)
class Limits:
    max_message_bytes: int = 1 << 20
    max_in_flight_bytes: int = 1 << 30
    max_connections: int = 1000
    max_streams: int = 256
    default_deadline_s: float = 30.0
    max_deadline_s: float = 300.0
    keepalive_time_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    min_ping_interval_s: float = 10.0


class Scripted:
    """A handler that does with each call what the test says, and keeps the calls."""

    def __init__(self, act: Callable[[Call], None]) -> None:
        self.calls: list[Call] = []
        self.settled = 0
        self._act = act

    @property
    def methods(self) -> Mapping[str, Arity]:
        return {UNARY: Arity.UNARY, STREAM: Arity.STREAM, CONVERSATION: Arity.CONVERSATION}

    def handle(self, call: Call) -> None:
        self.calls.append(call)
        self._act(call)

    def converse(self, call: Conversation) -> None:
        self.handle(call)

    def settle(self) -> None:
        self.settled += 1


@dataclass
class Line:
    """A front with a client at the other end."""

    handler: Scripted
    channel: grpc.aio.Channel
    front: Front
    address: str

    def unary(self, data: bytes = b"", **more: object) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        return self.channel.unary_unary(UNARY)(data, **more)  # type: ignore[arg-type]

    def stream(self, data: bytes = b"", **more: object) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        return self.channel.unary_stream(STREAM)(data, **more)  # type: ignore[arg-type]

    def conversation(self, **more: object) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        return self.channel.stream_stream(CONVERSATION)(**more)  # type: ignore[arg-type]


class Lines(Protocol):
    """Starts a front with a handler that does as told, and a client."""

    def __call__(
        self, act: Callable[[Call], None], limits: Limits | None = None
    ) -> AbstractAsyncContextManager[Line]: ...


def native(limits: Limits) -> Front:
    return NativeFront(limits, CoreFront(limits))


@pytest.fixture(params=[AioFront, CoreFront, native], ids=["aio", "core", "native"])
def line(request: pytest.FixtureRequest) -> Lines:
    return partial(run, request.param)


@asynccontextmanager
async def run(
    kind: Callable[[Limits], Front], act: Callable[[Call], None], limits: Limits | None = None
) -> AsyncIterator[Line]:
    front = kind(limits or Limits())
    handler = Scripted(act)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        await front.start(handler, address)
    # Without gRPC's probe of the line the caller's window stays at 64 KiB, whatever the machine's hour.
    options = [("grpc.enable_retries", 0), ("grpc.http2.bdp_probe", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        try:
            yield Line(handler, channel, front, address)
        finally:
            await front.stop(0)


def echo(call: Call) -> None:
    call.done(call.request, (("interlock-alias", "stable"), ("interlock-generation", "3")))


def silent(call: Call) -> None:
    """Answer nothing."""


async def test_a_call_carries_its_method_bytes_and_metadata_and_its_answer_the_trailing(line: Lines) -> None:
    async with line(echo) as there:
        call = there.unary(b"hello", metadata=(("x-request-id", "7"), ("blob-bin", b"\x00")))
        assert await call == b"hello"
        trailing = {key: value for key, value in await call.trailing_metadata()}
        assert trailing["interlock-alias"] == "stable" and trailing["interlock-generation"] == "3"
        (seen,) = there.handler.calls
        assert (seen.method, seen.request, seen.metadata["x-request-id"]) == (UNARY, b"hello", "7")
        assert "blob-bin" not in seen.metadata


async def test_an_answer_may_come_from_any_thread(line: Lines) -> None:
    def elsewhere(call: Call) -> None:
        threading.Thread(target=echo, args=(call,)).start()

    async with line(elsewhere) as there:
        assert await asyncio.gather(*(there.unary(bytes([n])) for n in range(50))) == [bytes([n]) for n in range(50)]


async def test_only_the_first_end_of_a_call_counts(line: Lines) -> None:
    def twice(call: Call) -> None:
        call.done(b"first")
        call.fail(ModelNotFound("m"))
        call.done(b"third")

    async with line(twice) as there:
        assert await there.unary() == b"first"


ERRORS: list[InterlockError] = [
    ModelNotFound("m"),
    QueueFull("m", 1, 10, retry_after_s=0.25),
    InvalidInput("the input '" + "語" * 5000 + "' does not exist"),
    ModelNotFound("語" * 5000),
]


@pytest.mark.parametrize("error", ERRORS, ids=["not-found", "queue-full", "long-message", "long-name"])
@pytest.mark.parametrize("arity", [Arity.UNARY, Arity.STREAM])
async def test_an_error_comes_through_whole(line: Lines, error: InterlockError, arity: Arity) -> None:
    async with line(lambda call: call.fail(error)) as there:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            if arity is Arity.UNARY:
                await there.unary()
            else:
                async for _ in there.stream():
                    raise AssertionError("nothing was sent")
    trailing = [(key, value) for key, value in caught.value.trailing_metadata()]
    rebuilt = from_wire(caught.value.code(), caught.value.details() or "", trailing)
    assert type(rebuilt) is type(error)
    assert rebuilt.retry_after_s == error.retry_after_s


async def test_a_handler_that_breaks_its_promise_ends_only_its_own_call(line: Lines) -> None:
    def broken(call: Call) -> None:
        if call.request == b"bad":
            raise ValueError("secret")
        echo(call)

    async with line(broken) as there:
        with pytest.raises(grpc.aio.AioRpcError):
            await there.unary(b"bad")
        assert await there.unary(b"good") == b"good"


async def test_a_method_that_is_not_served_is_unimplemented_in_grpc_s_own_words(line: Lines) -> None:
    async with line(echo) as there:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            nothing: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = there.channel.unary_unary("/test.Service/Nothing")
            await nothing(b"")
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        assert there.handler.calls == []


# --- deadlines ---


@pytest.mark.parametrize(
    ("timeout", "low", "high"),
    [(None, 20.0, 30.1), (15.0, 1.0, 15.5), (100.0, 40.0, 50.1)],  # gRPC rounds a caller's deadline up
    ids=["none: the default", "its own", "too long: cut"],
)
async def test_a_call_has_a_deadline_whatever_its_caller_named(
    line: Lines, timeout: float | None, low: float, high: float
) -> None:
    async with line(echo, Limits(max_deadline_s=50.0)) as there:
        await there.unary(timeout=timeout)
        (seen,) = there.handler.calls
        assert low < seen.deadline - seen.received <= high


@pytest.mark.parametrize(
    ("timeout", "limits"),
    [(None, Limits(default_deadline_s=0.05)), (60.0, Limits(max_deadline_s=0.05))],
    ids=["default", "cap"],
)
async def test_the_server_s_own_deadline_ends_a_call_that_nobody_answers(
    line: Lines, timeout: float | None, limits: Limits
) -> None:
    async with line(silent, limits) as there:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await there.unary(timeout=timeout)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "max_deadline_s" in (caught.value.details() or "")
        await eventually_async(lambda: there.handler.calls[0].cancelled, "whoever works for it is told")


# --- cancellation ---


@pytest.mark.parametrize("how", ["cancel", "deadline", "disconnect"])
async def test_a_caller_that_leaves_is_told_to_whoever_works_for_it(line: Lines, how: str) -> None:
    told = threading.Event()
    async with line(lambda call: call.on_cancel(told.set)) as there:
        call = there.unary(timeout=0.2 if how == "deadline" else 60.0)
        for longer in (1.0, 5.0, 20.0):
            await eventually_async(lambda call=call: bool(there.handler.calls) or call.done(), "it arrived or ended")  # type: ignore[misc]
            if there.handler.calls:
                break
            call = there.unary(timeout=longer)  # the machine stood still for as long as the call could take
        if how == "cancel":
            call.cancel()
        elif how == "disconnect":
            await there.channel.close()
        await eventually_async(told.is_set, "the handler was told")
        assert there.handler.calls[0].cancelled
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call


async def test_who_comes_late_to_listen_for_the_leaving_is_told_at_once(line: Lines) -> None:
    async with line(silent) as there:
        call = there.unary()
        await eventually_async(lambda: bool(there.handler.calls), "the call arrived")
        call.cancel()
        (seen,) = there.handler.calls
        await eventually_async(lambda: seen.cancelled, "it is gone")
        told = threading.Event()
        seen.on_cancel(told.set)
        assert told.is_set()
        with pytest.raises(asyncio.CancelledError):
            await call


# --- streams ---


async def test_a_stream_gives_its_messages_in_order_and_ends(line: Lines) -> None:
    def count(call: Call) -> None:
        for number in range(5):
            call.message(bytes([number]))
        call.done()

    async with line(count) as there:
        assert [data async for data in there.stream()] == [bytes([n]) for n in range(5)]


async def test_a_stream_that_fails_gives_what_was_sent_and_then_the_error(line: Lines) -> None:
    def fail(call: Call) -> None:
        call.message(b"one")
        call.fail(ModelNotFound("m"))

    async with line(fail) as there:
        seen: list[bytes] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for data in there.stream():
                seen.append(data)
        assert seen == [b"one"]
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_reader_that_does_not_read_costs_a_bounded_backlog_and_gets_the_newest(line: Lines) -> None:
    async with line(silent) as there:
        call = there.stream()
        await eventually_async(lambda: bool(there.handler.calls), "the call arrived")
        (sender,) = there.handler.calls
        big = bytes(64 * 1024)
        for number in range(2000):
            sender.message(number.to_bytes(4, "big") + big)
        sender.done()
        seen = [int.from_bytes(data[:4], "big") async for data in call]
        assert seen == sorted(seen)
        assert seen[-1] == 1999
        # `native` keeps a backlog at each of its two ends; the rest is what the transport takes in.
        assert len(seen) < 3 * MAX_STREAM_BACKLOG


async def test_a_stream_without_a_deadline_may_stay(line: Lines) -> None:
    async with line(silent, Limits(default_deadline_s=0.01)) as there:
        call = there.stream()
        await eventually_async(lambda: bool(there.handler.calls), "the call arrived")
        assert there.handler.calls[0].deadline == float("inf")
        call.cancel()
        await eventually_async(lambda: there.handler.calls[0].cancelled, "its end is noted")


# --- limits and the end ---


async def test_a_message_over_the_limit_is_refused_and_the_next_is_served(line: Lines) -> None:
    async with line(echo, Limits(max_message_bytes=1000)) as there:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await there.unary(bytes(2000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert there.handler.calls == []
        assert await there.unary(b"small") == b"small"


async def test_stopping_lets_running_calls_finish(line: Lines) -> None:
    async with line(silent) as there:
        call = asyncio.ensure_future(there.unary())
        await eventually_async(lambda: bool(there.handler.calls), "the call arrived")
        stopping = asyncio.create_task(there.front.stop(30.0))
        await asyncio.sleep(0)
        there.handler.calls[0].done(b"late")
        assert await call == b"late"
        await stopping
        await there.front.stop(30.0)


async def test_stopping_cancels_what_outlasts_the_grace(line: Lines) -> None:
    async with line(silent) as there:
        call = there.unary()
        await eventually_async(lambda: bool(there.handler.calls), "the call arrived")
        started = time.monotonic()
        await there.front.stop(0.05)
        assert time.monotonic() - started < 25, "the call itself would end after 30"
        await eventually_async(lambda: there.handler.calls[0].cancelled, "the handler was told")
        with pytest.raises(grpc.aio.AioRpcError):
            await call


@pytest.mark.parametrize("kind", [AioFront, CoreFront])
async def test_an_address_that_cannot_be_bound_is_an_os_error(kind: Callable[[Limits], Front]) -> None:
    with pytest.raises((OSError, RuntimeError)):
        await kind(Limits()).start(Scripted(silent), "192.0.2.1:1")


# --- conversations ---


def talk(call: Call) -> None:
    """Answer each message with itself, and end when the caller does."""
    assert isinstance(call, Conversation)
    call.listen(call.message, call.done)


async def test_a_conversation_answers_each_message_and_ends_with_its_caller(line: Lines) -> None:
    async with line(talk) as there:
        call = there.conversation()
        for number in range(300):
            await call.write(bytes([number % 256]))
            assert await call.read() == bytes([number % 256])
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_caller_that_only_writes_is_read_no_further_than_the_window(line: Lines) -> None:
    heard: list[bytes] = []

    def hoard(call: Call) -> None:
        if isinstance(call, Conversation):
            call.listen(heard.append, call.done)
        else:
            call.done()

    async with line(hoard) as there:
        call = there.conversation()
        for number in range(2 * MAX_UNANSWERED):
            await call.write(bytes([number]))
        await eventually_async(lambda: len(heard) == MAX_UNANSWERED, "the window is full")
        await there.unary()  # it takes the same way, so what could have been read has been
        assert len(heard) == MAX_UNANSWERED
        (conversation, _) = there.handler.calls
        conversation.message(b"answer")
        assert await call.read() == b"answer"
        await eventually_async(lambda: len(heard) == MAX_UNANSWERED + 1, "an answer makes room for one more")
        call.cancel()
        await eventually_async(lambda: conversation.cancelled, "its end is noted")


async def test_a_conversation_that_fails_gives_what_was_sent_and_then_the_error(line: Lines) -> None:
    def fail(call: Call) -> None:
        assert isinstance(call, Conversation)

        def refuse(data: bytes) -> None:
            call.message(b"one")
            call.fail(ModelNotFound("m"))

        call.listen(refuse, call.done)

    async with line(fail) as there:
        call = there.conversation()
        await call.write(b"?")
        assert await call.read() == b"one"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


# --- sizes and alarms ---


@pytest.mark.parametrize("arity", [Arity.UNARY, Arity.CONVERSATION])
@pytest.mark.parametrize("way", ["request", "answer"])
async def test_a_message_over_the_limit_is_refused_with_the_setting_that_raises_it(
    line: Lines, arity: Arity, way: str
) -> None:
    limits = Limits()
    big = bytes(limits.max_message_bytes + 1)

    def act(call: Call) -> None:
        if isinstance(call, Conversation):
            call.listen(lambda data: call.message(big), call.done)
        else:
            call.done(big)

    async with line(act, limits) as there:
        data = big if way == "request" else b"?"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            if arity is Arity.UNARY:
                await there.unary(data)
            else:
                call = there.conversation()
                await call.write(data)
                await call.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = caught.value.details() or ""
        assert f"an {way}" in details or f"a {way}" in details
        assert "max_message_bytes" in details and str(len(big)) in details


async def test_an_alarm_rings_once_unless_its_call_has_ended(line: Lines) -> None:
    rung: list[str] = []
    ended = threading.Event()

    def act(call: Call) -> None:
        def ring() -> None:
            rung.append("in time")
            call.done(b"rung")

        if call.request == b"ends":
            call.alarm(time.monotonic() + 0.05, lambda: rung.append("after its call") if ended.is_set() else None)
            call.done()
            ended.set()
        else:
            call.alarm(time.monotonic() + 0.1, ring)

    async with line(act) as there:
        assert await there.unary(b"ends") == b""
        assert await there.unary(b"waits") == b"rung"
        assert rung == ["in time"]


async def test_a_call_can_be_given_less_time_than_its_caller_did(line: Lines) -> None:
    async with line(lambda call: call.shorten(time.monotonic() + 0.05)) as there:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await there.unary(timeout=60.0)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "`timeout`" in (caught.value.details() or "")
        await eventually_async(lambda: there.handler.calls[0].cancelled, "whoever works for it is told")
