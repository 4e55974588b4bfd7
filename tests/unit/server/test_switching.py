from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from interlock.errors import (
    GenerationConflict,
    IncompatibleSignature,
    InterlockError,
    NothingToRollBack,
    Preempted,
    PrepareFailed,
    RegistryUnavailable,
    VersionNotFound,
)
from interlock.model import MutationOptions, ServableState
from interlock.types import DType, ModelRef
from interlock_registry.domain import Action, Committed
from interlock_registry.manifest import Blob
from interlock_registry.registry import Registry
from interlock_server.control.admission import Room
from interlock_server.control.workers import Prepared
from interlock_server.rpc.worker_link import WorkerLink, WorkerReport
from interlock_server.snapshot import VersionKey, VersionSpec

from tests.support import eventually_async
from tests.unit.server.builders import sha256, signature
from tests.unit.server.rig import Rig, attempt, preparing, with_key

OK = "ok"


async def test_a_promote_loads_proves_and_then_switches(rig: Rig) -> None:
    version = await rig.add()
    assert rig.live() is None
    switch = await rig.switching.promote(attempt(Action.PROMOTE, "m", version, "stable"), MutationOptions())
    assert (switch.from_version, switch.to_version, switch.generation, switch.stack) == (0, 1, 1, ())
    assert not switch.resident and switch.prepare_s > 0 and switch.lagging == ()
    assert rig.live() == version
    assert rig.catalog.resolve(ModelRef("m")).servable.state is ServableState.READY
    assert await rig.events() == [("register", OK), ("promote", OK)]


async def test_a_rollback_to_a_resident_version_loads_nothing(rig: Rig) -> None:
    for scale in (1.0, 2.0):
        await rig.promote(await rig.add(scale=scale))
    await eventually_async(lambda: rig.workers.resident(VersionKey("m", 1)), "version 1 is known to be resident")
    switch = await rig.switching.rollback(attempt(Action.ROLLBACK, "m", 0, "stable"), MutationOptions())
    assert (switch.from_version, switch.to_version, switch.resident, switch.prepare_s) == (2, 1, True, 0.0)
    assert rig.live() == 1


async def test_a_rollback_needs_no_message_to_the_workers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for scale in (1.0, 2.0):
        await rig.promote(await rig.add(scale=scale))
    await eventually_async(lambda: rig.workers.way_back("m", "stable") is not None, "every worker knows the way back")
    before, apply, gate = rig.catalog.epoch, WorkerLink.apply, asyncio.Event()

    async def late(link: WorkerLink, *request: Any, **more: Any) -> WorkerReport:
        await gate.wait()
        return await apply(link, *request, **more)

    monkeypatch.setattr(WorkerLink, "apply", late)
    async with asyncio.timeout(30):
        await rig.rollback()
    assert (rig.live(), rig.catalog.epoch) == (1, before)
    assert rig.workers.way_back("m", "stable") is None, "until they have the whole picture nobody goes on by lever"
    gate.set()
    await eventually_async(lambda: rig.catalog.epoch > before, "the whole picture follows")
    assert rig.live() == 1


async def test_where_there_is_no_lever_a_rollback_sends_the_workers_the_picture(rig: Rig) -> None:
    for scale in (1.0, 2.0, 3.0):
        await rig.promote(await rig.add(scale=scale))
    await eventually_async(lambda: rig.workers.resident(VersionKey("m", 2)), "version 2 is known to be resident")
    await rig.rollback(1)
    assert (rig.live(), rig.catalog.epoch) == (1, rig.replica.epoch)


async def test_after_a_rollback_the_next_way_back_is_loaded_and_the_version_left_is_dropped(rig: Rig) -> None:
    for scale in (1.0, 2.0, 3.0):
        await rig.promote(await rig.add(scale=scale))
    await eventually_async(lambda: rig.workers.resident(VersionKey("m", 2)), "version 2 is known to be resident")
    await rig.rollback()
    assert rig.live() == 2
    await eventually_async(
        lambda: {each.spec.version for each in rig.catalog.servables()} == {1, 2}, "1 is loaded and 3 is dropped"
    )
    await eventually_async(lambda: rig.workers.resident(VersionKey("m", 1)), "version 1 is known to be resident")
    switch = await rig.switching.rollback(attempt(Action.ROLLBACK, "m", 0, "stable"), MutationOptions())
    assert (switch.to_version, switch.resident) == (1, True)


