"""Two replicas on one registry, each a whole control process and a worker, inside the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from interlock.errors import Aborted, Preempted, PrepareFailed, WorkerUnavailable
from interlock.model import MutationOptions, ServableState, Switch
from interlock_registry.domain import Action
from interlock_registry.fleet import Heartbeat, Resident, Rollout, Vote
from interlock_server.control import reconciler
from interlock_server.rpc.worker_link import WorkerReport
from interlock_server.snapshot import VersionKey
from interlock_server.worker.engine import Engine

from tests.databases import POSTGRESQL, SQLITE, Cluster, Place, fresh
from tests.support import eventually_async
from tests.unit.server.rig import Rig, attempt, preparing, running


@dataclass
class Two:
    a: Rig
    b: Rig

    async def everywhere(self, version: int, alias: str = "stable") -> None:
        await eventually_async(
            lambda: (self.a.live(alias=alias), self.b.live(alias=alias)) == (version, version),
            f"both serve version {version}",
        )


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the registry of both is."""
    if request.param == SQLITE:
        return fresh(tmp_path / "shared.db")
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.new()


@pytest.fixture
async def two(engine: Engine, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr(reconciler, "_SWEEP_EVERY_S", 0.1)
    async with AsyncExitStack() as stack:
        a, b = [
            await stack.enter_async_context(
                running(engine, tmp_path / name, replica_id=name, db=place.url, artifacts=str(tmp_path / "blobs"))
            )
            for name in ("a", "b")
        ]
        await eventually_async(lambda: not a.membership.alone and not b.membership.alone, "they see each other")
        yield Two(a, b)


async def promote(rig: Rig, version: int, *, wait_s: float = 0.0) -> Switch:
    options = MutationOptions(wait_s=wait_s)
    return await rig.switching.promote(attempt(Action.PROMOTE, "m", version, "stable"), options)


async def rollback(rig: Rig, *, wait_s: float = 0.0) -> Switch:
    options = MutationOptions(wait_s=wait_s)
    return await rig.switching.rollback(attempt(Action.ROLLBACK, "m", 0, "stable"), options)


async def on_two(two: Two) -> None:
    """Version 2 is live, 1 under it, both loaded in both."""
    for scale in (1.0, 2.0):
        await promote(two.a, await two.a.add(scale=scale), wait_s=10)
    for rig in (two.a, two.b):
        await eventually_async(lambda rig=rig: rig.workers.resident(VersionKey("m", 1)), "1 is resident")  # type: ignore[misc]


async def test_a_promote_prepares_every_replica_before_it_commits(two: Two) -> None:
    version = await two.a.add()
    switch = await promote(two.a, version)
    assert two.a.live() == version
    # The other one follows with its next look; the version is loaded there already.
    assert any(
        each.spec.key == VersionKey("m", 1) and each.state is ServableState.READY for each in two.b.catalog.servables()
    )
    assert (switch.lagging, switch.late) == ((), ())
    await two.everywhere(version)


async def test_who_waits_is_answered_when_every_replica_serves_it(two: Two) -> None:
    version = await two.a.add()
    switch = await promote(two.b, version, wait_s=10)
    assert (two.a.live(), two.b.live(), switch.late) == (version, version, ())
    await promote(two.b, await two.a.add(scale=2.0), wait_s=10)
    assert (two.a.live(), two.b.live()) == (2, 2)
    await rollback(two.a, wait_s=10)
    assert (two.a.live(), two.b.live()) == (1, 1)


async def test_a_replica_that_fails_to_load_fails_the_promote_by_name(two: Two) -> None:
    await promote(two.a, await two.a.add(), wait_s=10)
    version = await two.a.add(scale=2.0)
    broken = asyncio.Event()

    async def fail(*_: object) -> None:
        broken.set()
        raise PrepareFailed("m", version, "worker-0: out of memory")

    two.b.workers.prepare = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(PrepareFailed, match=r"replica b:3 \(b\): worker-0: out of memory"):
        await promote(two.a, version)
    assert broken.is_set()
    assert (two.a.live(), two.b.live()) == (1, 1)
    for rig in (two.a, two.b):
        await eventually_async(lambda rig=rig: len(rig.catalog.servables()) == 1, "the candidate is dropped")  # type: ignore[misc]
    assert (await two.a.events())[-1] == ("promote", "PREPARE_FAILED")


async def test_a_rollback_reaches_both_and_loads_nothing(two: Two) -> None:
    await on_two(two)
    switch = await rollback(two.b)
    assert (switch.to_version, switch.resident, switch.prepare_s) == (1, True, 0.0)
    await two.everywhere(1)


async def test_a_rollback_commits_at_once_if_half_have_the_version_and_the_rest_catches_up(two: Two) -> None:
    await on_two(two)
    # Its worker has lost the version, as a crash and a slow load afterwards would look.
    empty = replace(two.a.replica.snapshot(), epoch=99, keep=(), routes=())
    two.a.catalog.apply(empty)
    await eventually_async(lambda: not two.a.workers.reported.ready_everywhere, "it is known to be gone")
    assert await two.b.membership.resident_on_half("m", [1, 2, 3]) == {1, 2}
    switch = await rollback(two.b)
    assert switch.resident
    assert two.b.live() == 1


async def lose_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a replica find no worker any more, and tell the fleet."""
    (worker,) = rig.workers._workers

    async def nobody(*_: object, **__: object) -> WorkerReport:
        raise WorkerUnavailable("worker-0 does not answer: it is down")

    for name in ("report", "apply", "prepare"):
        monkeypatch.setattr(worker.link, name, nobody)
    monkeypatch.setattr(worker.link, "listener", lambda: 0)
    worker.wake.set()
    await eventually_async(lambda: not rig.workers.reported.any_reachable, "its worker is missed")
    await eventually_async(lambda: not rig.membership.has_news, "the fleet knows")


async def test_a_rollback_without_a_worker_is_prepared_by_those_who_have_one(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rig in (two.a, two.b):
        rig.database.keep(0)  # so that what is under the live version is not loaded
    for scale in (1.0, 2.0, 3.0):
        await promote(two.a, await two.a.add(scale=scale))
    await lose_worker(two.a, monkeypatch)
    switch = await rollback(two.a)
    states = {each.spec.version: each.state for each in two.b.catalog.servables()}
    assert states.get(2) is ServableState.READY, "it was committed before it was loaded where it can be"
    assert (switch.to_version, switch.resident, switch.lagging) == (2, False, ("worker-0",))
    await eventually_async(lambda: two.b.live() == 2, "the other follows")

    await lose_worker(two.b, monkeypatch)
    assert (await rollback(two.a)).to_version == 1, "nobody who has no worker holds it up"


async def test_a_rollback_on_one_replica_overtakes_a_promote_that_the_other_leads(two: Two) -> None:
    await on_two(two)
    stuck = await two.a.add_stuck()
    waiting = await preparing(two.a, promote_quietly(two.a, stuck))
    await rollback(two.b)
    with pytest.raises(Preempted, match="a rollback by ada to version 1"):
        await waiting
    two.a.let_go()
    await two.everywhere(1)


async def promote_quietly(rig: Rig, version: int) -> None:
    await promote(rig, version)


async def test_a_replica_that_dies_while_it_is_waited_for_is_waited_for_no_longer(two: Two, place: Place) -> None:
    version = await two.a.add()
    said = heartbeat("ghost")
    await two.a.database.note(lambda registry: registry.fleet.beat(said, None))
    set_moment(place, "replicas", "seen_at", FAR, "replica = 'ghost'")
    waiting = asyncio.create_task(promote(two.a, version))
    await eventually_async(lambda: two.b.workers.reported.ready_everywhere != frozenset(), "the other one has prepared")
    assert not waiting.done()
    set_moment(place, "replicas", "seen_at", LONG_AGO)
    assert (await asyncio.wait_for(waiting, 60)).to_version == version
    await two.everywhere(version)


LONG_AGO, FAR = "2026-01-01 00:00:00.000000", "2100-01-01 00:00:00.000000"


def set_moment(place: Place, table: str, column: str, moment: str, which: str = "true") -> None:
    with place.sql() as connection:
        connection.execute(f"UPDATE {table} SET {column} = '{moment}' WHERE {which}")


async def test_a_coordinator_that_is_lost_blocks_nobody(two: Two, place: Place) -> None:
    version = await two.a.add()
    lost = Rollout(
        rollout="r-lost",
        action="promote",
        model="m",
        alias="stable",
        version=version,
        coordinator="ghost",
        actor="eve",
        reason="",
        request_id="r-7",
    )
    await two.a.database.note(lambda registry: registry.fleet.open(lost))
    for rig in (two.a, two.b):
        await eventually_async(lambda rig=rig: len(rig.catalog.servables()) == 1, "it is prepared")  # type: ignore[misc]
    set_moment(place, "rollouts", "lease_until", FAR)
    # Meanwhile another promote of the same alias goes through, and does not wait for the lease.
    await asyncio.wait_for(promote(two.b, version), 60)
    await eventually_async(lambda: two.a.live() == two.b.live() == version, "both serve it")
    set_moment(place, "rollouts", "lease_until", LONG_AGO)
    await until_event(two.a, ("promote", "ABORTED"))


async def until_event(rig: Rig, event: tuple[str, str]) -> None:
    async def happened() -> bool:
        return event in await rig.events()

    await eventually_async(happened, f"the event {event}")


async def test_a_replica_that_joins_serves_what_the_others_serve(
    engine: Engine, two: Two, tmp_path: Path, place: Place
) -> None:
    await on_two(two)
    async with running(engine, tmp_path / "c", replica_id="c", db=place.url, artifacts=str(tmp_path / "blobs")) as c:
        await eventually_async(lambda: c.live() == 2, "the third serves it")
        await eventually_async(lambda: len(two.a.membership.replicas) == 3, "it is seen")
        await promote(c, await two.b.add(scale=3.0), wait_s=10)
        assert (two.a.live(), two.b.live(), c.live()) == (3, 3, 3)
    await eventually_async(lambda: len(two.a.membership.replicas) == 2, "it has left")
    assert (await asyncio.wait_for(rollback(two.a, wait_s=600), 60)).late == ()
    assert (two.a.live(), two.b.live()) == (2, 2)


async def test_status_lists_the_fleet(two: Two) -> None:
    await eventually_async(
        lambda: all(each.ready for each in two.a.membership.replicas), "both say that they are ready"
    )
    status = two.a.standing.status()
    assert [(each.replica, each.live, each.ready, each.admin_address) for each in status.replicas] == [
        ("a", True, True, "a:3"),
        ("b", True, True, "b:3"),
    ]


async def test_a_replica_whose_services_do_not_answer_yet_is_live_and_not_ready(
    engine: Engine, tmp_path: Path, place: Place
) -> None:
    root = tmp_path / "r"
    async with running(engine, root, answering=False, db=place.url, artifacts=str(tmp_path / "blobs")) as rig:
        await eventually_async(lambda: not rig.membership.has_news, "its heartbeat says all that there is")
        (said,) = (await rig.membership.look()).replicas
        assert (said.live, said.ready) == (True, False)
        rig.membership.open()
        assert rig.membership.has_news
        await rig.membership.beat()
        (said,) = (await rig.membership.look()).replicas
        assert (said.live, said.ready) == (True, True)


async def test_a_coordinator_that_lost_its_lease_commits_nothing(two: Two) -> None:
    version = await two.a.add()
    stuck = two.b.workers.prepare

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    two.b.workers.prepare = never  # type: ignore[method-assign, assignment]
    waiting = asyncio.create_task(promote(two.a, version))

    async def begun() -> bool:
        return bool((await two.b.membership.look()).rollouts)

    await eventually_async(begun, "the rollout has begun")
    (rollout,) = (await two.b.membership.look()).rollouts
    await two.b.database.note(
        lambda registry: registry.fleet.vote(rollout.rollout, Vote(replica="b", boot="other", prepared=True))
    )
    await two.b.database.note(lambda registry: registry.fleet.end(rollout.rollout))
    with pytest.raises(Aborted, match="gave no sign of life"):
        await waiting
    assert two.a.live() is None
    two.b.workers.prepare = stuck  # type: ignore[method-assign]


def heartbeat(replica: str) -> Heartbeat:
    return Heartbeat(
        replica=replica,
        boot="only",
        address=f"{replica}:3",
        inference_address=f"{replica}:1",
        epoch=0,
        ready=True,
        residents=frozenset({Resident("other", 1)}),
    )
