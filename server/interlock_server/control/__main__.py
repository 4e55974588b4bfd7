"""The control process: opens what it stands on, starts its parts in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

from interlock.errors import InterlockError, InternalError, RegistryUnavailable, StartupRefused
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.sql.naming import database_name
from interlock_registry.tool import Sandbox

from interlock_server.certificates import Certificates
from interlock_server.control.announcing import announce
from interlock_server.control.database import Database
from interlock_server.control.identity import replica_id
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.listening import Listeners
from interlock_server.control.patient_output import PATIENCE_S, PatientOutput
from interlock_server.control.sandboxing import Sandboxing
from interlock_server.control.wiring import Ground, Parts, build
from interlock_server.process import logs
from interlock_server.process.boot import Boot, freeze_heap, receive, refuse
from interlock_server.process.datadir import DataDir
from interlock_server.process.heart import beat
from interlock_server.reloading import Reloader
from interlock_server.settings import Settings
from interlock_server.trust.keeper import Trust
from interlock_server.waiting import changes_of, saying

log = logging.getLogger("interlock.control")


async def run(boot: Boot, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloader = Reloader(boot, settings)
    beating = asyncio.create_task(beat(boot.heartbeat))
    try:
        ground = await _open(boot, settings)
    except StartupRefused as error:
        return refuse(error.message)
    parts = build(ground, stop.is_set)
    listeners = Listeners(ground, parts)
    announcing = await _start(ground, parts, listeners)

    def follow() -> None:
        parts.serving.forwarding.timeout_s = settings.default_deadline_s
        listeners.follow()
        if ground.database.keep(settings.keep_depth):
            parts.serving.reconciler.reread()

    reloader.subscribe(follow)
    if ground.certificates is not None:
        ground.certificates.watch()
        reloader.subscribe(ground.certificates.reread)
    reloader.listen(loop)

    await stop.wait()
    parts.standing.stopping = True
    parts.health.changed()
    announcing.cancel()
    await _stop(ground, parts, listeners)
    beating.cancel()
    return 0


async def _open(boot: Boot, settings: Settings) -> Ground:
    """Open what everything stands on; a registry that is away is opened later. Raises StartupRefused."""
    artifacts = _artifacts(settings)
    sandboxing = Sandboxing(Sandbox(settings.sandbox))
    try:
        await sandboxing.check()
    except InternalError as error:
        raise StartupRefused(error.message) from error
    data = DataDir(settings.data)
    trust = Trust(settings, data.state)
    saved = LastKnownGood(data.state, database_name(settings.database_url, settings.data, os.environ))
    database = Database(
        settings.database_url,
        keep_depth=settings.keep_depth,
        backup_dir=data.state,
        check=lambda: None if settings.db else _check_not_lost(data, saved),
    )
    certificates = Certificates(settings.certificates) if settings.certificates else None
    try:
        await database.open()
    except RegistryUnavailable as error:
        log.error("the registry cannot be opened: %s", error.message)
    return Ground(
        boot=boot,
        settings=settings,
        replica_id=replica_id(data.state),
        data=data,
        artifacts=artifacts,
        database=database,
        saved=saved,
        trust=trust,
        certificates=certificates,
        sandboxing=sandboxing,
        stdout=PatientOutput(1, PATIENCE_S),
    )


def _artifacts(settings: Settings) -> LocalArtifactStore:
    try:
        store = LocalArtifactStore(settings.blobs)
        os.scandir(settings.blobs).close()
    except OSError as error:
        raise StartupRefused(
            f"the directory of the blobs {str(settings.blobs)!r} cannot be used ({error.strerror}); mend it, or name "
            "another in the setting artifacts (INTERLOCK_ARTIFACTS)"
        ) from error
    return store


async def _start(ground: Ground, parts: Parts, listeners: Listeners) -> asyncio.Task[None]:
    """Start everything; return the task that says when all is ready."""
    serving, upkeep = parts.serving, parts.upkeep
    for sweep in (parts.changes.registering.sweep, parts.downloading.sweep):
        await asyncio.to_thread(_swept, sweep)
    await serving.deriving.start()
    await serving.reconciler.start()
    changed = asyncio.Event()
    serving.workers.subscribe(changed.set)
    serving.caretaker.start(parts.changes.switching, serving.membership)
    serving.workers.start()
    await listeners.start()
    serving.membership.open()
    announcing = asyncio.create_task(announce(parts.standing, changed, ground.boot, ground.stdout))
    upkeep.scrubber.start()
    upkeep.following.start()
    upkeep.auditing.start()
    return announcing


def _swept(sweep: Callable[[], None]) -> None:
    try:
        sweep()
    except (OSError, InterlockError) as error:  # of a disk, it may be: those who change nothing are served all the same
        log.error("what was left half-way before is not cleared away: %s", error)


async def _stop(ground: Ground, parts: Parts, listeners: Listeners) -> None:
    """Stop everything; changes that go on have their grace."""
    serving, upkeep = parts.serving, parts.upkeep
    grace_s = ground.settings.drain_grace_s
    if ground.certificates is not None:
        await ground.certificates.close()
    await ground.trust.close()
    await upkeep.auditing.close()
    await serving.caretaker.close()
    await upkeep.scrubber.close()
    async with saying(log, lambda: changes_of(parts.changes.mutations.running)):
        await listeners.stop_admin(grace_s)
        await parts.changes.mutations.close(grace_s)
    await listeners.stop_http()
    await serving.forwarding.close()
    await serving.deriving.close()
    await serving.reconciler.close()
    await serving.workers.close()
    if serving.levers is not None:
        serving.levers.close()
    await asyncio.to_thread(ground.database.close)


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
