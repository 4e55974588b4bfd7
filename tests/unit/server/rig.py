"""A whole control process and a worker inside the test's process: real registry, real sockets, real sessions."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import grpc.aio
from interlock.errors import AliasNotFound, ModelNotFound, NotReady
from interlock.golden import DEFAULT_TOLERANCES
from interlock.model import MutationOptions, ServableState, ServingConfig
from interlock.types import ModelRef, Signature
from interlock.v1 import admin_pb2_grpc
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.domain import Action, Attempt, NewVersion
from interlock_registry.manifest import Blob, Manifest
from interlock_registry.sql.naming import database_name
from interlock_registry.tool import Sandbox
from interlock_server.control.adoption import Adoption
from interlock_server.control.changing import Changing
from interlock_server.control.database import Database
from interlock_server.control.deriving import Deriving
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.membership import Membership
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.mutations import Mutations
from interlock_server.control.patient_output import PATIENCE_S, PatientOutput
from interlock_server.control.reconciler import Reconciler
from interlock_server.control.replica import Replica
from interlock_server.control.sandboxing import Sandboxing
from interlock_server.control.standing import Standing
from interlock_server.control.switching import Switching
from interlock_server.control.wiring import Ground, Parts, build
from interlock_server.control.workers import Workers
from interlock_server.cores import Threads
from interlock_server.front.aio import AioFront
from interlock_server.front.limits import Room
from interlock_server.process.boot import Boot
from interlock_server.process.datadir import DataDir
from interlock_server.settings import Settings
from interlock_server.trust.keeper import Trust
from interlock_server.worker import wiring as worker_wiring
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.engine import Engine

from tests import databases, models
from tests.support import eventually_async
from tests.unit.server.builders import sha256, signature

STUCK = "f" * 64
"""Digest of a version whose loading hangs until `Rig.let_go`, and then fails."""


def attempt(
    action: Action,
    model: str = "m",
    version: int = 0,
    alias: str = "",
    *,
    actor: str = "ada",
    key: str = "",
    request_hash: str = "",
) -> Attempt:
    return Attempt(
        action=action,
        actor=actor,
        request_id="r-1",
        model=model,
        alias=alias,
        version=version,
        idempotency_key=key,
        request_hash=request_hash or f"{action} {model} {version} {alias}",
    )


@dataclass
class Rig:
    """The parts, built as in production."""

    data: DataDir
    catalog: Catalog
    database: Database
    artifacts: LocalArtifactStore
    replica: Replica
    workers: Workers
    metrics: ControlMetrics
    mutations: Mutations
    reconciler: Reconciler
    deriving: Deriving
    adoption: Adoption
    switching: Switching
    changing: Changing
    standing: Standing
    membership: Membership
    admin_address: str

    async def add(
        self,
        model: str = "m",
        *,
        scale: float = 1.0,
        graph: Blob | None = None,
        said: Signature | None = None,
        content: bytes | None = None,
        golden: Path | None = None,
    ) -> int:
        """Register a version of y = scale * x, unless `content` is given, past the model tool; return its number."""
        if graph is None:
            source = self.data.root / f"{model}.onnx"
            source.write_bytes(models.affine(scale=scale) if content is None else content)
            graph = self.artifacts.add(source, sha256=sha256(source))
        manifest = Manifest(graph=graph)
        self.artifacts.add_bytes(manifest.to_json().encode())
        new = NewVersion(
            model=model,
            manifest=manifest,
            golden=None if golden is None else self.artifacts.add(golden, sha256=sha256(golden)),
            golden_samples=0 if golden is None else 2,
            signature=said or signature(),
            config=ServingConfig(),
            proven=golden is not None,
            joinable=True,
            tolerances=DEFAULT_TOLERANCES,
        )
        made = await self.database.write(lambda registry: registry.register(new, attempt(Action.REGISTER, model)))
        await self.adoption.adopt(made.committed)
        return made.version.version

    async def add_stuck(self, model: str = "m") -> int:
        with suppress(FileExistsError):
            os.mkfifo(self.artifacts.path(STUCK))
        return await self.add(model, graph=Blob(STUCK, 1))

    def let_go(self) -> None:
        """End the loading of a stuck version; it fails."""
        with suppress(OSError):  # nobody reads it
            os.close(os.open(self.artifacts.path(STUCK), os.O_WRONLY | os.O_NONBLOCK))

    async def promote(self, version: int, model: str = "m", alias: str = "stable", **more: str) -> None:
        await self.switching.promote(attempt(Action.PROMOTE, model, version, alias, **more), MutationOptions())

    async def rollback(self, version: int = 0, model: str = "m", alias: str = "stable", **more: str) -> None:
        await self.switching.rollback(attempt(Action.ROLLBACK, model, version, alias, **more), MutationOptions())

    def live(self, model: str = "m", alias: str = "stable") -> int | None:
        """Return the version that the worker answers with."""
        try:
            return self.catalog.resolve(ModelRef(model, alias=alias)).servable.spec.version
        except (ModelNotFound, AliasNotFound, NotReady):
            return None

    async def events(self) -> list[tuple[str, str]]:
        """Return (action, outcome) of every event, oldest first."""
        page = await self.database.read(lambda registry: registry.events(page_size=1000))
        return [(event.action, event.outcome) for event in reversed(page.items)]


@asynccontextmanager
async def running(
    engine: Engine, root: Path, *, replica_id: str = "r", answering: bool = True, **changes: object
) -> AsyncIterator[Rig]:
    """Run a rig in a data directory; `answering` is whether it says that its services can be reached."""
    settings = Settings.load(
        {
            "data": root,
            "db": databases.setting(root),
            "apply_timeout_s": 30.0,
            "poll_s": 0.05,
            "drain_grace_s": 5.0,
            **changes,
        },
        None,
    )
    with tempfile.TemporaryDirectory(prefix="rig-") as sockets:  # a unix socket's path must be short
        ground = control_ground(settings, sockets, replica_id)
        parts = build(ground, lambda: False)
        try:
            async with (
                at_work(worker_wiring.build(worker_ground(engine, ground))) as catalog,
                _control(ground, parts, answering=answering) as admin_address,
            ):
                rig = Rig(
                    data=ground.data,
                    catalog=catalog,
                    database=ground.database,
                    artifacts=ground.artifacts,
                    replica=parts.serving.replica,
                    workers=parts.serving.workers,
                    metrics=parts.metrics,
                    mutations=parts.changes.mutations,
                    reconciler=parts.serving.reconciler,
                    deriving=parts.serving.deriving,
                    adoption=parts.changes.adoption,
                    switching=parts.changes.switching,
                    changing=parts.changes.changing,
                    standing=parts.standing,
                    membership=parts.serving.membership,
                    admin_address=admin_address,
                )
                try:
                    await eventually_async(lambda: rig.standing.ready or not rig.replica.known, "the replica is ready")
                    yield rig
                finally:
                    rig.let_go()
        finally:
            # grpc.aio's servers still shut themselves down when they are collected, which needs this loop.
            gc.collect()
            await asyncio.sleep(0)


def control_ground(settings: Settings, runtime_dir: str, replica_id: str = "r") -> Ground:
    """Make what a control process stands on; `runtime_dir` is for the sockets."""
    data = DataDir(settings.data)
    data.create()
    if not settings.db:
        databases.fresh(data.database)
    return Ground(
        boot=Boot(
            settings_json=settings.model_dump_json(),
            runtime_dir=runtime_dir,
            inference_address="127.0.0.1:1",
            http_address="127.0.0.1:2",
            admin_address=f"{replica_id}:3",
        ),
        settings=settings,
        replica_id=replica_id,
        data=data,
        artifacts=LocalArtifactStore(settings.blobs),
        database=Database(
            settings.database_url, keep_depth=settings.keep_depth, backup_dir=data.state, check=lambda: None
        ),
        saved=LastKnownGood(data.state, database_name(settings.database_url, settings.data, {})),
        trust=Trust(settings, data.state),
        certificates=None,
        sandboxing=Sandboxing(Sandbox.AUTO),
        stdout=PatientOutput(1, PATIENCE_S),
    )


def worker_ground(engine: Engine, ground: Ground) -> worker_wiring.Ground:
    """Make what the worker beside a control process stands on; its inference port is not opened."""
    room = Room(ground.settings.max_in_flight_bytes)
    return worker_wiring.Ground(
        boot=ground.boot,
        settings=ground.settings,
        engine=engine,
        threads=Threads(2, "2 cores"),
        certificates=None,
        room=room,
        front=AioFront(ground.settings, room=room),
    )


@asynccontextmanager
async def at_work(worker: worker_wiring.Parts) -> AsyncIterator[Catalog]:
    """Have a worker's parts answer on its sockets."""
    await worker.internal.start()
    worker.health.join()
    try:
        yield worker.catalog
    finally:
        await worker.internal.stop(0)
        await worker.inside.stop(0)
        for each in (worker.repository, worker.wide, worker.peers, worker.control):
            await each.close()
        await asyncio.to_thread(worker.catalog.drain_all)
        worker.shared.close()
        del worker  # which a test's failure would hold else