async def test_a_rollback_after_another_process_moved_the_alias_goes_back_from_there(rig: Rig) -> None:
    for scale in (1.0, 2.0, 3.0):
        await rig.add(scale=scale)
    await rig.promote(1)
    await rig.promote(2)
    await rig.reconciler.close()

    def elsewhere(registry: Registry) -> None:
        move = registry.plan_promote("m", 3)
        registry.commit_move(move, attempt(Action.PROMOTE, version=3, alias="stable"), "{}")

    await rig.database.write(elsewhere)
    await rig.rollback()
    assert rig.live() == 2
    assert (await rig.events())[-1] == ("rollback", OK)


async def test_a_rollback_with_a_key_is_answered_twice_and_done_once(rig: Rig) -> None:
    for scale in (1.0, 2.0):
        await rig.promote(await rig.add(scale=scale))
    asked = with_key(attempt(Action.ROLLBACK, "m", 0, "stable"), "k")
    first = await rig.switching.rollback(asked, MutationOptions())
    again = await rig.switching.rollback(asked, MutationOptions())
    assert (again.from_version, again.to_version, again.generation) == (first.from_version, 1, first.generation)
    assert [action for action, _ in await rig.events()].count("rollback") == 1


async def test_a_version_that_fails_to_load_changes_nothing(rig: Rig) -> None:
    await rig.promote(await rig.add())
    source = rig.data.root / "broken.onnx"
    source.write_bytes(b"nonsense")
    blob = rig.artifacts.add(source, sha256=sha256(source))
    broken = await rig.add(graph=Blob(blob.digest, blob.size_bytes))
    with pytest.raises(PrepareFailed, match="worker-0: ONNX Runtime cannot load it"):
        await rig.promote(broken)
    assert rig.live() == 1
    assert (await rig.events())[-1] == ("promote", "PREPARE_FAILED")
    await eventually_async(lambda: len(rig.catalog.servables()) == 1, "the candidate was dropped")


@pytest.mark.parametrize(
    ("version", "options", "error"),
    [
        (9, MutationOptions(), VersionNotFound),
        (1, MutationOptions(expected_generation=7), GenerationConflict),
    ],
)
async def test_a_refused_plan_is_recorded_and_nothing_is_loaded(
    rig: Rig, version: int, options: MutationOptions, error: type[InterlockError]
) -> None:
    await rig.add()
    with pytest.raises(error):
        await rig.switching.promote(attempt(Action.PROMOTE, "m", version, "stable"), options)
    assert (await rig.events())[-1] == ("promote", error.reason)
    assert rig.catalog.servables() == ()


async def test_callers_are_not_broken_unless_that_is_allowed(rig: Rig) -> None:
    await rig.promote(await rig.add())
    other = await rig.add(said=replace(signature(), outputs=signature(DType.FP64).outputs))
    with pytest.raises(IncompatibleSignature):
        await rig.promote(other)
    assert rig.live() == 1


async def test_nothing_to_roll_back_to_is_refused(rig: Rig) -> None:
    await rig.promote(await rig.add())
    with pytest.raises(NothingToRollBack):
        await rig.rollback()
    assert (await rig.events())[-1] == ("rollback", "NOTHING_TO_ROLL_BACK")


async def test_a_dry_run_changes_nothing_and_leaves_no_event(rig: Rig) -> None:
    await rig.add()
    before = await rig.events()
    switch = await rig.switching.promote(attempt(Action.PROMOTE, "m", 1, "stable"), MutationOptions(dry_run=True))
    assert (switch.dry_run, switch.resident, switch.to_version) == (True, False, 1)
    assert await rig.events() == before
    assert rig.live() is None


