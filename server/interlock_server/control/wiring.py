"""The control process's parts, each given what it needs. `__main__` starts and stops them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.derived_store import DerivedStore

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
from interlock_server.levers import LeverFrame
from interlock_server.process.boot import Boot, worker_socket
from interlock_server.process.datadir import DataDir
from interlock_server.rpc.admin import AdminServicer
from interlock_server.rpc.health import ReplicaHealth
from interlock_server.rpc.inference_link import InferenceLink
from interlock_server.rpc.worker_link import WorkerLink
from interlock_server.settings import Settings
from interlock_server.trust.keeper import Trust
from interlock_server.vitals import HealthLimits

log = logging.getLogger("interlock.control")

_REVOKED_WITHIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything stands on: opened at the start, which is refused where that fails."""

    boot: Boot
    settings: Settings
    data: DataDir
    database: Database
    saved: LastKnownGood
    trust: Trust
    certificates: Certificates | None
    sandboxing: Sandboxing


@dataclass(frozen=True, slots=True)
class Parts:
    """What is started, stopped or asked from outside; each holds the others that it needs."""

    replica: Replica
    workers: Workers
    levers: LeverFrame | None
    caretaker: Caretaker
    membership: Membership
    reconciler: Reconciler
    deriving: Deriving
    switching: Switching
    mutations: Mutations
    registering: Registering
    downloading: Downloading
    scrubber: Scrubber
    following: TrustFollowing
    auditing: Auditing
    standing: Standing
    health: ReplicaHealth
    metrics: ControlMetrics
    forwarding: Forwarding
    admin: AdminServicer


def build(ground: Ground, stopping: Callable[[], bool]) -> Parts:
    """Make all parts, none of them started; `stopping` says whether the process is about to end."""
    boot, settings, data, database = ground.boot, ground.settings, ground.data, ground.database
    metrics = ControlMetrics()
    artifacts = LocalArtifactStore(settings.blobs)
    levers = _levers()
    replica = Replica(artifacts.path, levers, ground.trust.distrust)
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
        stopping=stopping,
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
    reconciler = Reconciler(database, replica, workers, ground.saved, membership, participant, poll_s=_poll_s(settings))
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
    registering = Registering(settings, uploads, artifacts, database, mutations, adoption, deriving, ground.trust)
    auditing = Auditing(database, settings, data.state, membership.replica_id)
    signing = Signing(database, mutations, adoption, ground.trust)
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
    standing = Standing(
        membership, addresses, database, replica, workers, ground.sandboxing, lambda: auditing.why_not_copied
    )
    metrics.watch(standing.gauges)
    health = ReplicaHealth(standing, workers)
    following = TrustFollowing(ground.trust, replica, workers, database, reconciler.changed)
    admin = AdminServicer(
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
        ground.trust,
        auditing,
        approving,
    )
    return Parts(
        replica=replica,
        workers=workers,
        levers=levers,
        caretaker=caretaker,
        membership=membership,
        reconciler=reconciler,
        deriving=deriving,
        switching=switching,
        mutations=mutations,
        registering=registering,
        downloading=downloading,
        scrubber=scrubber,
        following=following,
        auditing=auditing,
        standing=standing,
        health=health,
        metrics=metrics,
        forwarding=forwarding,
        admin=admin,
    )


def _levers() -> LeverFrame | None:
    try:
        return LeverFrame()
    except OSError as error:
        log.warning("there are no levers, so rollbacks take a message more: %s", error)
        return None


def _poll_s(settings: Settings) -> float:
    """Return how often the registry is looked at: what is revoked elsewhere must not be good for a second more."""
    return settings.poll_s if settings.auth == "off" else min(settings.poll_s, _REVOKED_WITHIN_S)


def _health_limits(settings: Settings) -> HealthLimits:
    """Return what a worker may do before it is replaced."""
    loading_s = settings.prepare_timeout_s + settings.overdue_run_s
    return HealthLimits(settings.overdue_run_s, loading_s, settings.max_worker_bytes)
