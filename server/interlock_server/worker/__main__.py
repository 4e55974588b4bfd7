"""A worker process: builds everything, starts in order, stops in reverse."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys

from interlock.errors import StartupRefused

from interlock_server.certificates import Certificates
from interlock_server.cores import Threads, threads, usable
from interlock_server.front.choice import choose
from interlock_server.front.limits import Room
from interlock_server.process import logs
from interlock_server.process.boot import Boot, freeze_heap, receive, refuse
from interlock_server.reloading import Reloader
from interlock_server.settings import Settings
from interlock_server.waiting import requests_of, saying
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.engine import CPU, Engine
from interlock_server.worker.trimming import Trimmer
from interlock_server.worker.wiring import Ground, Parts, build

log = logging.getLogger("interlock.worker")


async def run(boot: Boot, settings: Settings, engine: Engine, taken: Threads) -> int:
    """Serve until SIGTERM or SIGINT, then drain: health first, then the port, then the versions; return the status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloader = Reloader(boot, settings)
    try:
        ground = await _open(boot, settings, engine, taken)
    except StartupRefused as error:
        return refuse(error.message)
    parts = build(ground)
    async with parts.wide.joining():
        await parts.internal.start()
    _follow(reloader, ground, parts)
    reloader.listen(loop)
    trimmer = Trimmer()
    trimmer.start()
    if settings.workers > 1:
        await _until_settled(parts.catalog, stop)
    if not stop.is_set():
        await ground.front.start(parts.outside, boot.inference_address)
        parts.health.join()
        log.info("serving", extra={"address": boot.inference_address, "front": ground.front.name})

    await stop.wait()
    await trimmer.close()
    await _stop(ground, parts)
    return 0


async def _open(boot: Boot, settings: Settings, engine: Engine, taken: Threads) -> Ground:
    """Make what everything stands on; raises StartupRefused."""
    room = Room(settings.max_in_flight_bytes)
    certificates = Certificates(settings.certificates) if settings.certificates else None
    front = await choose(settings.front, settings, certificates, room)
    return Ground(
        boot=boot,
        settings=settings,
        engine=engine,
        threads=taken,
        certificates=certificates,
        room=room,
        front=front,
    )


def _follow(reloader: Reloader, ground: Ground, parts: Parts) -> None:
    """Have those parts follow SIGHUP that keep something made of the settings or of certificates."""

    def follow() -> None:
        parts.catalog.drain_grace_s = ground.settings.drain_grace_s

    if ground.certificates is not None:
        ground.certificates.watch()
        reloader.subscribe(ground.certificates.reread)
    reloader.subscribe(follow)


async def _stop(ground: Ground, parts: Parts) -> None:
    """Let what runs end, within the grace, and close everything."""
    if ground.certificates is not None:
        await ground.certificates.close()
    servables = parts.catalog.servables
    log.info("draining", extra={"in_flight": sum(each.status().in_flight for each in servables())})
    parts.health.drain()
    parts.handler.drain()
    async with saying(log, lambda: requests_of(each.status() for each in servables())):
        await ground.front.stop(ground.settings.drain_grace_s)
        await parts.repository.close()
        await parts.wide.close()
        await parts.peers.close()
        await parts.control.close()
        await asyncio.to_thread(parts.catalog.drain_all)
    await parts.internal.stop(1.0)
    await parts.inside.stop(0.0)
    parts.shared.close()


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
