"""The control process's listeners: the admin port, the HTTP port, and the socket that its workers ask."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

import grpc.aio
from google.protobuf import descriptor_pool
from interlock.protocols.pool import POOL
from interlock.v1 import admin_pb2_grpc

from interlock_server.access.board import Boards
from interlock_server.access.gate import Gate
from interlock_server.control.http import HttpServer, app
from interlock_server.control.wiring import Ground, Parts
from interlock_server.front.credentials import add_port
from interlock_server.front.limits import server_options
from interlock_server.process.boot import control_socket, process_names
from interlock_server.process.ports import listen
from interlock_server.reflection import SERVICES as REFLECTION_SERVICES
from interlock_server.reflection import Reflection
from interlock_server.rest.app import Rest
from interlock_server.rest.body import Limits
from interlock_server.rpc import control_service, reflection
from interlock_server.rpc.access import GateInterceptor
from interlock_server.rpc.control_service import ControlServicer
from interlock_server.settings import Settings

_ADMIN_MESSAGE_BYTES: Final = 16 * 1024 * 1024


class Listeners:
    """Owns them, from `start` to `stop_admin` and then `stop_http`."""

    def __init__(self, ground: Ground, parts: Parts) -> None:
        settings = ground.settings
        self._ground = ground
        self._parts = parts
        self._gate: Gate | None = None
        if settings.auth == "on":
            boards = Boards.of(ground.boot.runtime_dir, "control", process_names(settings.workers))
            self._gate = Gate(lambda: parts.serving.replica.committed().holders, settings.manners, boards)
        self._guard = None if self._gate is None else GateInterceptor(self._gate, settings.default_deadline_s)
        parts.metrics.watch_gate(dict if self._gate is None else self._gate.refused)
        self._rest = Rest(parts.serving.forwarding, lambda: parts.standing.ready, _rest_limits(settings))
        self._http = HttpServer(
            app(parts.standing, parts.serving.workers, parts.metrics, self._rest, self._gate, hosts=settings.own_hosts),
            settings.drain_grace_s,
            ground.certificates,
            patience_s=settings.default_deadline_s,
            max_unsent_bytes=settings.max_http_bytes,
        )
        self._serving: asyncio.Task[None] | None = None
        self._internal: grpc.aio.Server | None = None
        self._admin: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen; raises OSError where a port cannot be had."""
        await self._start_internal()
        await self._start_admin()
        host, _, port = self._ground.boot.http_address.rpartition(":")
        self._serving = asyncio.create_task(self._http.serve_on(listen(host.strip("[]"), int(port))))

    def follow(self) -> None:
        """Take over the settings that can change: how long requests may take to arrive, and to end at a stop."""
        settings = self._ground.settings
        self._http.allow(settings.drain_grace_s)
        self._http.patience_s = settings.default_deadline_s
        self._rest.keep_to(_rest_limits(settings))
        if self._guard is not None:
            self._guard.patience_s = settings.default_deadline_s

    async def stop_admin(self, grace_s: float) -> None:
        """Take no more changes, and let those that go on end within a time."""
        if self._admin is not None:
            await self._admin.stop(grace_s)
        if self._internal is not None:
            await self._internal.stop(1.0)

    async def stop_http(self) -> None:
        """Close the HTTP port."""
        if self._serving is not None:
            self._http.should_exit = True
            await self._serving
        self._rest.close()

    async def _start_internal(self) -> None:
        path = control_socket(self._ground.boot.runtime_dir)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # the socket of a predecessor that was killed
        database = self._ground.database
        servicer = ControlServicer(lambda: database.read(lambda registry: registry.standing()))
        self._internal = await control_service.start(servicer, path)

    async def _start_admin(self) -> None:
        settings, guard = self._ground.settings, self._guard
        admin = self._admin = grpc.aio.server(
            interceptors=[] if guard is None else [guard],
            options=server_options(settings, _ADMIN_MESSAGE_BYTES, settings.max_admin_connections),
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self._parts.admin, admin)
        self._parts.health.add_to(admin)
        if settings.reflection:
            services = ["interlock.v1.AdminService", "grpc.health.v1.Health", *REFLECTION_SERVICES]
            reflection.add_to(admin, Reflection(services, [POOL, descriptor_pool.Default()]))
        add_port(admin, self._ground.boot.admin_address, self._ground.certificates)
        await admin.start()


def _rest_limits(settings: Settings) -> Limits:
    """Return how much of HTTP the process takes on."""
    return Limits(
        max_body_bytes=settings.max_message_bytes,
        max_json_bytes=settings.max_json_bytes,
        max_requests=settings.max_http_requests,
        max_bytes=settings.max_http_bytes,
        read_timeout_s=settings.default_deadline_s,
    )
