"""Derived forms from order to load: the real model tool, a real worker."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from interlock.model import LoadedFrom
from interlock_registry.derived import Held
from interlock_registry.derived_store import DerivedStore, files_of
from interlock_registry.domain import Action
from interlock_server.snapshot import VersionKey
from interlock_server.worker.engine import Engine

from tests import models
from tests.support import eventually_async
from tests.unit.server.batching import Outcome, settle, work
from tests.unit.server.rig import Rig, attempt, running

CAP = 400_000
"""Room for two of the forms of `content`, not for three."""


@pytest.fixture
async def rig(engine: Engine, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(engine, tmp_path / "data", derived_min_bytes=10_000, derived_cache_bytes=CAP) as rig:
        await eventually_async(lambda: rig.workers.reported.provider == "CPU", "the worker says what it runs on")
        yield rig


def content(seed: int) -> bytes:
    """A model of 83 KB whose every version has other weights; its form is 166 KB."""
    return models.mlp(width=2, hidden=140, classes=2, layers=2, seed=seed)


def held(rig: Rig) -> tuple[Held, ...]:
    return DerivedStore(rig.data.root).held()


def loaded_from(rig: Rig, version: int) -> LoadedFrom | None:
    return next(
        (each.loaded_from for each in rig.catalog.servables() if each.spec.key == VersionKey("m", version)), None
    )


def metric(rig: Rig, name: str) -> float:
    return next(float(line.split()[-1]) for line in rig.metrics.text().decode().splitlines() if line.startswith(name))


async def test_a_promote_makes_the_form_and_loads_from_it(rig: Rig) -> None:
    version = await rig.add(content=content(1))
    assert held(rig) == ()
    await rig.promote(version)
    (one,) = held(rig)
    assert loaded_from(rig, version) is LoadedFrom.DERIVED
    assert metric(rig, "interlock_derived_forms ") == 1
    assert metric(rig, "interlock_derived_bytes ") > 100_000
    assert metric(rig, 'interlock_derived_forms_made_total{outcome="made"}') == 1
    used = one.used_at
    await rig.promote(await rig.add(content=content(1)))  # the same bytes again: the same form
    (one,) = held(rig)
    assert one.used_at >= used
    assert loaded_from(rig, 2) is LoadedFrom.DERIVED


async def test_a_promote_waits_for_its_form_whatever_is_switched_meanwhile(rig: Rig) -> None:
    version = await rig.add(content=content(1))
    promote = asyncio.create_task(rig.promote(version))
    await eventually_async(lambda: rig.deriving._making is not None, "its form is being made")
    await rig.workers.sync()
    await promote
    assert loaded_from(rig, version) is LoadedFrom.DERIVED


async def test_a_small_model_is_loaded_as_it_is(rig: Rig) -> None:
    version = await rig.add()
    await rig.promote(version)
    assert held(rig) == ()
    assert loaded_from(rig, version) is LoadedFrom.ARTIFACT


async def test_a_new_version_gets_its_form_ahead(rig: Rig) -> None:
    await rig.deriving.registered("m", await rig.add(content=content(1)))
    await rig.deriving.registered("m", await rig.add())  # too small for one
    await rig.deriving.registered("m", 9)  # not there
    await eventually_async(lambda: len(held(rig)) == 1, "its form is made")
    assert rig.catalog.servables() == ()


async def test_the_longest_unused_form_makes_room_and_a_rollback_waits_for_none(engine: Engine, tmp_path: Path) -> None:
    root = tmp_path / "data"
    async with running(engine, root, derived_min_bytes=0, derived_cache_bytes=CAP, keep_depth=0) as rig:
        for seed in (1, 2, 3):
            await rig.promote(await rig.add(content=content(seed)))
            assert loaded_from(rig, seed) is LoadedFrom.DERIVED
        assert len(held(rig)) == 2  # the first one's made room for the third
        assert metric(rig, "interlock_derived_forms_evicted_total") == 1
        await rig.rollback(version=1)
        assert loaded_from(rig, 1) is LoadedFrom.ARTIFACT
        made = 'interlock_derived_forms_made_total{outcome="made"}'
        await eventually_async(lambda: metric(rig, made) == 4, "it is made again behind the rollback")
        await rig.promote(3)
        assert loaded_from(rig, 3) in (LoadedFrom.DERIVED, LoadedFrom.ARTIFACT)  # 2 or 3 made room
        await rig.rollback(version=1)
        assert (rig.live(), len(held(rig))) == (1, 2)


async def test_what_is_kept_is_never_dropped_for_room_and_nothing_is_made_in_vain_twice(
    engine: Engine, tmp_path: Path
) -> None:
    async with running(engine, tmp_path / "data", derived_min_bytes=0, derived_cache_bytes=200_000) as rig:
        refused = 'interlock_derived_forms_made_total{outcome="refused"}'
        for seed in (1, 2):
            await rig.promote(await rig.add(content=content(seed)))
        (one,) = held(rig)
        assert (loaded_from(rig, 1), loaded_from(rig, 2)) == (LoadedFrom.DERIVED, LoadedFrom.ARTIFACT)
        assert metric(rig, refused) == 1
        await rig.promote(await rig.add())  # small; now version 1 is not kept any more, so there is room for 2
        await eventually_async(lambda: {each.form.key for each in held(rig)} - {one.form.key} != set(), "made")
        assert metric(rig, refused) == 1


async def test_a_form_that_is_damaged_is_made_again(rig: Rig) -> None:
    version = await rig.add(content=content(1))
    await rig.promote(version)
    (before,) = held(rig)
    await rig.promote(await rig.add(content=content(2)))
    await rig.promote(await rig.add(content=content(2)))
    await eventually_async(lambda: loaded_from(rig, version) is None, "version 1 is unloaded")
    rig.catalog._loader._verified.clear()  # as a worker that was started again
    folder = rig.data.root / "derived"
    for blob in before.form.own:
        (folder / blob.digest).chmod(0o600)
        (folder / blob.digest).write_bytes(bytes(blob.size_bytes))
    drop = rig.deriving._store.drop

    def fail(keys: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    rig.deriving._store.drop = fail  # type: ignore[method-assign]
    await rig.rollback(version=version)
    assert loaded_from(rig, version) is LoadedFrom.FALLBACK
    async with asyncio.timeout(60):  # the disk, which does not let the damaged form go, holds no promote up
        await rig.promote(await rig.add(content=content(3)), alias="other")
    rig.deriving._store.drop = drop  # type: ignore[method-assign]
    rig.deriving.look()

    def whole() -> bool:
        store = DerivedStore(rig.data.root)
        return any(
            each.form.key == before.form.key
            and all(path.exists() and any(path.read_bytes()) for _, path in files_of(store.root, each.form))
            for each in store.held()
        )

    await eventually_async(whole, "the form is made again")


async def test_a_server_whose_forms_are_deleted_goes_on_and_makes_them_again(rig: Rig) -> None:
    version = await rig.add(content=content(1))
    await rig.promote(version)
    assert loaded_from(rig, version) is LoadedFrom.DERIVED
    before = answered(rig, version)
    shutil.rmtree(rig.data.root / "derived")
    for graph in rig.data.root.glob("derived-*.onnx"):
        graph.unlink()
    assert answered(rig, version) == before
    other = await rig.add(content=content(2))
    await rig.promote(other)
    assert loaded_from(rig, other) is LoadedFrom.DERIVED
    await rig.rollback()
    assert (rig.live(), answered(rig, version)) == (version, before)
    rig.catalog._loader._verified.clear()  # as a worker that was started again
    await rig.promote(await rig.add())
    await rig.promote(await rig.add())
    await rig.promote(version)
    assert (loaded_from(rig, version), answered(rig, version)) == (LoadedFrom.DERIVED, before)


def answered(rig: Rig, version: int) -> bytes:
    """What a version's session makes of ones."""
    (servable,) = (each for each in rig.catalog.servables() if each.spec.key == VersionKey("m", version))
    batcher = servable.lease()
    assert batcher is not None
    outcome = Outcome()
    batcher.submit(work(outcome))
    settle(outcome)
    servable.release()
    return outcome.answers[0].tobytes()