@asynccontextmanager
async def _control(ground: Ground, parts: Parts, *, answering: bool) -> AsyncIterator[str]:
    """Have the parts work, and the admin service answered at the address that is returned."""
    serving = parts.serving
    admin = grpc.aio.server()
    admin_pb2_grpc.add_AdminServiceServicer_to_server(parts.admin, admin)
    parts.health.add_to(admin)
    port = admin.add_insecure_port("127.0.0.1:0")
    await admin.start()
    await serving.deriving.start()
    await serving.reconciler.start()
    serving.workers.start()
    if answering:
        serving.membership.open()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        parts.standing.stopping = True
        parts.health.changed()
        await parts.upkeep.scrubber.close()
        await admin.stop(1.0)
        await parts.changes.mutations.close(5.0)
        await serving.forwarding.close()
        await serving.deriving.close()
        await serving.reconciler.close()
        await serving.workers.close()
        if serving.levers is not None:
            serving.levers.close()
        await asyncio.to_thread(ground.database.close)
        del admin


def with_key(made: Attempt, key: str, request_hash: str = "") -> Attempt:
    return replace(made, idempotency_key=key, request_hash=request_hash or made.request_hash)


async def preparing(rig: Rig, work: Awaitable[None]) -> asyncio.Task[None]:
    async def wait() -> None:
        await work

    task = asyncio.create_task(wait())
    await eventually_async(
        lambda: any(each.state is ServableState.LOADING for each in rig.catalog.servables()), "the candidate is loading"
    )
    return task