async def test_a_pin_loads_a_version_and_its_end_unloads_it(rig: Rig) -> None:
    await rig.add()
    pin, unpin = attempt(Action.PIN, version=1), attempt(Action.UNPIN, version=1)
    await rig.changing.change(pin, lambda registry: registry.pin(pin))
    await eventually_async(lambda: rig.workers.resident(VersionKey("m", 1)), "it is loaded")
    assert rig.standing.ready
    await rig.changing.change(unpin, lambda registry: registry.unpin(unpin))
    await eventually_async(lambda: rig.catalog.servables() == (), "it is unloaded")


# --- rollback against promote ---


async def test_a_rollback_overtakes_a_promote_that_is_still_preparing(rig: Rig) -> None:
    for scale in (1.0, 2.0):
        await rig.promote(await rig.add(scale=scale))
    stuck = await rig.add_stuck()
    promote = await preparing(rig, rig.promote(stuck))
    await rig.rollback()
    assert rig.live() == 1
    with pytest.raises(Preempted, match="overtaken by a rollback by ada to version 1"):
        await promote
    assert (await rig.events())[-2:] == [("rollback", OK), ("promote", "PREEMPTED")]
    await eventually_async(
        lambda: VersionKey("m", stuck) not in {each.spec.key for each in rig.catalog.servables()},
        "the candidate was dropped",
    )


async def test_a_rollback_of_another_alias_overtakes_nothing(rig: Rig) -> None:
    for scale in (1.0, 2.0):
        version = await rig.add(scale=scale)
        await rig.promote(version)
        await rig.promote(version, alias="canary")
    promote = await preparing(rig, rig.promote(await rig.add_stuck()))
    await rig.rollback(alias="canary")
    assert not promote.done()
    rig.let_go()
    with pytest.raises(PrepareFailed):
        await promote


async def test_a_candidate_stays_loaded_whatever_else_is_switched_meanwhile(rig: Rig) -> None:
    first, second = await rig.add(scale=1.0), await rig.add(scale=2.0)
    other = await rig.add("other")
    await rig.promote(first)
    worker_prepare = rig.workers.prepare
    seen: list[ServableState] = []

    async def prepare_and_meddle(spec: VersionSpec) -> Prepared:
        prepared = await worker_prepare(spec)
        if spec.key == VersionKey("m", second):
            await rig.promote(other, "other")
            seen.append(rig.catalog.resolve(ModelRef("m", version=second)).servable.state)
        return prepared

    rig.workers.prepare = prepare_and_meddle  # type: ignore[method-assign]
    await rig.promote(second)
    assert seen == [ServableState.READY]
    assert (rig.live(), rig.live("other")) == (second, other)
    assert rig.catalog.resolve(ModelRef("m")).servable.state is ServableState.READY


