from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import pytest
from interlock_server.control.forwarding import Forwarding
from interlock_server.control.http import HttpServer, app
from interlock_server.process.ports import ReservedPort, listen
from interlock_server.rest.app import Rest
from interlock_server.rest.body import Limits
from interlock_server.rest.hosts import OwnHosts
from interlock_server.rpc.inference_link import InferenceLink
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.server import ServerState

from tests.support import eventually_async
from tests.unit.server.rig import Rig


@pytest.fixture
async def application(rig: Rig) -> AsyncIterator[Starlette]:
    links = [InferenceLink("worker-0", "/nobody/listens/here")]
    forwarding = Forwarding(links, rig.workers, timeout_s=5.0)
    limits = Limits(max_body_bytes=100, max_json_bytes=100, max_requests=1, max_bytes=100, read_timeout_s=5.0)
    rest = Rest(forwarding, lambda: rig.standing.ready, limits)
    yield app(rig.standing, rig.workers, rig.metrics, rest)
    rest.close()
    await forwarding.close()


@pytest.fixture
def client(application: Starlette) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application)
    return httpx.AsyncClient(transport=transport, base_url="http://here")


async def test_a_live_process_says_so_whether_ready_or_not(rig: Rig, client: httpx.AsyncClient) -> None:
    rig.standing.stopping = True
    assert (await client.get("/healthz")).json() == {"live": True}


async def test_readiness_is_a_status_code_with_reasons(rig: Rig, client: httpx.AsyncClient) -> None:
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "degraded": []})
    rig.standing.stopping = True
    stopping = await client.get("/readyz")
    assert (stopping.status_code, stopping.json()["ready"]) == (503, False)


async def test_metrics_are_prometheus_text_of_control_and_workers(rig: Rig, client: httpx.AsyncClient) -> None:
    await rig.promote(await rig.add())
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "interlock_registry_epoch 2.0" in answer.text
    assert 'interlock_queue_limit{model="m",version="1"} 1024.0' in answer.text


async def test_other_paths_are_not_there(client: httpx.AsyncClient) -> None:
    missing = await client.get("/etc")
    assert (missing.status_code, missing.json()["reason"]) == (404, "NOT_FOUND")
    refused = await client.post("/metrics")
    assert (refused.status_code, refused.json()["error"]) == (405, "/metrics is not asked with POST")


async def test_the_protocol_s_readiness_is_the_replica_s(rig: Rig, client: httpx.AsyncClient) -> None:
    ready = await client.get("/v2/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
    rig.standing.stopping = True
    stopping = await client.get("/v2/health/ready")
    assert (stopping.status_code, stopping.json()) == (503, {"ready": False})


async def test_a_worker_that_does_not_answer_is_unavailable(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v2/models/m")
    assert (answer.status_code, answer.json()["reason"]) == (503, "WORKER_UNAVAILABLE")
    assert "worker-0" in answer.json()["error"]


def test_a_body_does_not_wait_until_its_headers_are_acknowledged() -> None:
    held = ReservedPort.reserve("127.0.0.1", 0, flag="--http-port")
    with listen("127.0.0.1", held.port) as listener, socket.create_connection(("127.0.0.1", held.port)):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    held.close()


async def test_the_server_answers_on_a_reserved_port_and_stops_when_told(application: Starlette) -> None:
    held = ReservedPort.reserve("127.0.0.1", 0, flag="--http-port")
    server = HttpServer(application, grace_s=5.0)
    serving = asyncio.create_task(server.serve_on(listen("127.0.0.1", held.port)))
    try:
        await eventually_async(lambda: server.started, "it has started")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{held.address}/healthz")).status_code == 200
    finally:
        server.should_exit = True
        await serving
        held.close()


@pytest.mark.parametrize(
    ("asked", "says", "why"),
    [
        (b"", b"", "it asks for nothing"),
        (b"GET /healthz HTTP/1.1\r\nx: ", b"", "its head never ends"),
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n", b"HTTP/1.1 200 OK", "its body never ends"),
    ],
)
async def test_who_keeps_a_connection_without_asking_for_anything_loses_it(asked: bytes, says: bytes, why: str) -> None:
    async with served(Starlette(routes=[Route("/healthz", healthy)]), patience_s=0.2) as (_, reader, writer):
        writer.write(asked)
        dripping = asyncio.create_task(drip(writer))
        heard = await asyncio.wait_for(heard_until_the_end(reader), 60)
        assert heard.startswith(says), why
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_an_answer_that_nobody_takes_is_let_go_and_one_that_is_taken_arrives() -> None:
    size = 16 << 20

    async def large(request: Request) -> Response:
        return Response(bytes(size))

    for patience_s, most in ((0.2, 1 << 40), (1e9, 1 << 20)):
        async with served(Starlette(routes=[Route("/", large)]), patience_s, most) as (server, reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            state = server.server_state
            await eventually_async(partial(has_answered, state), "it is answered")
            await eventually_async(partial(is_alone, state), "it is let go")
    async with served(Starlette(routes=[Route("/", large)]), patience_s=0.2) as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert len(await asyncio.wait_for(heard_until_the_end(reader), 60)) > size


async def test_a_crowd_of_idle_connections_keeps_nobody_out() -> None:
    application = Starlette(routes=[Route("/healthz", healthy)])
    async with served(application, patience_s=1e9, max_connections=3) as (server, _, writer):
        host, port = writer.get_extra_info("peername")
        idle = [await asyncio.open_connection(host, port) for _ in range(9)]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{host}:{port}/healthz")).status_code == 200
        assert len(server.server_state.connections) <= 4
        for _, each in idle:
            each.transport.abort()


def has_answered(state: ServerState) -> bool:
    return state.total_requests > 0


def is_alone(state: ServerState) -> bool:
    return not state.connections


async def healthy(request: Request) -> Response:
    return Response(b"yes")


async def drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def heard_until_the_end(reader: asyncio.StreamReader) -> bytes:
    heard = bytearray()
    with suppress(ConnectionError):
        while more := await reader.read(1 << 20):
            heard += more
    return bytes(heard)


@asynccontextmanager
async def served(
    application: Starlette, patience_s: float, max_unsent_bytes: int = 1 << 40, max_connections: int = 100
) -> AsyncIterator[tuple[HttpServer, asyncio.StreamReader, asyncio.StreamWriter]]:
    server = HttpServer(
        application,
        grace_s=1.0,
        patience_s=patience_s,
        max_unsent_bytes=max_unsent_bytes,
        max_connections=max_connections,
    )
    listener = listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve_on(listener))
    await eventually_async(lambda: server.started, "it has started")
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    try:
        yield server, reader, writer
    finally:
        writer.transport.abort()
        server.should_exit = True
        await serving


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("192.0.2.7", True),
        ("localhost:8000", True),
        ("LocalHost.", True),
        ("app.localhost", True),
        ("models.example.org:443", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
async def test_no_page_reaches_a_server_that_trusts_its_machine_by_a_name_of_its_own(host: str, own: bool) -> None:
    application = Starlette(
        routes=[Route("/healthz", healthy)], middleware=[Middleware(OwnHosts, names=frozenset({"models.example.org"}))]
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://here") as client:
        answer = await client.get("/healthz", headers={"host": host})
    assert answer.status_code == (200 if own else 403)
    assert own or "setting http_hosts" in answer.json()["error"]
