"""A worker process: builds everything, starts in order, stops in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from interlock.errors import StartupRefused

from interlock_server.certificates import Certificates
from interlock_server.front.aio import AioFront
from interlock_server.front.choice import choose
from interlock_server.process import logs
from interlock_server.process.boot import Boot, control_socket, freeze_heap, receive, refuse, worker_socket
from interlock_server.reloading import Reloader
from interlock_server.rpc import worker_service
from interlock_server.rpc.control_link import ControlLink
from interlock_server.settings import Settings
from interlock_server.worker.assembly import inference_handler
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.engine import Engine
from interlock_server.worker.health import Health
from interlock_server.worker.loader import Loader
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.repository import RepositoryAnswers
from interlock_server.worker.shared_memory import SharedMemory

log = logging.getLogger("interlock.worker")


async def run(boot: Boot, settings: Settings, engine: Engine) -> int:
    """Serve until SIGTERM or SIGINT, then drain: health first, then the port, then the versions; return the status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloader = Reloader(boot, settings)

    try:
        certificates = Certificates(settings.certificates) if settings.certificates else None
        front = await choose(settings.front, settings, certificates)
    except StartupRefused as error:
        return refuse(error.message)
    catalog = Catalog(Loader(engine), settings.drain_grace_s)
    health = Health(catalog)
    metrics = WorkerMetrics(catalog)
    servicer = worker_service.WorkerServicer(
        catalog,
        health,
        metrics,
        index=boot.worker,
        provider=engine.choice.provider,
        front=front.name,
        address=boot.inference_address,
        prepare_timeout_s=settings.prepare_timeout_s,
    )
    path = worker_socket(boot.runtime_dir, boot.worker)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # the socket of a predecessor that was killed
    shared = SharedMemory(enabled=settings.shared_memory)
    control = ControlLink(control_socket(boot.runtime_dir))
    repository = RepositoryAnswers(catalog, control.standing)
    handler = inference_handler(settings, catalog, metrics, health, shared, repository)
    # The control process forwards REST's requests to the same methods, whatever front the port has.
    inside = AioFront(settings)
    internal = await worker_service.start(servicer, path, lambda server: inside.mount(handler, server))
    await front.start(handler, boot.inference_address)

    def follow() -> None:
        catalog.drain_grace_s = settings.drain_grace_s

    if certificates is not None:
        certificates.watch()
        reloader.subscribe(certificates.reread)
    reloader.subscribe(follow)
    reloader.listen(loop)
    log.info("serving", extra={"address": boot.inference_address, "front": front.name})

    await stop.wait()
    if certificates is not None:
        await certificates.close()
    log.info("draining", extra={"in_flight": sum(each.status().in_flight for each in catalog.servables())})
    health.drain()
    await front.stop(settings.drain_grace_s)
    await repository.close()
    await control.close()
    await asyncio.to_thread(catalog.drain_all)
    await internal.stop(1.0)
    await inside.stop(0.0)
    shared.close()
    return 0


def main() -> int:
    """Run a worker; return the exit status."""
    boot = receive()
    settings = Settings.model_validate_json(boot.settings_json)
    logs.configure(f"worker-{boot.worker}", settings.log_level, settings.log_format)
    try:
        engine = Engine(settings.providers, settings.intra_op_threads)
    except StartupRefused as error:
        return refuse(error.message)
    log.info("execution provider %s (%s)", engine.choice.provider, engine.choice.reason)
    freeze_heap()
    return asyncio.run(run(boot, settings, engine))


if __name__ == "__main__":
    sys.exit(main())