async def test_a_snapshot_on_its_way_does_not_drop_a_candidate_that_it_does_not_know(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scale in (1.0, 2.0):
        await rig.add(scale=scale)
    await rig.promote(1)
    link = rig.workers._workers[0].link
    apply, under_way, arrives = link.apply, asyncio.Event(), asyncio.Event()

    async def late(*given: Any, **named: Any) -> WorkerReport:
        under_way.set()
        await arrives.wait()
        return await apply(*given, **named)

    monkeypatch.setattr(link, "apply", late)
    syncing = asyncio.create_task(rig.workers.sync())
    await under_way.wait()
    promoting = asyncio.create_task(rig.promote(2))
    await asyncio.wait({promoting}, timeout=0.5)  # long enough for the candidate to be loaded, if it were asked for
    seen: list[ServableState] = []
    rig.catalog.subscribe(lambda: seen.append(rig.catalog.resolve(ModelRef("m")).servable.state))
    arrives.set()
    await asyncio.gather(syncing, promoting)
    assert rig.live() == 2
    assert set(seen) == {ServableState.READY}


async def test_of_two_promotes_of_one_alias_one_wins_and_the_other_is_told(rig: Rig) -> None:
    for scale in (1.0, 2.0, 3.0):
        await rig.add(scale=scale)
    results = await asyncio.gather(*(rig.promote(version) for version in (1, 2, 3)), return_exceptions=True)
    assert all(result is None or isinstance(result, GenerationConflict) for result in results), results
    winners = [version for version, result in zip((1, 2, 3), results, strict=True) if result is None]
    assert rig.live() in winners
    outcomes = [outcome for action, outcome in await rig.events() if action == "promote"]
    assert len(outcomes) == 3 and outcomes.count(OK) == len(winners)
    assert rig.catalog.resolve(ModelRef("m")).servable.state is ServableState.READY


async def test_switches_of_many_models_at_once_never_lead_to_an_unloaded_version(rig: Rig) -> None:
    names = [f"m{number}" for number in range(6)]
    for name in names:
        for scale in (1.0, 2.0):
            await rig.add(name, scale=scale)
    await asyncio.gather(*(rig.promote(1, name) for name in names))
    stop = asyncio.Event()
    found: list[str] = []

    async def look() -> None:
        while not stop.is_set():
            found.extend(
                f"{name}: {servable.state.value}"
                for name in names
                if (servable := rig.catalog.resolve(ModelRef(name)).servable).state is not ServableState.READY
            )
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    for _ in range(3):
        await asyncio.gather(*(rig.promote(2, name) for name in names))
        await asyncio.gather(*(rig.rollback(0, name) for name in names))
    stop.set()
    await looking
    assert found == []
    assert {rig.live(name) for name in names} == {1}


# --- the commit is the point of no return ---


async def test_a_commit_that_cannot_be_read_back_is_answered_and_taken_over_later(rig: Rig) -> None:
    await rig.promote(await rig.add())
    await rig.add(scale=2.0)
    read = rig.database.read
    down = asyncio.Event()

    async def failing(call: Callable[[object], object]) -> object:
        if down.is_set():
            raise RegistryUnavailable("the disk is gone")
        return await read(call)

    def gap(committed: Committed) -> bool:
        down.set()
        return False

    replace_model = rig.replica.replace_model
    rig.database.read = failing  # type: ignore[method-assign, assignment]
    rig.replica.replace_model = gap  # type: ignore[method-assign]
    switch = await rig.switching.promote(attempt(Action.PROMOTE, "m", 2, "stable"), MutationOptions())
    assert (switch.to_version, switch.lagging) == (2, ("worker-0",))
    rig.replica.replace_model = replace_model  # type: ignore[method-assign]
    down.clear()
    await eventually_async(lambda: rig.live() == 2, "the reconciler takes it over")
    assert [each for each in await rig.events() if each[0] == "promote"] == [("promote", OK)] * 2


async def test_a_caller_that_leaves_does_not_stop_a_change(rig: Rig) -> None:
    await rig.add()
    prepare, entered, gate = rig.workers.prepare, asyncio.Event(), asyncio.Event()

    async def held(spec: VersionSpec) -> Prepared:
        entered.set()
        await gate.wait()
        return await prepare(spec)

    rig.workers.prepare = held  # type: ignore[method-assign]
    task = asyncio.create_task(rig.promote(1))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await eventually_async(lambda: rig.live() == 1 and not rig.mutations._tasks, "it is done all the same")
    assert (await rig.events())[-1] == ("promote", OK)


async def test_a_version_that_does_not_fit_is_refused_before_it_is_loaded(rig: Rig) -> None:
    await rig.promote(await rig.add())
    size = 1 << 20
    spec = replace(rig.replica.kept("m")[0], version=9, memory_bytes=40 * size)
    rig.workers._room = lambda: Room(available_bytes=60 * size, reserve_bytes=30 * size)
    with pytest.raises(PrepareFailed, match=r"takes 40\.0 MiB .* this machine has 60\.0 MiB left .* 30\.0 MiB must"):
        await rig.workers.prepare(spec)
    rig.workers._room = lambda: Room(available_bytes=1 << 50, worker_bytes=size)
    with pytest.raises(PrepareFailed, match=r"worker-0 holds .* more than max_worker_bytes \(1\.0 MiB\)"):
        await rig.workers.prepare(spec)
    assert {each.spec.version for each in rig.catalog.servables()} == {1}
    assert (await rig.workers.prepare(rig.replica.kept("m")[0])).resident, "what is loaded needs no room"
