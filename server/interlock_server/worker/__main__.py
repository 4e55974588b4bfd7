"""A worker process: builds everything, starts in order, stops in reverse."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys

from interlock.errors import ResourceExhausted, StartupRefused

from interlock_server.access.board import Boards
from interlock_server.access.gate import Gate
from interlock_server.access.guard import GuardedHandler
from interlock_server.certificates import Certificates
from interlock_server.cores import Threads, threads, usable
from interlock_server.front.aio import AioFront
from interlock_server.front.choice import choose
from interlock_server.front.limits import Room
from interlock_server.process import logs
from interlock_server.process.boot import (
    Boot,
    agreed_settings,
    control_socket,
    freeze_heap,
    process_names,
    receive,
    refuse,
    worker_socket,
)
from interlock_server.process.deaths import notes_path
from interlock_server.process.notes import Notes
from interlock_server.reloading import Reloader
from interlock_server.rpc import worker_service
from interlock_server.rpc.control_link import ControlLink
from interlock_server.rpc.peers import Peers
from interlock_server.rpc.worker_link import WorkerLink
from interlock_server.settings import Settings
from interlock_server.waiting import requests_of, saying
from interlock_server.worker.assembly import inference_handler
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.cuda_memory import CudaFault, CudaMemory, load
from interlock_server.worker.engine import CPU, CUDA, Engine
from interlock_server.worker.health import Health
from interlock_server.worker.loader import Loader
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.replica_wide import ReplicaWide
from interlock_server.worker.repository import RepositoryAnswers
from interlock_server.worker.shared_memory import SharedMemory
from interlock_server.worker.trimming import Trimmer
from interlock_server.worker.vitality import take_vitals

log = logging.getLogger("interlock.worker")


async def run(boot: Boot, settings: Settings, engine: Engine, taken: Threads) -> int:
    """Serve until SIGTERM or SIGINT, then drain: health first, then the port, then the versions; return the status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloader = Reloader(boot, settings)

    room = Room(settings.max_in_flight_bytes)
    try:
        certificates = Certificates(settings.certificates) if settings.certificates else None
        front = await choose(settings.front, settings, certificates, room)
    except StartupRefused as error:
        return refuse(error.message)
    notes = Notes(notes_path(boot.runtime_dir, f"worker-{boot.worker}"))
    catalog = Catalog(Loader(engine, notes, settings.max_queue_wait_s), settings.drain_grace_s)
    health = Health(catalog)
    metrics = WorkerMetrics(catalog)
    shared = _shared_memory(settings, engine, room)
    control = ControlLink(control_socket(boot.runtime_dir))
    others = [index for index in range(settings.workers) if index != boot.worker]
    peers = Peers([WorkerLink(f"worker-{index}", worker_socket(boot.runtime_dir, index)) for index in others])
    repository = RepositoryAnswers(catalog, control.standing, peers)
    wide = ReplicaWide(catalog, peers, agreed_settings(boot.runtime_dir))
    handler = inference_handler(settings, catalog, metrics, health, shared, repository, wide)
    servicer = worker_service.WorkerServicer(
        catalog,
        health,
        metrics,
        handler.alone,
        index=boot.worker,
        provider=engine.choice.provider,
        threads=taken,
        front=front.name,
        address=boot.inference_address,
        prepare_timeout_s=settings.prepare_timeout_s,
        vitals=lambda: take_vitals(catalog, front),
    )
    # The control process forwards REST's requests to the same methods, whatever front the port has.
    inside = AioFront(settings)
    path = worker_socket(boot.runtime_dir, boot.worker)
    internal = worker_service.WorkerServer(servicer, path, lambda server: inside.mount(handler, server))
    async with wide.joining():
        await internal.start()
    # What comes over the unix socket was let through already; from outside, everybody is asked.
    gate = None
    if settings.auth == "on":
        boards = Boards.of(boot.runtime_dir, f"worker-{boot.worker}", process_names(settings.workers))
        gate = Gate(lambda: catalog.holders, settings.manners, boards)
    metrics.watch_gate(
        lambda: {ResourceExhausted.reason: front.turned_away, **({} if gate is None else gate.refused())}
    )
    outside = handler if gate is None else GuardedHandler(handler, gate)

    def follow() -> None:
        catalog.drain_grace_s = settings.drain_grace_s

    if certificates is not None:
        certificates.watch()
        reloader.subscribe(certificates.reread)
    reloader.subscribe(follow)
    reloader.listen(loop)
    trimmer = Trimmer()
    trimmer.start()
    if others:
        await _until_settled(catalog, stop)
    if not stop.is_set():
        await front.start(outside, boot.inference_address)
        health.join()
        log.info("serving", extra={"address": boot.inference_address, "front": front.name})

    await stop.wait()
    await trimmer.close()
    if certificates is not None:
        await certificates.close()
    log.info("draining", extra={"in_flight": sum(each.status().in_flight for each in catalog.servables())})
    health.drain()
    async with saying(log, lambda: requests_of(each.status() for each in catalog.servables())):
        await front.stop(settings.drain_grace_s)
        await repository.close()
        await wide.close()
        await peers.close()
        await control.close()
        await asyncio.to_thread(catalog.drain_all)
    await internal.stop(1.0)
    await inside.stop(0.0)
    shared.close()
    return 0


async def _until_settled(catalog: Catalog, stop: asyncio.Event) -> None:
    """Wait until there is something to answer with: the port is the other workers' too, and they can answer now."""
    loop = asyncio.get_running_loop()
    settled = asyncio.Event()

    def look() -> None:
        if catalog.settled and not settled.is_set():
            loop.call_soon_threadsafe(settled.set)

    catalog.subscribe(look)
    look()
    ends = [asyncio.create_task(event.wait()) for event in (settled, stop)]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()


def _check_provider(engine: Engine, workers: int) -> None:
    """Refuse several workers on one GPU; raises StartupRefused."""
    if workers > 1 and engine.choice.provider != CPU:
        raise StartupRefused(
            f"workers is {workers} and providers auto took {engine.choice.provider}, but every worker would put its "
            "own copy of each model on the GPU; start with --workers 1, or with --providers cpu"
        )


def _shared_memory(settings: Settings, engine: Engine, room: Room) -> SharedMemory:
    """Return the regions of callers' memory, on GPUs too where the engine uses them."""
    cuda = None
    if engine.choice.provider == CUDA:
        try:
            cuda = CudaMemory(load(), settings.gpu.devices)
        except CudaFault as error:
            log.warning("callers cannot pass tensors through CUDA memory: %s", error)
    return SharedMemory(enabled=settings.shared_memory, cuda=cuda, most=settings.max_message_bytes, room=room)


def main() -> int:
    """Run a worker; return the exit status."""
    boot = receive()
    settings = Settings.model_validate_json(boot.settings_json)
    logs.configure(f"worker-{boot.worker}", settings.log_level, settings.log_format)
    if settings.max_data_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (settings.max_data_bytes, settings.max_data_bytes))
    try:
        taken = threads(usable(), settings.workers, settings.intra_op_threads)
        engine = Engine(settings.providers, taken.count, settings.gpu)
        _check_provider(engine, settings.workers)
    except StartupRefused as error:
        return refuse(error.message)
    log.info("execution provider %s (%s)", engine.choice.provider, engine.choice.reason)
    log.info("threads of a version's runs: %d (%s)", taken.count, taken.reason)
    freeze_heap()
    return asyncio.run(run(boot, settings, engine, taken))


if __name__ == "__main__":
    sys.exit(main())
