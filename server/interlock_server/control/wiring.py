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
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.membership import Membership
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.mutations import Mutations
from interlock_server.control.participant import Participant
from interlock_server.control.patient_output import PatientOutput
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What everything stands on: opened at the start, which is refused where that fails."""

    boot: Boot
    settings: Settings
    replica_id: str
    data: DataDir
    artifacts: LocalArtifactStore
    database: Database
    saved: LastKnownGood
    trust: Trust
    certificates: Certificates | None
    sandboxing: Sandboxing
    stdout: PatientOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What serves: the desired state, the workers that are held to it, and this replica's place in the fleet."""

    replica: Replica
    levers: LeverFrame | None
    caretaker: Caretaker
    workers: Workers
    forwarding: Forwarding
    membership: Membership
    deriving: Deriving
    reconciler: Reconciler


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changes the registry because somebody asks for it, and takes the change over here."""

    mutations: Mutations
    approving: Approving
    adoption: Adoption
    switching: Switching
    changing: Changing
    registering: Registering
    quantizing: Quantizing
    signing: Signing


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What looks after blobs, trusted keys and the history without being asked."""

    scrubber: Scrubber
    following: TrustFollowing
    auditing: Auditing


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All of them, with what is asked from outside; each holds the others that it needs."""

    metrics: ControlMetrics
    serving: Serving
    changes: Changes
    upkeep: Upkeep
    downloading: Downloading
    standing: Standing
    health: ReplicaHealth
    admin: AdminServicer


def build(ground: Ground, stopping: Callable[[], bool]) -> Parts:
    """Make all parts, none of them started; `stopping` says whether the process is about to end."""
    boot, settings, database = ground.boot, ground.settings, ground.database
    metrics = ControlMetrics()
    serving = _serving(ground, metrics, stopping)
    changes = _changes(ground, metrics, serving)
    upkeep = _upkeep(ground, metrics, serving)
    diffing = Diffing(settings, ground.artifacts, database)
    downloading = Downloading(settings, ground.data.downloads, ground.artifacts, database)
    standing = Standing(
        serving.membership,
        Addresses(boot.inference_address, boot.http_address, boot.admin_address),
        database,
        serving.replica,
        serving.workers,
        ground.sandboxing,
        not_copied=lambda: upkeep.auditing.why_not_copied,
        not_taken=lambda: ground.saved.refused,
    )
    metrics.watch(standing.gauges)
    admin = AdminServicer(
        database,
        changes.mutations,
        changes.switching,
        changes.changing,
        changes.registering,
        changes.quantizing,
        diffing,
        downloading,
        standing,
        changes.signing,
        ground.trust,
        upkeep.auditing,
        changes.approving,
    )
    return Parts(
        metrics=metrics,
        serving=serving,
        changes=changes,
        upkeep=upkeep,
        downloading=downloading,
        standing=standing,
        health=ReplicaHealth(standing, serving.workers),
        admin=admin,
    )


def _serving(ground: Ground, metrics: ControlMetrics, stopping: Callable[[], bool]) -> Serving:
    boot, settings, database = ground.boot, ground.settings, ground.database
    levers = _levers()
    replica = Replica(ground.artifacts.path, levers, ground.trust.distrust)
    caretaker = Caretaker(boot.runtime_dir, replica, lambda: _health_limits(settings))
    store = DerivedStore(ground.data.root)
    forms = Forms(store, lambda: workers.reported.provider, enabled=settings.derived_cache_bytes > 0)
    sockets = {f"worker-{index}": worker_socket(boot.runtime_dir, index) for index in range(settings.workers)}
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
        replica_id=ground.replica_id,
        address=boot.admin_address,
        inference=boot.inference_address,
        shared=bool(settings.db),
    )
    deriving = Deriving(store, forms, settings, metrics, database, replica, workers)
    participant = Participant(database, replica, workers, membership, deriving)
    reconciler = Reconciler(database, replica, workers, ground.saved, membership, participant, poll_s=_poll_s(settings))
    reconciler.subscribe(deriving.look)
    workers.subscribe(deriving.watch)
    return Serving(
        replica=replica,
        levers=levers,
        caretaker=caretaker,
        workers=workers,
        forwarding=forwarding,
        membership=membership,
        deriving=deriving,
        reconciler=reconciler,
    )


def _changes(ground: Ground, metrics: ControlMetrics, serving: Serving) -> Changes:
    settings, data, artifacts, database = ground.settings, ground.data, ground.artifacts, ground.database
    replica, workers, membership, deriving = serving.replica, serving.workers, serving.membership, serving.deriving
    mutations = Mutations(database, metrics)
    approving = Approving(settings, database, mutations)
    adoption = Adoption(database, replica, workers, metrics, serving.reconciler.changed, serving.levers)
    switching = Switching(
        database,
        mutations,
        replica,
        workers,
        membership,
        Rollouts(database, membership, timeout_s=settings.prepare_timeout_s),
        deriving,
        adoption,
        serving.caretaker.pardon,
        approving.needed,
    )
    uploads = Uploads(settings, data.uploads, metrics)
    registering = Registering(settings, uploads, artifacts, database, mutations, adoption, deriving, ground.trust)
    return Changes(
        mutations=mutations,
        approving=approving,
        adoption=adoption,
        switching=switching,
        changing=Changing(database, mutations, replica, adoption),
        registering=registering,
        quantizing=Quantizing(settings, data.uploads, artifacts, database, mutations, registering),
        signing=Signing(database, mutations, adoption, ground.trust),
    )


def _upkeep(ground: Ground, metrics: ControlMetrics, serving: Serving) -> Upkeep:
    settings, state, database = ground.settings, ground.data.state, ground.database
    scrubber = Scrubber(
        database,
        ground.artifacts,
        metrics,
        state,
        every_s=settings.scrub_every_s,
        bytes_per_s=settings.scrub_bytes_per_s,
    )
    following = TrustFollowing(ground.trust, serving.replica, serving.workers, database, serving.reconciler.changed)
    auditing = Auditing(database, settings, state, ground.replica_id, ground.stdout)
    return Upkeep(scrubber=scrubber, following=following, auditing=auditing)


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
