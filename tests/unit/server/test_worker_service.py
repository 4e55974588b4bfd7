"""A worker's sockets, as the control process finds them: whichever front there is, snapshots have one of their own."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from interlock.model import ServableState
from interlock_server.cores import Threads
from interlock_server.process.boot import switch_socket
from interlock_server.rpc.worker_link import WorkerLink
from interlock_server.rpc.worker_service import WorkerServer, WorkerServicer
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.health import Health
from interlock_server.worker.metrics import WorkerMetrics

from tests.support import eventually_async
from tests.unit.server.builders import snapshot, version_spec
from tests.unit.server.test_catalog import let_go, stuck_spec


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="worker-") as sockets:  # a unix socket's path must be short
        yield f"{sockets}/w.sock"


@pytest.fixture(params=["core", "aio"])
async def link(request: pytest.FixtureRequest, catalog: Catalog, path: str) -> AsyncIterator[WorkerLink]:
    """A worker's service on the front of that name, and the control process's end of it."""
    for left in (path, switch_socket(path)):  # by a predecessor that was killed
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(left)
    servicer = WorkerServicer(
        catalog,
        Health(catalog),
        WorkerMetrics(catalog),
        lambda method, request: request,
        index=0,
        provider="CPU",
        threads=Threads(2, "2 cores"),
        front=request.param,
        address="127.0.0.1:1",
        prepare_timeout_s=10.0,
    )
    server = WorkerServer(servicer, path, lambda server: None)
    await server.start()
    made = WorkerLink("worker-0", path)
    yield made
    await made.close()
    await server.stop(1.0)
    await server.stop(1.0)


async def test_a_snapshot_is_taken_and_answered_with_a_report(
    link: WorkerLink, catalog: Catalog, tmp_path: Path
) -> None:
    report = await link.apply(snapshot(version_spec(tmp_path, 1), epoch=7), 10.0)
    assert (report.incarnation, report.status.epoch) == ("one", 7)
    assert (report.status.threads, report.status.threads_reason) == (2, "2 cores")
    await eventually_async(
        lambda: [each.state for each in catalog.servables()] == [ServableState.READY], "version 1 is loaded"
    )
    older = await link.apply(snapshot(epoch=6), 10.0)
    assert (older.status.epoch, len(older.status.servables)) == (7, 1)


@pytest.mark.usefixtures("link")
async def test_nobody_else_may_connect(path: str) -> None:
    assert [stat.S_IMODE(os.stat(each).st_mode) for each in (path, switch_socket(path))] == [0o600, 0o600]


@pytest.mark.usefixtures("link")
async def test_what_is_no_snapshot_is_refused(path: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{switch_socket(path)}") as channel:
        apply: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/interlock.v1.WorkerService/Apply")
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await apply(b"\xff\xff", timeout=60)


async def test_versions_that_are_prepared_take_no_thread_from_what_has_to_be_done_besides(
    link: WorkerLink, catalog: Catalog, tmp_path: Path
) -> None:
    threads = min(32, (os.cpu_count() or 1) + 4)  # of a loop's own executor
    stuck = [stuck_spec(tmp_path, version) for version in range(1, threads + 2)]
    preparing = [asyncio.create_task(link.prepare(spec, 60.0)) for spec in stuck]
    await eventually_async(lambda: len(catalog.servables()) == len(stuck), "all of them are begun")
    assert await asyncio.to_thread(lambda: "done") == "done"
    assert not any(each.done() for each in preparing)
    preparing[-1].cancel()  # a rollback was more important
    letting = [threading.Thread(target=let_go, args=(spec,)) for spec in stuck]
    for each in letting:
        each.start()
    ended = await asyncio.gather(*preparing[:-1])
    await eventually_async(lambda: not any(each.is_alive() for each in letting), "all of them were let go")
    assert all(not each.ready and each.reason for each in ended)
