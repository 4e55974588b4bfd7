"""The admin service's methods about signatures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, TypeVar

from interlock import convert, convert_signing
from interlock.errors import Aborted, DeadlineExceeded, InvalidArgument
from interlock.model import Version
from interlock.statement import SignedStatement
from interlock.types import ModelRef
from interlock.v1 import admin_pb2, admin_pb2_grpc
from interlock_registry.domain import Action

from interlock_server.control import registering
from interlock_server.control.mutations import Mutations
from interlock_server.control.registering import Registering
from interlock_server.control.signing import Signing
from interlock_server.rpc.attempting import Attempting
from interlock_server.rpc.errors import Context, streaming, unary

Part = TypeVar("Part")

HEADER_WITHIN_S: Final = 60.0
"""How long whoever has begun an upload may take to say what it is."""
SIGN_WITHIN_S: Final = 60.0
"""How long the sender of an upload may take to sign what was made of it."""


class SigningServicer(Attempting, admin_pb2_grpc.AdminServiceServicer):
    """What publishers ask that sign."""

    def __init__(self, mutations: Mutations, registering: Registering, signing: Signing) -> None:
        super().__init__(mutations)
        self._registering = registering
        self._signing = signing

    @streaming
    async def RegisterSigned(
        self,
        request: AsyncIterator[admin_pb2.RegisterSignedRequest],
        context: Context[AsyncIterator[admin_pb2.RegisterSignedRequest], admin_pb2.RegisterSignedResponse],
    ) -> AsyncIterator[admin_pb2.RegisterSignedResponse]:
        """Receive an upload, have its sender sign what was made of it, and make it a version."""
        parts = aiter(request)
        first = await first_of(parts, admin_pb2.RegisterSignedRequest())
        header = convert.from_header(first.header.upload)
        attempt = await self._permitted(context, Action.REGISTER, first.header, header.model, header.options)
        if first.WhichOneof("part") != "header":
            async with self._mutations.refusing(attempt):
                raise InvalidArgument("the first message of an upload must be its header")
        asking = _Asking()
        sender = registering.Signing(first.header.key, asking.ask)
        task = asyncio.create_task(self._registering.register(attempt, header, _chunks(parts), sender))
        try:
            await asyncio.wait((task, asking.statement), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                yield admin_pb2.RegisterSignedResponse(statement=asking.statement.result())
                await asking.answered(parts, task)
            version = await task
            yield admin_pb2.RegisterSignedResponse(version=convert.version(version))
        finally:
            asking.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @unary
    async def GetStatement(
        self,
        request: admin_pb2.GetStatementRequest,
        context: Context[admin_pb2.GetStatementRequest, admin_pb2.GetStatementResponse],
    ) -> admin_pb2.GetStatementResponse:
        """Tell what there is to sign of a version, and what was signed."""
        found = await self._signing.stated(ModelRef.parse(request.ref))
        return admin_pb2.GetStatementResponse(
            version=convert.version(found.version),
            statement=found.statement.to_bytes(),
            signed=map(convert_signing.signed, found.signed),
        )

    @unary
    async def SignVersion(
        self,
        request: admin_pb2.SignVersionRequest,
        context: Context[admin_pb2.SignVersionRequest, admin_pb2.SignVersionResponse],
    ) -> admin_pb2.SignVersionResponse:
        """Add a signature to a version."""
        options = convert.from_options(request.options)
        attempt = await self._permitted(context, Action.SIGN, request, request.model, options, version=request.version)
        signed = SignedStatement(request.key, request.statement, request.value)
        return admin_pb2.SignVersionResponse(version=convert.version(await self._signing.sign(attempt, signed)))


class _Asking:
    """One question to the sender of an upload, and his answer."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.statement: asyncio.Future[bytes] = loop.create_future()
        self._value: asyncio.Future[bytes] = loop.create_future()

    async def ask(self, statement: bytes) -> bytes:
        if not self.statement.done():
            self.statement.set_result(statement)
        # Shielded: giving up is close()'s, which says why.
        done, _ = await asyncio.wait((self._value,), timeout=SIGN_WITHIN_S)
        if not done:
            raise Aborted(
                f"no signature came within {SIGN_WITHIN_S:g} s, and nothing was registered; register it again"
            )
        if self._value.cancelled():
            raise Aborted("the sender went away before it signed, and nothing was registered; register it again")
        return self._value.result()

    async def answered(
        self, parts: AsyncIterator[admin_pb2.RegisterSignedRequest], asks: asyncio.Task[Version]
    ) -> None:
        """Wait for what the sender answers, or until nobody asks any more."""
        answer = asyncio.create_task(_next(parts))
        try:
            await asyncio.wait((answer, asks), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                self._take(answer.result())
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)

    def _take(self, message: admin_pb2.RegisterSignedRequest) -> None:
        if message.WhichOneof("part") == "value" and not self._value.done():
            self._value.set_result(message.value)

    def close(self) -> None:
        self.statement.cancel()
        self._value.cancel()


async def first_of(parts: AsyncIterator[Part], nothing: Part) -> Part:
    """Return the first message of an upload; raises DeadlineExceeded where its sender does not begin."""
    try:
        async with asyncio.timeout(HEADER_WITHIN_S):
            return await anext(parts, nothing)
    except TimeoutError as error:
        raise DeadlineExceeded(f"nothing of the upload came within {HEADER_WITHIN_S:g} s; send it again") from error


async def _next(parts: AsyncIterator[admin_pb2.RegisterSignedRequest]) -> admin_pb2.RegisterSignedRequest:
    return await anext(parts, admin_pb2.RegisterSignedRequest())


async def _chunks(parts: AsyncIterator[admin_pb2.RegisterSignedRequest]) -> AsyncIterator[bytes]:
    async for message in parts:
        match message.WhichOneof("part"):
            case "chunk":
                yield message.chunk
            case "complete":
                return
            case other:
                raise InvalidArgument(f"{other or 'nothing'} was sent where a chunk of the upload was due")
