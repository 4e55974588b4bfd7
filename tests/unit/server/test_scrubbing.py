from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from interlock_registry.registry import Registry
from interlock_server.control.database import Database
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.scrubbing import Scrubber

from tests.databases import fresh
from tests.support import eventually_async
from tests.unit.registry.builders import Desk
from tests.unit.registry.warehouse import Warehouse, blob, content


@pytest.fixture
def stocked(tmp_path: Path) -> Iterator[Warehouse]:
    place = fresh(tmp_path / "registry.db")
    warehouse = Warehouse.at(Desk(Registry.open(place.url), place), tmp_path)
    warehouse.register("head", "backbone")
    yield warehouse
    warehouse.registry.close()


@asynccontextmanager
async def scrubbing(
    warehouse: Warehouse,
    metrics: ControlMetrics,
    *,
    every_s: float = 0.02,
    bytes_per_s: int = 1 << 30,
    state: Path | None = None,
) -> AsyncIterator[Scrubber]:
    database = Database(warehouse.desk.place.url, keep_depth=1, backup_dir=warehouse.root, check=lambda: None)
    await database.open()
    scrubber = Scrubber(
        database, warehouse.store, metrics, state or warehouse.root, every_s=every_s, bytes_per_s=bytes_per_s
    )
    scrubber.start()
    try:
        yield scrubber
    finally:
        await scrubber.close()
        await scrubber.close()
        await asyncio.to_thread(database.close)


def counted(metrics: ControlMetrics, line: str) -> float:
    return next(float(each.split()[-1]) for each in metrics.text().decode().splitlines() if each.startswith(line))


async def test_damage_is_found_told_and_forgotten_when_it_is_mended(stocked: Warehouse) -> None:
    digest = stocked.spoil("backbone")
    metrics = ControlMetrics()
    async with scrubbing(stocked, metrics):
        await eventually_async(lambda: digest in stocked.registry.blobs.damaged(), "the damage is noted")
        version = stocked.registry.versions("digits").items[0]
        assert version.damage.startswith(f"blob {digest} is damaged: its bytes have the sha256")
        await eventually_async(lambda: counted(metrics, "interlock_damaged_blobs") == 1, "it is measured")
        rounds = counted(metrics, 'interlock_scrub_blobs_total{outcome="damaged"}')
        await eventually_async(
            lambda: counted(metrics, 'interlock_scrub_blobs_total{outcome="damaged"}') > rounds + 1, "it goes on"
        )
        assert [each.action for each in stocked.registry.events().items] == ["damage", "register"], "one event only"

        stocked.put(content("backbone"))
        await eventually_async(lambda: not stocked.registry.blobs.damaged(), "the mark is cleared")
        await eventually_async(lambda: counted(metrics, "interlock_damaged_blobs") == 0, "it is measured")
    assert [each.action for each in stocked.registry.events().items] == ["mend", "damage", "register"]


async def test_a_file_that_cannot_be_read_keeps_no_other_from_being_scrubbed(stocked: Warehouse) -> None:
    digests = sorted(each.digest for each in stocked.registry.blobs.live())
    first, last = (stocked.store.path(digest) for digest in (digests[0], digests[-1]))
    first.rename(stocked.root / "elsewhere")
    first.symlink_to(stocked.root / "elsewhere")
    last.chmod(0o600)
    last.write_bytes(bytes(last.stat().st_size))
    metrics = ControlMetrics()
    async with scrubbing(stocked, metrics):
        await eventually_async(lambda: set(stocked.registry.blobs.damaged()) == {digests[-1]}, "it came to the last")
        unread = 'interlock_scrub_blobs_total{outcome="unread"}'
        await eventually_async(lambda: counted(metrics, unread) > 1, "another pass was due")
    assert (stocked.root / "last-scrub").exists()


async def test_a_state_directory_that_cannot_be_read_for_a_while_does_not_end_it(
    stocked: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    digest = stocked.spoil("backbone")
    state = stocked.root / "state"
    state.write_bytes(b"")
    async with scrubbing(stocked, ControlMetrics(), state=state):
        await eventually_async(lambda: "Not a directory" in caplog.text, "nobody can tell when a pass is due")
        state.unlink()
        state.mkdir()
        await eventually_async(lambda: digest in stocked.registry.blobs.damaged(), "it goes on")


async def test_a_pass_comes_when_it_is_due_and_not_at_each_start(stocked: Warehouse) -> None:
    stocked.spoil("backbone")
    (stocked.root / "last-scrub").touch()
    metrics = ControlMetrics()
    async with scrubbing(stocked, metrics, every_s=3600.0):
        await asyncio.sleep(0.2)
    assert counted(metrics, "interlock_scrub_bytes_total") == 0
    long_ago = time.time() - 3601
    os.utime(stocked.root / "last-scrub", (long_ago, long_ago))
    async with scrubbing(stocked, metrics, every_s=3600.0):
        await eventually_async(lambda: bool(stocked.registry.blobs.damaged()), "it was due")


async def test_it_reads_at_the_allowed_rate_and_stops_at_once(stocked: Warehouse) -> None:
    metrics = ControlMetrics()
    async with scrubbing(stocked, metrics, bytes_per_s=1):
        await eventually_async(lambda: counted(metrics, "interlock_scrub_bytes_total") > 0, "it has begun")
        began = time.monotonic()
    assert time.monotonic() - began < 60, "a piece of hundreds of bytes at 1 byte a second is not waited for"
    assert counted(metrics, 'interlock_scrub_blobs_total{outcome="whole"}') == 0
    assert blob("backbone").size_bytes > 100


async def test_every_0_is_never(stocked: Warehouse) -> None:
    stocked.spoil("backbone")
    metrics = ControlMetrics()
    async with scrubbing(stocked, metrics, every_s=0):
        await asyncio.sleep(0.1)
    assert counted(metrics, "interlock_scrub_bytes_total") == 0
