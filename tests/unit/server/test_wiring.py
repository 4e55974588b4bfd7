"""The parts of a worker and of the control process, put together as in production, do what the settings say."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from interlock.errors import Overloaded, PrepareFailed, ResourceExhausted
from interlock.golden import Tolerance
from interlock.model import FileRole, ServableState, UploadFile, UploadHeader
from interlock_registry.registry import Registry
from interlock_server.control import wiring as control_wiring
from interlock_server.control.listening import Listeners
from interlock_server.control.uploads import Upload
from interlock_server.front.limits import COUNTED, Room
from interlock_server.process.datadir import DataDir
from interlock_server.reloading import take_over
from interlock_server.settings import Settings
from interlock_server.worker import wiring as worker_wiring
from interlock_server.worker.engine import Engine

from tests.databases import fresh
from tests.support import eventually_async
from tests.unit.registry.builders import Desk
from tests.unit.registry.warehouse import Warehouse
from tests.unit.server.batching import FOREVER, Asked, Outcome
from tests.unit.server.builders import snapshot, version_spec
from tests.unit.server.rig import at_work, control_ground, worker_ground


@dataclass(frozen=True)
class Wired:
    """Both processes' parts, none of them started."""

    ground: control_wiring.Ground
    room: Room
    worker: worker_wiring.Parts
    control: control_wiring.Parts


@asynccontextmanager
async def wired(engine: Engine, root: Path, **said: object) -> AsyncIterator[Wired]:
    settings = Settings.load({"data": root, **said}, None)
    with tempfile.TemporaryDirectory(prefix="wired-") as sockets:  # a unix socket's path must be short
        ground = control_ground(settings, sockets)
        below = worker_ground(engine, ground)
        worker, control = worker_wiring.build(below), control_wiring.build(ground, lambda: False)
        async with at_work(worker):
            try:
                yield Wired(ground, below.room, worker, control)
            finally:
                await control.upkeep.scrubber.close()
                await control.serving.forwarding.close()
                await control.serving.workers.close()
                if control.serving.levers is not None:
                    control.serving.levers.close()
                await asyncio.to_thread(ground.database.close)


async def test_what_a_worker_may_hold_and_how_long_requests_may_wait_are_the_settings(
    engine: Engine, tmp_path: Path
) -> None:
    async with wired(engine, tmp_path / "data", max_queue_wait_s=1e-9, max_in_flight_bytes=1 << 20) as found:
        found.control.serving.workers.start()
        spec = version_spec(tmp_path)
        found.worker.catalog.apply(snapshot(spec))
        await eventually_async(lambda: found.worker.health.ready, "the version is loaded")
        (servable,) = found.worker.catalog.servables()
        assert servable.state is ServableState.READY
        batcher = servable.lease()
        servable.release()
        assert batcher is not None
        batcher._crowd.ran(1, 1, 0.01, left=1)
        waiting = Asked(Outcome(), (), rows=1, deadline=FOREVER)
        with pytest.raises(Overloaded):
            batcher._crowd.check([waiting], time.monotonic(), waiting.rank, FOREVER, "a caller")

        await eventually_async(lambda: bool(found.control.serving.workers.reported.answering), "the worker is met")
        found.room.take(1 << 20)  # by what came to the inference port
        with pytest.raises(ResourceExhausted, match="max_in_flight_bytes"):
            await found.control.serving.forwarding.call("ModelInfer", bytes(COUNTED + 1))


async def test_memory_that_the_settings_reserve_keeps_a_version_from_being_loaded(
    engine: Engine, tmp_path: Path
) -> None:
    async with wired(engine, tmp_path / "data", memory_reserve_bytes=1 << 60) as found:
        found.control.serving.workers.start()
        await eventually_async(
            lambda: bool(found.control.serving.workers.reported.statuses[0].reachable), "the worker is met"
        )
        with pytest.raises(PrepareFailed, match="setting memory_reserve_bytes"):
            await found.control.serving.workers.prepare(replace(version_spec(tmp_path), memory_bytes=1))
        assert found.worker.catalog.servables() == ()


async def test_the_scrub_comes_as_often_and_reads_as_fast_as_the_settings_say(engine: Engine, tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    place = fresh(data.database)
    stocked = Warehouse.at(Desk(Registry.open(place.url), place), data.root)
    stocked.register("head", "backbone")
    digest = stocked.spoil("backbone")
    size = sum(each.size_bytes for each in stocked.registry.blobs.live())
    stamp = data.state / "last-scrub"
    stamp.touch()
    a_while_ago = time.time() - 100
    os.utime(stamp, (a_while_ago, a_while_ago))
    async with wired(engine, data.root, scrub_every_s=50, scrub_bytes_per_s=10 * size) as found:
        began = time.monotonic()
        found.control.upkeep.scrubber.start()
        await eventually_async(lambda: stamp.stat().st_mtime > a_while_ago + 50, "a pass was due, and is over")
        assert time.monotonic() - began > 0.08, "it takes a tenth of a second, however fast the machine is"
        assert digest in stocked.registry.blobs.damaged()
    stocked.registry.close()


async def test_golden_samples_may_ask_for_no_more_than_the_settings_allow(engine: Engine, tmp_path: Path) -> None:
    header = UploadHeader("m", (UploadFile("m.onnx", FileRole.MODEL, 1, "0" * 64),))
    async with wired(engine, tmp_path / "data", max_atol=1e-3, max_rtol=1e-4) as found:
        job = found.control.changes.registering._job(Upload(header, tmp_path), None)
        assert job.tolerance_caps == dict.fromkeys(("CPU", "CUDA"), Tolerance(1e-3, 1e-4))


async def test_all_that_waits_for_requests_follows_when_the_settings_change(engine: Engine, tmp_path: Path) -> None:
    async with wired(engine, tmp_path / "data", auth="on") as found:
        listeners, settings = Listeners(found.ground, found.control), found.ground.settings
        take_over(settings, settings.model_copy(update={"default_deadline_s": 7.0, "drain_grace_s": 3.0}))
        listeners.follow()
        assert listeners._guard is not None
        waits = (listeners._http.patience_s, listeners._rest._bodies.limits.read_timeout_s, listeners._guard.patience_s)
        assert waits == (7.0, 7.0, 7.0)
        assert listeners._http.config.timeout_graceful_shutdown == 3
