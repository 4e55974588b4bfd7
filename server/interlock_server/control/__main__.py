"""The control process: builds everything, starts in order, stops in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

import grpc.aio
from google.protobuf import descriptor_pool
from interlock.errors import InternalError, RegistryUnavailable, StartupRefused
from interlock.protocols.pool import POOL
from interlock.v1 import admin_pb2_grpc
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.derived_store import DerivedStore
from interlock_registry.sql.naming import database_name
from interlock_registry.tool import Sandbox

from interlock_server.access.board import Boards
from interlock_server.access.gate import Gate
from interlock_server.certificates import Certificates
from interlock_server.control.admission import Room, available_bytes
from interlock_server.control.adoption import Adoption
from interlock_server.control.approving import Approving
from interlock_server.control.auditing import Auditing
from interlock_server.control.caretaking import Caretaker
from interlock_server.control.changing import Changing
from interlock_server.control.database import Database
from interlock_server.control.deriving import Deriving
from interlock_server.control.diffing import Diffing
from interlock_server.control.downloading import Downloading
from interlock_server.control.forms import Forms
from interlock_server.control.forwarding import Forwarding
from interlock_server.control.http import HttpServer, app
from interlock_server.control.identity import replica_id
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
from interlock_server.control.scrubbing import Scrubber
from interlock_server.control.signing import Signing
from interlock_server.control.standing import Addresses, Standing
from interlock_server.control.switching import Switching
from interlock_server.control.trusting import TrustFollowing
from interlock_server.control.uploads import Uploads
from interlock_server.control.workers import Workers
from interlock_server.front.credentials import add_port
from interlock_server.front.limits import server_options
from interlock_server.levers import LeverFrame
from interlock_server.process import logs
from interlock_server.process.boot import (
    Boot,
    control_socket,
    freeze_heap,
    process_names,
    receive,
    refuse,
    worker_socket,
)
from interlock_server.process.datadir import DataDir
from interlock_server.process.heart import beat
from interlock_server.process.ports import listen
from interlock_server.reflection import SERVICES as REFLECTION_SERVICES
from interlock_server.reflection import Reflection
from interlock_server.reloading import Reloader
from interlock_server.rest.app import Rest
from interlock_server.rest.body import Limits
from interlock_server.rpc import control_service, reflection
from interlock_server.rpc.access import GateInterceptor
from interlock_server.rpc.admin import AdminServicer
from interlock_server.rpc.control_service import ControlServicer
from interlock_server.rpc.health import ReplicaHealth
from interlock_server.rpc.inference_link import InferenceLink
from interlock_server.rpc.worker_link import WorkerLink
from interlock_server.settings import Settings
from interlock_server.trust.keeper import Trust
from interlock_server.vitals import HealthLimits
from interlock_server.waiting import changes_of, saying

log = logging.getLogger("interlock.control")

_ADMIN_MESSAGE_BYTES = 16 * 1024 * 1024
_REVOKED_WITHIN_S = 0.5


async def run(boot: Boot, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloader = Reloader(boot, settings)
    beating = asyncio.create_task(beat(boot.heartbeat))

    sandboxing = Sandboxing(Sandbox(settings.sandbox))
    try:
        await sandboxing.check()
    except (StartupRefused, InternalError) as error:
        return refuse(error.message)
    data = DataDir(settings.data)
    try:
        trust = Trust(settings, data.state)
        saved = LastKnownGood(data.state, database_name(settings.database_url, settings.data, os.environ))
    except StartupRefused as error:
        return refuse(error.message)
    database = Database(
        settings.database_url,
        keep_depth=settings.keep_depth,
        backup_dir=data.state,
        check=lambda: None if settings.db else _check_not_lost(data, saved),
    )
    certificates: Certificates | None = None
    try:
        certificates = Certificates(settings.certificates) if settings.certificates else None
        await database.open()
    except StartupRefused as error:
        return refuse(error.message)
    except RegistryUnavailable as error:
        log.error("the registry cannot be opened: %s", error.message)
    metrics = ControlMetrics()
    artifacts = LocalArtifactStore(settings.blobs)
    levers = _levers()
    replica = Replica(artifacts.path, levers, trust.distrust)
    sockets = {f"worker-{index}": worker_socket(boot.runtime_dir, index) for index in range(settings.workers)}
    caretaker = Caretaker(boot.runtime_dir, replica, lambda: _health_limits(settings))
    store = DerivedStore(data.root)
    forms = Forms(store, lambda: workers.reported.provider, enabled=settings.derived_cache_bytes > 0)
    workers = Workers(
        [WorkerLink(name, path) for name, path in sockets.items()],
        lambda: forms.located(replica.snapshot()) if replica.known else None,
        apply_timeout_s=settings.apply_timeout_s,
        prepare_timeout_s=settings.prepare_timeout_s,
        caretaker=caretaker,
        room=lambda: Room(available_bytes(), settings.memory_reserve_bytes, settings.max_worker_bytes),
        stopping=stop.is_set,
    )
    inference = [InferenceLink(name, path) for name, path in sockets.items()]
    forwarding = Forwarding(inference, workers, settings.default_deadline_s)
    membership = Membership(
        database,
        replica,
        workers,
        replica_id=replica_id(data.state),
        address=boot.admin_address,
        inference=boot.inference_address,
        shared=bool(settings.db),
    )
    deriving = Deriving(store, forms, settings, metrics, database, replica, workers)
    participant = Participant(database, replica, workers, membership, deriving)
    reconciler = Reconciler(database, replica, workers, saved, membership, participant, poll_s=_poll_s(settings))
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
        caretaker.pardon,
        approving.needed,
    )
    changing = Changing(database, mutations, replica, adoption)
    uploads = Uploads(settings, data.uploads, metrics)
    registering = Registering(settings, uploads, artifacts, database, mutations, adoption, deriving, trust)
    auditing = Auditing(database, settings, data.state, membership.replica_id)
    signing = Signing(database, mutations, adoption, trust)
    quantizing = Quantizing(settings, data.uploads, artifacts, database, mutations, registering)
    diffing = Diffing(settings, artifacts, database)
    downloading = Downloading(settings, data.downloads, artifacts, database)
    scrubber = Scrubber(
        database,
        artifacts,
        metrics,
        data.state,
        every_s=settings.scrub_every_s,
        bytes_per_s=settings.scrub_bytes_per_s,
    )
    addresses = Addresses(boot.inference_address, boot.http_address, boot.admin_address)
    standing = Standing(membership, addresses, database, replica, workers, sandboxing, lambda: auditing.why_not_copied)
    metrics.watch(standing.gauges)
    health = ReplicaHealth(standing, workers)

    await asyncio.to_thread(registering.sweep)
    await asyncio.to_thread(downloading.sweep)
    await deriving.start()
    await reconciler.start()
    changed = asyncio.Event()
    workers.subscribe(changed.set)
    caretaker.start(switching, membership)
    workers.start()
    path = control_socket(boot.runtime_dir)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # the socket of a predecessor that was killed
    servicer = ControlServicer(lambda: database.read(lambda registry: registry.standing()))
    internal = await control_service.start(servicer, path)
    gate = None
    if settings.auth == "on":
        boards = Boards.of(boot.runtime_dir, "control", process_names(settings.workers))
        gate = Gate(lambda: replica.committed().holders, settings.manners, boards)
    metrics.watch_gate(dict if gate is None else gate.refused)
    admin = grpc.aio.server(
        interceptors=[] if gate is None else [GateInterceptor(gate, settings.default_deadline_s)],
        options=server_options(settings, _ADMIN_MESSAGE_BYTES, settings.max_admin_connections),
    )
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
    if settings.reflection:
        services = ["interlock.v1.AdminService", "grpc.health.v1.Health", *REFLECTION_SERVICES]
        reflection.add_to(admin, Reflection(services, [POOL, descriptor_pool.Default()]))
    add_port(admin, boot.admin_address, certificates)
    await admin.start()
    host, _, port = boot.http_address.rpartition(":")
    rest = Rest(forwarding, lambda: standing.ready, _rest_limits(settings))
    application = app(standing, workers, metrics, rest, gate, hosts=settings.own_hosts)
    http = HttpServer(
        application,
        settings.drain_grace_s,
        certificates,
        patience_s=settings.default_deadline_s,
        max_unsent_bytes=settings.max_http_bytes,
    )
    http_task = asyncio.create_task(http.serve_on(listen(host.strip("[]"), int(port))))
    membership.open()
    announcing = asyncio.create_task(_announce(standing, changed, boot))
    scrubber.start()
    following = TrustFollowing(trust, replica, workers, database, reconciler.changed)
    following.start()
    auditing.start()

    def follow() -> None:
        forwarding.timeout_s = settings.default_deadline_s
        http.allow(settings.drain_grace_s)
        if database.keep(settings.keep_depth):
            reconciler.reread()

    reloader.subscribe(follow)
    if certificates is not None:
        certificates.watch()
        reloader.subscribe(certificates.reread)
    reloader.listen(loop)

    await stop.wait()
    standing.stopping = True
    health.changed()
    announcing.cancel()
    if certificates is not None:
        await certificates.close()
    await trust.close()
    await auditing.close()
    await caretaker.close()
    await scrubber.close()
    async with saying(log, lambda: changes_of(mutations.running)):
        await admin.stop(settings.drain_grace_s)
        await internal.stop(1.0)
        await mutations.close(settings.drain_grace_s)
    http.should_exit = True
    await http_task
    rest.close()
    await forwarding.close()
    await deriving.close()
    await reconciler.close()
    await workers.close()
    if levers is not None:
        levers.close()
    await asyncio.to_thread(database.close)
    beating.cancel()
    return 0


def _levers() -> LeverFrame | None:
    try:
        return LeverFrame()
    except OSError as error:
        log.warning("there are no levers, so rollbacks take a message more: %s", error)
        return None


async def _announce(standing: Standing, changed: asyncio.Event, boot: Boot) -> None:
    """Print the ready line once every worker is ready, at the server's first start only."""
    while not standing.complete:
        changed.clear()
        await changed.wait()
    log.info("ready")
    if not boot.announce:
        return
    addresses = f"grpc={boot.inference_address} http={boot.http_address} admin={boot.admin_address}"
    try:
        # The line is an interface: scripts wait for it. Past the buffer, which a failed write would leave behind.
        os.write(1, f"interlock ready {addresses}\n".encode())
    except OSError as error:
        log.warning("nobody was told on stdout that the server is ready (%s): %s", error.strerror, addresses)


