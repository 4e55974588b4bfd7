from __future__ import annotations

import asyncio

import httpx
import pytest
from interlock_server.control.http import HttpServer, app
from interlock_server.process.ports import ReservedPort, listen

from tests.support import eventually_async
from tests.unit.server.rig import Rig


@pytest.fixture
def client(rig: Rig) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app(rig.standing, rig.workers, rig.metrics))
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
    assert (await client.get("/etc")).status_code == 404
    assert (await client.post("/metrics")).status_code == 405


async def test_the_server_answers_on_a_reserved_port_and_stops_when_told(rig: Rig) -> None:
    held = ReservedPort.reserve("127.0.0.1", 0, flag="--http-port")
    server = HttpServer(app(rig.standing, rig.workers, rig.metrics))
    serving = asyncio.create_task(server.serve_on(listen("127.0.0.1", held.port)))
    try:
        await eventually_async(lambda: server.started, "it has started")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{held.address}/healthz")).status_code == 200
    finally:
        server.should_exit = True
        await serving
        held.close()
