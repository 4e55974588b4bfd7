"""Runs flows over a channel: once with threads, once with asyncio. The only place where the client does network I/O."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Generic, TypeVar, cast

import grpc
from grpc import aio
from interlock.errors import Cancelled, FailedPrecondition, InterlockError
from interlock.v1 import admin_pb2, admin_pb2_grpc

from interlock_client._channel import Dial, translate
from interlock_client._download import Pulled, Receiver
from interlock_client._flow import Answer, Call, Flow
from interlock_client._signing import SignedSender
from interlock_client._upload import Sender

T = TypeVar("T")
C = TypeVar("C")
"""A channel, blocking or not."""
M = TypeVar("M")
"""What a channel makes calls of a method with."""

Headers = Callable[[], Sequence[tuple[str, str]]]
"""Makes the metadata of one call."""


def _text(trailing: Iterable[tuple[str, str | bytes]] | None) -> Mapping[str, str]:
    return {key: value for key, value in trailing or () if isinstance(value, str)}


class _Line(Generic[C, M]):
    """One channel, and its callables, each made when its method is first called."""

    __slots__ = ("_make", "_methods", "_service", "channel")

    def __init__(self, channel: C, service: str, make: Callable[[C, str], M]) -> None:
        self.channel: Final = channel
        self._service: Final = service
        self._make: Final = make
        self._methods: Final[dict[str, M]] = {}

    def method(self, name: str) -> M:
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self._make(self.channel, f"/{self._service}/{name}")
        return found


def _blocking(channel: grpc.Channel, path: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(path)


def _asyncio(channel: aio.Channel, path: str) -> aio.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(path)


class _Guide:
    """What both connections know: the address, the deadline of a flow, and how its errors read."""

    def __init__(self, dial: Dial, headers: Headers) -> None:
        self._dial: Final = dial
        self._headers: Final = headers
        self._who: Final = dial.metadata
        self._closed = False

    @property
    def target(self) -> str:
        """The address in use."""
        return self._dial.target

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (*self._who, *self._headers())

    def _check_open(self) -> None:
        if self._closed:
            raise FailedPrecondition(f"this client of {self.target} is closed; make a new one")

    def _translate(self, error: grpc.RpcError, method: str, timeout_s: float) -> InterlockError:
        return translate(error, dial=self._dial, method=method, timeout_s=timeout_s, closed=self._closed)


class SyncConnection(_Guide):
    """Blocking channels, which take calls in turn; any number of threads may use them at once."""

    def __init__(self, dial: Dial, service: str, headers: Headers) -> None:
        super().__init__(dial, headers)
        self._channels: Final = [dial.channel() for _ in range(dial.connections)]
        self._lines: Final = itertools.cycle([_Line(channel, service, _blocking) for channel in self._channels])

    def run(self, flow: Flow[T], timeout_s: float) -> T:
        """Run a flow to its end; `timeout_s` covers all of its calls together."""
        self._check_open()
        deadline = time.monotonic() + timeout_s
        try:
            call = next(flow)
            while True:
                try:
                    answer = self._call(call, deadline, timeout_s)
                except InterlockError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(answer)
        except StopIteration as done:
            return cast(T, done.value)

    def _call(self, call: Call, deadline: float, timeout_s: float) -> Answer:
        try:
            data, done = (
                next(self._lines)
                .method(call.method)
                .with_call(call.request, timeout=max(0.0, deadline - time.monotonic()), metadata=self._metadata())
            )
        except grpc.RpcError as error:
            raise self._translate(error, call.method, timeout_s) from error
        except ValueError:
            self._check_open()  # another thread closed it meanwhile: grpc's word for that is a ValueError
            raise
        return Answer(data, _text(done.trailing_metadata()))

    def upload(self, sender: Sender, timeout_s: float) -> admin_pb2.RegisterVersionResponse:
        """Stream an upload and return the answer."""
        self._check_open()
        stub = admin_pb2_grpc.AdminServiceStub(next(self._lines).channel)
        try:
            reply = stub.RegisterVersion(iter(sender), timeout=timeout_s, metadata=self._metadata())
        except grpc.RpcError as error:
            sender.check()
            raise self._translate(error, "RegisterVersion", timeout_s) from error
        sender.check()
        return reply

    def upload_signed(self, sender: SignedSender, timeout_s: float) -> admin_pb2.RegisterSignedResponse:
        """Stream an upload, sign what the server has made of it, and return the answer."""
        self._check_open()
        stub = admin_pb2_grpc.AdminServiceStub(next(self._lines).channel)
        call = stub.RegisterSigned(iter(sender), timeout=timeout_s, metadata=self._metadata())
        reply = admin_pb2.RegisterSignedResponse()
        try:
            for reply in call:
                if reply.WhichOneof("part") == "statement":
                    sender.sign(reply.statement)
        except grpc.RpcError as error:
            sender.check()
            raise self._translate(error, "RegisterSigned", timeout_s) from error
        finally:
            sender.close()
            call.cancel()  # where it was left before its end
        sender.check()
        return reply

    def download(self, receiver: Receiver, timeout_s: float) -> Pulled:
        """Have a download written and return what it was."""
        self._check_open()
        stub = admin_pb2_grpc.AdminServiceStub(next(self._lines).channel)
        call = stub.DownloadVersion(receiver.request, timeout=timeout_s, metadata=self._metadata())
        try:
            with receiver:
                return receiver.take(call)
        except grpc.RpcError as error:
            raise self._translate(error, "DownloadVersion", timeout_s) from error
        finally:
            call.cancel()  # where it was left before its end

    def close(self) -> None:
        """Close the channel; calls in flight are cancelled. May be called again."""
        self._closed = True
        for channel in self._channels:
            channel.close()


class AsyncConnection(_Guide):
    """Asyncio channels, which take calls in turn; opened by the first and bound to the event loop that made it."""

    def __init__(self, dial: Dial, service: str, headers: Headers) -> None:
        super().__init__(dial, headers)
        self._service: Final = service
        self._channels: Final[list[aio.Channel]] = []
        self._lines: Iterator[_Line[aio.Channel, aio.UnaryUnaryMultiCallable[bytes, bytes]]] = iter(())
        self._helpers: Final[set[SyncConnection]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def _open(self) -> None:
        self._check_open()
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise FailedPrecondition(
                f"this client of {self.target} belongs to the event loop that made its first call; make one for each "
                "loop, as each asyncio.run() has its own"
            )
        if not self._channels:
            self._channels.extend(self._channel() for _ in range(self._dial.connections))
            self._lines = itertools.cycle([_Line(channel, self._service, _asyncio) for channel in self._channels])

    def _channel(self) -> aio.Channel:
        dial = self._dial
        if dial.credentials is None:
            return aio.insecure_channel(dial.target, options=dial.options)
        return aio.secure_channel(dial.target, dial.credentials, options=dial.options)

    async def run(self, flow: Flow[T], timeout_s: float) -> T:
        """Run a flow to its end; `timeout_s` covers all of its calls together."""
        self._open()
        deadline = time.monotonic() + timeout_s
        try:
            call = next(flow)
            while True:
                try:
                    answer = await self._call(call, deadline, timeout_s)
                except InterlockError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(answer)
        except StopIteration as done:
            return cast(T, done.value)

    async def _call(self, call: Call, deadline: float, timeout_s: float) -> Answer:
        method = next(self._lines).method(call.method)
        try:
            running = method(call.request, timeout=max(0.0, deadline - time.monotonic()), metadata=self._metadata())
            data = await running
            trailing = await running.trailing_metadata()
        except grpc.RpcError as error:
            raise self._translate(error, call.method, timeout_s) from error
        except aio.UsageError:
            self._check_open()
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            # Closing the channel did this, and a task that nobody cancelled must not end as if somebody had.
            raise Cancelled(
                f"{call.method} on {self.target} was cancelled: the client was closed", facts={"address": self.target}
            ) from None
        return Answer(data, _text(trailing))

    async def upload(self, sender: Sender, timeout_s: float) -> admin_pb2.RegisterVersionResponse:
        """Stream an upload in a thread, over a connection of its own, and return the answer.

        grpc.aio reports a server that refuses before the last chunk as an internal error and loses what it said; the
        blocking API does not.
        """
        self._check_open()
        with self._own_line() as line:
            return await asyncio.to_thread(line.upload, sender, timeout_s)

    async def upload_signed(self, sender: SignedSender, timeout_s: float) -> admin_pb2.RegisterSignedResponse:
        """Stream and sign an upload in a thread, over a connection of its own, and return the answer."""
        self._check_open()
        with self._own_line() as line:
            return await asyncio.to_thread(line.upload_signed, sender, timeout_s)

    async def download(self, receiver: Receiver, timeout_s: float) -> Pulled:
        """Have a download written by a thread, over a connection of its own, since writing files blocks."""
        self._check_open()
        with self._own_line() as line:
            return await asyncio.to_thread(line.download, receiver, timeout_s)

    @contextmanager
    def _own_line(self) -> Iterator[SyncConnection]:
        line = SyncConnection(self._dial, self._service, self._headers)
        self._helpers.add(line)
        try:
            yield line
        finally:
            self._helpers.discard(line)
            line.close()  # when the task is cancelled, this ends the call and so the thread

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled. May be called again."""
        self._closed = True
        for line in self._helpers:
            line.close()
        for channel in self._channels:
            await channel.close()
