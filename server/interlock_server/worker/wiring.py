"""A worker's parts, each given what it needs. `__main__` starts and stops them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from interlock.errors import ResourceExhausted

from interlock_server.access.board import Boards
from interlock_server.access.gate import Gate
from interlock_server.access.guard import GuardedHandler
from interlock_server.certificates import Certificates
from interlock_server.cores import Threads
from interlock_server.front.aio import AioFront
from interlock_server.front.limits import Room
from interlock_server.front.seam import Front, Handler
from interlock_server.process.boot import Boot, agreed_settings, control_socket, process_names, worker_socket
from interlock_server.process.deaths import notes_path
from interlock_server.process.notes import Notes
from interlock_server.rpc.control_link import ControlLink
from interlock_server.rpc.peers import Peers
from interlock_server.rpc.worker_link import WorkerLink
from interlock_server.rpc.worker_service import WorkerServer, WorkerServicer
from interlock_server.settings import Settings
from interlock_server.worker.assembly import inference_handler
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.cuda_memory import CudaFault, CudaMemory, load
from interlock_server.worker.engine import CUDA, Engine
from interlock_server.worker.health import Health
from interlock_server.worker.inference import InferenceHandler
from interlock_server.worker.loader import Loader
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.replica_wide import ReplicaWide
from interlock_server.worker.repository import RepositoryAnswers
from interlock_server.worker.shared_memory import SharedMemory
from interlock_server.worker.vitality import take_vitals

log = logging.getLogger("interlock.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What everything stands on: made at the start, which is refused where that fails."""

    boot: Boot
    settings: Settings
    engine: Engine
    threads: Threads
    """Of a version's runs."""
    certificates: Certificates | None
    room: Room
    """What large messages are counted in, however they come."""
    front: Front


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is started, stopped or asked from outside; each holds the others that it needs."""

    catalog: Catalog
    health: Health
    shared: SharedMemory
    control: ControlLink
    peers: Peers
    repository: RepositoryAnswers
    wide: ReplicaWide
    inside: AioFront
    """The methods of the inference port for the control process, which forwards REST's requests."""
    internal: WorkerServer
    handler: InferenceHandler
    outside: Handler
    """What the inference port is served by."""


def build(ground: Ground) -> Parts:
    """Make all parts, none of them started."""
    boot, settings, engine = ground.boot, ground.settings, ground.engine
    notes = Notes(notes_path(boot.runtime_dir, f"worker-{boot.worker}"))
    catalog = Catalog(Loader(engine, notes, settings.max_queue_wait_s), settings.drain_grace_s)
    health = Health(catalog)
    metrics = WorkerMetrics(catalog)
    shared = _shared_memory(settings, engine, ground.room)
    control = ControlLink(control_socket(boot.runtime_dir))
    others = [index for index in range(settings.workers) if index != boot.worker]
    peers = Peers([WorkerLink(f"worker-{index}", worker_socket(boot.runtime_dir, index)) for index in others])
    repository = RepositoryAnswers(catalog, control.standing, peers)
    wide = ReplicaWide(catalog, peers, agreed_settings(boot.runtime_dir))
    handler = inference_handler(settings, catalog, metrics, health, shared, repository, wide)
    servicer = WorkerServicer(
        catalog,
        health,
        metrics,
        handler.alone,
        index=boot.worker,
        provider=engine.choice.provider,
        threads=ground.threads,
        front=ground.front.name,
        address=boot.inference_address,
        prepare_timeout_s=settings.prepare_timeout_s,
        vitals=lambda: take_vitals(catalog, ground.front),
    )
    # The control process forwards REST's requests to the same methods, whatever front the port has.
    inside = AioFront(settings, room=ground.room)
    path = worker_socket(boot.runtime_dir, boot.worker)
    internal = WorkerServer(servicer, path, lambda server: inside.mount(handler, server))
    # What comes over the unix socket was let through already; from outside, everybody is asked.
    gate = _gate(boot, settings, catalog)
    metrics.watch_gate(
        lambda: {ResourceExhausted.reason: ground.front.turned_away, **({} if gate is None else gate.refused())}
    )
    return Parts(
        catalog=catalog,
        health=health,
        shared=shared,
        control=control,
        peers=peers,
        repository=repository,
        wide=wide,
        inside=inside,
        internal=internal,
        handler=handler,
        outside=handler if gate is None else GuardedHandler(handler, gate),
    )


def _gate(boot: Boot, settings: Settings, catalog: Catalog) -> Gate | None:
    if settings.auth == "off":
        return None
    boards = Boards.of(boot.runtime_dir, f"worker-{boot.worker}", process_names(settings.workers))
    return Gate(lambda: catalog.holders, settings.manners, boards)


def _shared_memory(settings: Settings, engine: Engine, room: Room) -> SharedMemory:
    """Return the regions of callers' memory, on GPUs too where the engine uses them."""
    cuda = None
    if engine.choice.provider == CUDA:
        try:
            cuda = CudaMemory(load(), settings.gpu.devices)
        except CudaFault as error:
            log.warning("callers cannot pass tensors through CUDA memory: %s", error)
    return SharedMemory(enabled=settings.shared_memory, cuda=cuda, most=settings.max_message_bytes, room=room)
