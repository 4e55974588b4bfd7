"""Diffs in the control process: what bounds them, and what they refuse."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from interlock.errors import DataLoss, DeadlineExceeded, ResourceExhausted, VersionNotFound
from interlock.model import VersionState
from interlock.types import ModelRef
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.domain import Action
from interlock_server.control import diffing
from interlock_server.control.database import Database
from interlock_server.control.diffing import Diffing
from interlock_server.reloading import take_over
from interlock_server.settings import Settings

from tests.unit.server.rig import Rig, attempt

FIRST, SECOND = ModelRef("m", version=1), ModelRef("m", version=2)


async def two_versions(rig: Rig, **changes: object) -> Diffing:
    for scale in (1.0, 2.0):
        await rig.add(scale=scale)
    return Diffing(Settings.load({"data": rig.data.root, **changes}, None), rig.artifacts, rig.database)


def at(settings: Settings) -> Diffing:
    """Return one whose registry is not opened: enough for taking turns."""
    database = Database(settings.database_url, keep_depth=1, backup_dir=settings.data, check=lambda: None)
    return Diffing(settings, LocalArtifactStore(settings.blobs), database)


async def test_only_so_many_run_and_wait_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await two_versions(rig)
    monkeypatch.setattr(diffing, "_WAITING", 1)
    answers = await asyncio.gather(*(found.diff(FIRST, SECOND) for _ in range(4)), return_exceptions=True)
    refused = [each for each in answers if isinstance(each, ResourceExhausted)]
    assert len(refused) == 2 and refused[0].retry_after_s
    async with asyncio.timeout(60), found._turn():
        pass  # there is room again


async def test_one_that_waits_for_its_turn_does_not_wait_forever(rig: Rig) -> None:
    found = await two_versions(rig, diff_timeout_s=0.2)
    async with found._turn():
        with pytest.raises(ResourceExhausted, match=r"within 0\.2 s"):
            await found.diff(FIRST, SECOND)


async def test_so_many_run_at_once_as_the_setting_says_now(tmp_path: Path) -> None:
    settings = Settings.load({"data": tmp_path, "max_diffs": 2, "diff_timeout_s": 0.01}, None)
    found = at(settings)
    async with found._turn(), found._turn():
        with pytest.raises(ResourceExhausted):
            await found._turn().__aenter__()
        assert take_over(settings, settings.model_copy(update={"max_diffs": 3})) == ("max_diffs",)
        async with found._turn():
            pass
        take_over(settings, settings.model_copy(update={"max_diffs": 1}))
    async with found._turn():
        with pytest.raises(ResourceExhausted):
            await found._turn().__aenter__()


async def test_whoever_waits_for_a_turn_gets_the_next(tmp_path: Path) -> None:
    found = at(Settings.load({"data": tmp_path}, None))
    order: list[str] = []

    async def wait(name: str) -> None:
        async with found._turn():
            order.append(name)
            await asyncio.sleep(0)

    async with found._turn():
        waiting = [asyncio.create_task(wait(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0)
        assert order == []
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    assert order == ["first", "second", "third"]


async def test_a_comparison_that_takes_too_long_is_stopped(rig: Rig) -> None:
    found = await two_versions(rig, diff_timeout_s=0.01)
    with pytest.raises(DeadlineExceeded, match="diff_timeout_s"):
        await found.diff(FIRST, SECOND)


async def test_a_caller_who_leaves_makes_room(rig: Rig) -> None:
    found = await two_versions(rig)
    left = asyncio.create_task(found.diff(FIRST, SECOND))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert (await found.diff(FIRST, SECOND)).after.version == 2


async def test_weights_that_are_gone_are_said_to_be_gone(rig: Rig) -> None:
    found = await two_versions(rig)
    manifest = await rig.database.read(lambda registry: registry.manifest("m", 2))
    rig.artifacts.path(manifest.graph.digest).unlink()
    with pytest.raises(DataLoss, match=manifest.graph.digest):
        await found.diff(FIRST, SECOND)


async def test_a_deleted_version_is_compared_without_its_weights(rig: Rig) -> None:
    found = await two_versions(rig)
    await rig.database.write(lambda registry: registry.retire(attempt(Action.RETIRE, version=1)))
    await rig.database.write(lambda registry: registry.delete(attempt(Action.DELETE, version=1)))
    answer = await found.diff(FIRST, SECOND)
    assert answer.before.state is VersionState.DELETED
    assert answer.replayed.why == "version 1 is deleted, and its weights may be gone"
    assert [each.after for each in answer.metadata if each.name == "state"] == ["VALIDATED"]


async def test_a_version_that_is_not_there_is_not_compared(rig: Rig) -> None:
    found = await two_versions(rig)
    with pytest.raises(VersionNotFound):
        await found.diff(FIRST, ModelRef("m", version=9))
