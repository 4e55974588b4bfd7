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
from interlock_registry.derived_store import DerivedStore
from interlock_registry.domain import Action, Attempt, NewVersion
from interlock_registry.manifest import Blob, Manifest
from interlock_registry.sql.naming import database_name
from interlock_registry.tool import Sandbox
from interlock_server.control.adoption import Adoption
from interlock_server.control.approving import Approving
from interlock_server.control.auditing import Auditing
from interlock_server.control.changing import Changing
from interlock_server.control.database import Database
from interlock_server.control.deriving import Deriving
from interlock_server.control.diffing import Diffing
from interlock_server.control.downloading import Downloading
from interlock_server.control.forms import Forms
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.membership import Membership
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.mutations import Mutations
from interlock_server.control.participant import Participant
from interlock_server.control.quantizing import Quantizing
from interlock_server.control.reconciler import Reconciler
from interlock_server.control.registering import Registering
from interlock_server.control.replica import Replica
from interlock_server.control.rollouts import Rollouts
from interlock_server.control.sandboxing import Sandboxing
from interlock_server.control.signing import Signing
from interlock_server.control.standing import Addresses, Standing
from interlock_server.control.switching import Switching
from interlock_server.control.uploads import Uploads
from interlock_server.control.workers import Workers
from interlock_server.cores import Threads
from interlock_server.levers import LeverFrame
from interlock_server.process.datadir import DataDir
from interlock_server.rpc import worker_service
from interlock_server.rpc.admin import AdminServicer
from interlock_server.rpc.health import ReplicaHealth
from interlock_server.rpc.worker_link import WorkerLink
from interlock_server.settings import Settings
from interlock_server.trust.keeper import Trust
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.engine import Engine
from interlock_server.worker.health import Health
from interlock_server.worker.loader import Loader
from interlock_server.worker.metrics import WorkerMetrics

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
    """The parts, wired as in production."""

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
    registering: Registering
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
        {"data": root, "db": databases.setting(root), "apply_timeout_s": 30.0, "poll_s": 0.05, **changes}, None
    )
    data = DataDir(root)
    data.create()
    if not settings.db:
        databases.fresh(data.database)
    with tempfile.TemporaryDirectory(prefix="rig-") as sockets:  # a unix socket's path must be short
        catalog = Catalog(Loader(engine), drain_grace_s=5.0)
        path = f"{sockets}/w.sock"
        worker_health = Health(catalog)
        worker_health.join()
        internal = worker_service.WorkerServer(
            worker_service.WorkerServicer(
                catalog,
                worker_health,
                WorkerMetrics(catalog),
                lambda method, request: b"",
                index=0,
                provider="CPU",
                threads=Threads(2, "2 cores"),
                front="aio",
                address="127.0.0.1:1",
                prepare_timeout_s=settings.prepare_timeout_s,
            ),
            path,
            lambda server: None,
        )
        await internal.start()
        database = Database(
            settings.database_url, keep_depth=settings.keep_depth, backup_dir=data.state, check=lambda: None
        )
        metrics = ControlMetrics()
        artifacts = LocalArtifactStore(settings.blobs)
        trust = Trust(settings, data.state)
        levers = LeverFrame()
        replica = Replica(artifacts.path, levers, trust.distrust)
        store = DerivedStore(data.root)
        forms = Forms(store, lambda: workers.reported.provider, enabled=settings.derived_cache_bytes > 0)
        workers = Workers(
            [WorkerLink("worker-0", path)],
            lambda: forms.located(replica.snapshot()) if replica.known else None,
            apply_timeout_s=settings.apply_timeout_s,
            prepare_timeout_s=settings.prepare_timeout_s,
        )
        membership = Membership(
            database,
            replica,
            workers,
            replica_id=replica_id,
            address=f"{replica_id}:3",
            inference="127.0.0.1:1",
            shared=bool(settings.db),
        )
        deriving = Deriving(store, forms, settings, metrics, database, replica, workers)
        participant = Participant(database, replica, workers, membership, deriving)
        reconciler = Reconciler(
            database,
            replica,
            workers,
            LastKnownGood(data.state, database_name(settings.database_url, settings.data, {})),
            membership,
            participant,
            poll_s=settings.poll_s,
        )
        rollouts = Rollouts(database, membership, timeout_s=settings.prepare_timeout_s)
        mutations = Mutations(database, metrics)
        approving = Approving(settings, database, mutations)
        reconciler.subscribe(deriving.look)
        workers.subscribe(deriving.watch)
        adoption = Adoption(database, replica, workers, metrics, reconciler.changed, levers)
        switching = Switching(
            database,
            mutations,
            replica,
            workers,
            membership,
            rollouts,
            deriving,
            adoption,
            approvals=approving.needed,
        )
        changing = Changing(database, mutations, replica, adoption)
        uploads = Uploads(settings, data.uploads, metrics)
        registering = Registering(settings, uploads, artifacts, database, mutations, adoption, deriving, trust)
        auditing = Auditing(database, settings, data.state, replica_id)
        signing = Signing(database, mutations, adoption, trust)
        quantizing = Quantizing(settings, data.uploads, artifacts, database, mutations, registering)
        downloading = Downloading(settings, data.downloads, artifacts, database)
        standing = Standing(
            membership,
            Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"),
            database,
            replica,
            workers,
            Sandboxing(Sandbox.AUTO),
        )
        diffing = Diffing(settings, artifacts, database)
        metrics.watch(standing.gauges)
        health = ReplicaHealth(standing, workers)
        admin = grpc.aio.server()
        admin_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminServicer(
                database,
                mutations,
                switching,
                changing,
                registering,
                quantizing,
                diffing,
                downloading,
                standing,
                signing,
                trust,
                auditing,
                approving,
            ),
            admin,
        )
        health.add_to(admin)
        port = admin.add_insecure_port("127.0.0.1:0")
        await admin.start()
        await deriving.start()
        await reconciler.start()
        workers.start()
        if answering:
            membership.open()
        rig = Rig(
            data,
            catalog,
            database,
            artifacts,
            replica,
            workers,
            metrics,
            mutations,
            reconciler,
            deriving,
            adoption,
            switching,
            changing,
            registering,
            standing,
            membership,
            f"127.0.0.1:{port}",
        )
        try:
            await eventually_async(lambda: standing.ready or not replica.known, "the replica is ready")
            yield rig
        finally:
            rig.let_go()
            standing.stopping = True
            health.changed()
            await admin.stop(1.0)
            await mutations.close(5.0)
            await deriving.close()
            await reconciler.close()
            await workers.close()
            levers.close()
            await internal.stop(0)
            await asyncio.to_thread(database.close)
            await asyncio.to_thread(catalog.drain_all)
            # grpc.aio's servers still shut themselves down when they are collected, which needs this loop.
            del internal, admin
            gc.collect()
            await asyncio.sleep(0)


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