def _poll_s(settings: Settings) -> float:
    """Return how often the registry is looked at: what is revoked elsewhere must not be good for a second more."""
    return settings.poll_s if settings.auth == "off" else min(settings.poll_s, _REVOKED_WITHIN_S)


def _rest_limits(settings: Settings) -> Limits:
    """Return how much of HTTP the process takes on."""
    return Limits(
        max_body_bytes=settings.max_message_bytes,
        max_json_bytes=settings.max_json_bytes,
        max_requests=settings.max_http_requests,
        max_bytes=settings.max_http_bytes,
        read_timeout_s=settings.default_deadline_s,
    )


def _health_limits(settings: Settings) -> HealthLimits:
    """Return what a worker may do before it is replaced."""
    loading_s = settings.prepare_timeout_s + settings.overdue_run_s
    return HealthLimits(settings.overdue_run_s, loading_s, settings.max_worker_bytes)


def _check_not_lost(data: DataDir, saved: LastKnownGood) -> None:
    """Refuse to begin an empty registry where one has been: everything that is served would be dropped at once."""
    if not saved.exists or data.database.exists():
        return
    if saved.foreign:
        raise RegistryUnavailable(
            f"this data directory has served from {saved.foreign}, and holds no registry of its own; name that "
            "database in the setting db (INTERLOCK_DB), or begin anew with another --data"
        )
    raise RegistryUnavailable(
        f"the registry {data.database} is gone although this data directory has served before; restore it from a "
        "backup, or begin anew with another --data"
    )


def main() -> int:
    """Run the control process; return the exit status."""
    boot = receive()
    settings = Settings.model_validate_json(boot.settings_json)
    logs.configure("control", settings.log_level, settings.log_format)
    freeze_heap()
    return asyncio.run(run(boot, settings))


if __name__ == "__main__":
    sys.exit(main())