async def test_what_the_model_tool_refuses_is_not_asked_of_it_again(rig: Rig) -> None:
    source = rig.data.root / "broken.onnx"
    source.write_bytes(b"nonsense" * 2000)
    broken = await rig.add(content=source.read_bytes())
    for _ in range(2):
        with pytest.raises(Exception, match="ONNX Runtime cannot load it"):
            await rig.promote(broken)
    assert metric(rig, 'interlock_derived_forms_made_total{outcome="refused"}') == 1


async def test_a_caller_that_stops_waiting_stops_nothing(rig: Rig) -> None:
    version = await rig.add(content=content(1))
    found = await rig.database.read(lambda registry: registry.desired_version("m", version))
    spec = rig.replica.spec(found)
    waiting = asyncio.create_task(rig.deriving.ensure(spec, make=True))
    joined = asyncio.create_task(rig.deriving.ensure(spec, make=True))
    await asyncio.sleep(0)
    waiting.cancel()
    await joined
    assert len(held(rig)) == 1
    assert metric(rig, 'interlock_derived_forms_made_total{outcome="made"}') == 1


async def test_a_rollback_overtakes_a_promote_whose_form_is_being_made(rig: Rig) -> None:
    for scale in (1.0, 2.0):
        await rig.promote(await rig.add(scale=scale))
    promote = asyncio.create_task(rig.promote(await rig.add(content=content(1))))
    await eventually_async(lambda: any(rig.data.root.glob("derived/.making-*")), "the form is being made")
    await rig.rollback()
    assert rig.live() == 1
    with pytest.raises(Exception, match="overtaken by a rollback"):
        await promote


async def test_none_is_made_where_the_setting_says_so(engine: Engine, tmp_path: Path) -> None:
    async with running(engine, tmp_path / "data", derived_min_bytes=0, derived_cache_bytes=0) as rig:
        await rig.promote(await rig.add(content=content(1)))
        assert held(rig) == () and loaded_from(rig, 1) is LoadedFrom.ARTIFACT


async def test_what_is_pinned_gets_its_form_behind_and_is_loaded_from_it_by_the_next_process(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep(store: DerivedStore) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(DerivedStore, "sweep", sweep)  # forms are made and used all the same
    root = tmp_path / "data"
    async with running(engine, root, derived_min_bytes=0) as rig:
        version = await rig.add(content=content(1))
        pin = attempt(Action.PIN, version=version)
        await rig.changing.change(pin, lambda registry: registry.pin(pin))
        await eventually_async(lambda: len(held(rig)) == 1, "its form is made")
        leftover = root / "derived" / ".making-1"
        leftover.write_bytes(b"half")
    monkeypatch.undo()
    async with running(engine, root, derived_min_bytes=0) as rig:
        assert loaded_from(rig, version) is LoadedFrom.DERIVED
        assert not leftover.exists()
        assert os.listdir(root / "derived") != []
