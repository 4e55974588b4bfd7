from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from interlock_server.control.forwarding import Forwarding
from interlock_server.control.http import HttpServer, app
from interlock_server.process.ports import ReservedPort, listen
from interlock_server.rest.app import Rest
from interlock_server.rest.body import Limits
from interlock_server.rpc.inference_link import InferenceLink
from starlette.applications import Starlette

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
