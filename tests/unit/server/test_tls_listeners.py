"""TLS on every kind of listener: both fronts, grpc.aio's own server, and HTTP; renewed without a restart."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from interlock_server.certificates import CertificateFiles, Certificates
from interlock_server.control.http import HttpServer
from interlock_server.front.aio import AioFront
from interlock_server.front.core import CoreFront
from interlock_server.process.ports import listen
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.authority import Authority, Pair, replace
from tests.unit.server.test_fronts import UNARY, Limits, Scripted, echo

Ask = Callable[[Authority, Pair | None], Awaitable[bytes]]
"""Opens a connection, trusting an authority and showing a certificate, and returns the certificate that it was shown;
raises ConnectionError where there is no connection."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def shown(port: int, protocol: str, authority: Authority, own: Pair | None) -> bytes:
    context = ssl.create_default_context(cafile=str(authority.path))
    context.set_alpn_protocols([protocol])
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except (OSError, ssl.SSLError) as error:
        raise ConnectionError(str(error)) from error
    try:
        found: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = found.getpeercert(binary_form=True)
        if protocol == "http/1.1":
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            if b"here" not in answer:
                raise ConnectionError("it was ended")
    except (OSError, ssl.SSLError) as error:  # TLS 1.3: a refusal of the caller's certificate comes after the handshake
        raise ConnectionError(str(error)) from error
    finally:
        writer.transport.abort()
    assert certificate is not None
    return certificate


@asynccontextmanager
async def gRPC(kind: type[AioFront] | type[CoreFront], certificates: Certificates) -> AsyncIterator[Ask]:
    port = free_port()
    front = kind(Limits(), certificates)
    await front.start(Scripted(echo), f"127.0.0.1:{port}")

    async def ask(authority: Authority, own: Pair | None) -> bytes:
        credentials = grpc.ssl_channel_credentials(
            authority.path.read_bytes(),
            own.key.read_bytes() if own else None,
            own.cert.read_bytes() if own else None,
        )
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
            try:
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(UNARY)
                assert await call(b"hello", timeout=60) == b"hello"
            except grpc.aio.AioRpcError as error:
                raise ConnectionError(error.details()) from error
        return await shown(port, "h2", authority, own)

    try:
        yield ask
    finally:
        await front.stop(0)


@asynccontextmanager
async def http(certificates: Certificates) -> AsyncIterator[Ask]:
    port = free_port()
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])
    server = HttpServer(app, 0, certificates)
    task = asyncio.create_task(server.serve_on(listen("127.0.0.1", port)))
    try:
        yield lambda authority, own: shown(port, "http/1.1", authority, own)
    finally:
        server.should_exit = True
        await task


LISTENERS: dict[str, Callable[[Certificates], AbstractAsyncContextManager[Ask]]] = {
    "aio": lambda certificates: gRPC(AioFront, certificates),
    "core": lambda certificates: gRPC(CoreFront, certificates),
    "http": http,
}


@pytest.fixture(params=LISTENERS)
def listening(request: pytest.FixtureRequest) -> Callable[[Certificates], AbstractAsyncContextManager[Ask]]:
    return LISTENERS[request.param]


Listening = Callable[[Certificates], AbstractAsyncContextManager[Ask]]


async def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path, listening: Listening) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair = authority.server()
    certificates = Certificates(CertificateFiles(pair.cert, pair.key))
    async with listening(certificates) as ask:
        first = await ask(authority, None)
        with pytest.raises(ConnectionError):
            await ask(other, None)
        authority.server()
        assert await ask(authority, None) == first, "nobody has looked at the files yet"
        assert certificates.refresh()
        second = await ask(authority, None)
        assert second != first
        replace(pair.key, b"broken")
        assert not certificates.refresh()
        assert await ask(authority, None) == second


async def test_callers_must_show_a_certificate_of_the_authority_in_use(tmp_path: Path, listening: Listening) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair, caller, stranger = authority.server(), authority.issue("a@b"), other.issue("a@b")
    trusted = tmp_path / "trusted.pem"
    replace(trusted, authority.path.read_bytes())
    certificates = Certificates(CertificateFiles(pair.cert, pair.key, trusted))
    async with listening(certificates) as ask:
        await ask(authority, caller)
        for refused in (None, stranger):
            with pytest.raises(ConnectionError):
                await ask(authority, refused)
        replace(trusted, other.path.read_bytes())
        assert certificates.refresh()
        await ask(authority, stranger)
        for refused in (None, caller):
            with pytest.raises(ConnectionError):
                await ask(authority, refused)
