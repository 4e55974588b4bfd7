from __future__ import annotations

import asyncio
import errno
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio
import pytest
from interlock.errors import DeadlineExceeded, PrepareFailed, RegistryUnavailable, WorkerUnavailable
from interlock.model import ServableState
from interlock.types import ModelRef
from interlock.v1 import worker_pb2, worker_pb2_grpc
from interlock_registry.domain import Action, Desired
from interlock_registry.registry import Registry
from interlock_server.control import database
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.membership import Membership
from interlock_server.control.workers import Workers
from interlock_server.process.boot import switch_socket
from interlock_server.rpc.worker_link import WorkerLink, WorkerReport
from interlock_server.snapshot import Snapshot, VersionKey
from interlock_server.worker.engine import Engine

from tests import databases, models
from tests.support import eventually_async
from tests.unit.server.builders import bare_spec, snapshot, version_spec
from tests.unit.server.rig import Rig, attempt, running


def promote_elsewhere(rig: Rig, version: int, model: str = "m") -> None:
    """Promote as another process would: behind this one's back."""
    registry = Registry.open(databases.of(rig.data.root).url)
    try:
        move = registry.plan_promote(model, version, "stable")
        registry.commit_move(move, attempt(Action.PROMOTE, model, version, "stable"), "{}")
    finally:
        registry.close()


async def test_what_another_process_commits_is_taken_over(rig: Rig) -> None:
    await rig.add()
    await asyncio.to_thread(promote_elsewhere, rig, 1)
    await eventually_async(lambda: rig.live() == 1, "the alias moved here too")


async def test_a_commit_of_ours_after_one_of_another_takes_over_both(rig: Rig) -> None:
    await rig.add("a")
    await rig.add("b")
    await rig.reconciler.close()
    await asyncio.to_thread(promote_elsewhere, rig, 1, "a")
    await rig.promote(1, "b")
    assert (rig.live("a"), rig.live("b")) == (1, 1)


async def test_what_the_runtime_of_an_earlier_program_passed_and_ours_does_not_is_not_served_and_its_alias_stays(
    rig: Rig, tmp_path: Path
) -> None:
    await rig.promote(await rig.add())
    passed = await rig.add(golden=models.affine_golden(tmp_path / "other-answers.npz", scale=2.0))
    with pytest.raises(PrepareFailed, match="golden check: output 'y' is off by"):
        await rig.promote(passed)
    assert rig.live() == 1
    await asyncio.to_thread(promote_elsewhere, rig, passed)  # it was live when the program was updated

    def failed() -> bool:
        return any(
            each.spec.version == passed and each.state is ServableState.FAILED and "golden check" in each.reason
            for each in rig.catalog.servables()
        )

    await eventually_async(failed, "it is FAILED with the reason")
    alias = await rig.database.read(lambda registry: registry.alias("m", "stable"))
    assert alias is not None and (alias.version, alias.stack) == (passed, (1,))
    await rig.rollback()
    assert rig.live() == 1, "the way back was kept set"


async def test_polling_survives_what_nobody_expected(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.add()
    read = rig.database.read
    broken = True

    async def failing(call: Callable[[Registry], object]) -> object:
        if broken:
            raise ZeroDivisionError("odd")
        return await read(call)

    rig.database.read = failing  # type: ignore[method-assign, assignment]
    await eventually_async(lambda: "the registry could not be read" in caplog.text, "it failed at least once")
    broken = False
    await asyncio.to_thread(promote_elsewhere, rig, 1)
    await eventually_async(lambda: rig.live() == 1, "it goes on")


async def test_what_is_to_be_read_again_while_it_is_being_read_is_read_once_more(rig: Rig) -> None:
    read, reads = rig.database.read, 0

    async def counting(call: Callable[[Registry], object]) -> object:
        nonlocal reads
        found = await read(call)
        if isinstance(found, Desired):
            reads += 1
            if reads == 1:
                rig.reconciler.reread()  # a setting was changed, which this read did not know yet
        return found

    rig.database.read = counting  # type: ignore[method-assign, assignment]
    rig.reconciler.reread()
    await eventually_async(lambda: reads == 2, "it was read once more")


async def test_probing_survives_what_nobody_expected(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    (worker,) = rig.workers._workers
    report = worker.link.report
    broken = True

    async def failing(timeout_s: float, *, with_metrics: bool = False) -> WorkerReport:
        if broken:
            raise ZeroDivisionError("odd")
        return await report(timeout_s, with_metrics=with_metrics)

    worker.link.report = failing  # type: ignore[method-assign]
    worker.wake.set()
    await eventually_async(lambda: "could not be probed" in caplog.text, "it failed at least once")
    broken = False
    await rig.promote(await rig.add())
    await eventually_async(lambda: rig.workers.resident(VersionKey("m", 1)), "it goes on")


async def test_what_is_committed_is_saved_and_what_is_prepared_is_not(rig: Rig) -> None:
    await rig.promote(await rig.add())
    saved = LastKnownGood(rig.data.state)

    def epoch() -> int:
        found = saved.load()
        return -1 if found is None else found.epoch

    await eventually_async(lambda: epoch() == rig.replica.epoch, "it is saved")
    with rig.replica.preparing(bare_spec(9)):
        await rig.add("other")
        await eventually_async(lambda: epoch() == rig.replica.epoch, "it is saved")
    found = saved.load()
    assert found is not None and [spec.key for spec in found.keep] == [VersionKey("m", 1)]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stop_saves_what_was_not_seen_to_be_saved(rig: Rig, fails: bool) -> None:
    """Where the save that it cut short goes on in its thread, and where the last one failed."""
    saved = rig.reconciler._saved
    await eventually_async(lambda: saved.exists, "the first picture is saved")
    save, begun, go_on = saved.save, threading.Event(), threading.Event()

    def once(snapshot: Snapshot) -> None:
        saved.save = save  # type: ignore[method-assign]
        begun.set()
        if fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        assert go_on.wait(60)
        save(snapshot)

    saved.save = once  # type: ignore[method-assign]
    (rig.data.state / "last-known-good").unlink(missing_ok=True)
    rig.reconciler._poll_s = 60.0  # and no sooner is a failed one tried again
    rig.reconciler.changed()
    try:
        await eventually_async(begun.is_set, "it is being saved")
        await rig.reconciler.close()
        assert saved.load() == rig.replica.committed()
    finally:
        go_on.set()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_REOPEN_S", 0.05)


@pytest.mark.sqlite
@pytest.mark.usefixtures("quick")
async def test_with_the_registry_down_the_last_known_good_is_served_until_it_is_back(
    engine: Engine, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    async with running(engine, root) as rig:
        await rig.promote(await rig.add())
        await eventually_async(lambda: LastKnownGood(rig.data.state).exists, "it is saved")
    good = (root / "registry.db").read_bytes()
    for name in ("registry.db-wal", "registry.db-shm"):
        (root / name).unlink(missing_ok=True)
    (root / "registry.db").write_bytes(b"damaged " * 1000)
    async with running(engine, root) as rig:
        assert rig.standing.ready
        assert rig.live() == 1
        degraded = " ".join(rig.standing.degraded())
        assert "registry unavailable" in degraded and "last-known-good" in degraded
        assert not rig.standing.gauges().registry_up
        with pytest.raises(RegistryUnavailable):
            await rig.promote(1, alias="canary")
        (root / "registry.db").write_bytes(good)
        await eventually_async(lambda: not rig.replica.from_last_known_good, "the registry is read again")
        await eventually_async(lambda: rig.standing.degraded() == (), "all is well")
        await rig.promote(1, alias="canary")
        assert rig.live(alias="canary") == 1


@pytest.mark.sqlite
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_without_a_registry_and_a_file_of_it_nothing_is_ready(
    engine: Engine, tmp_path: Path, elsewhere: bool
) -> None:
    root = tmp_path / "data"
    (root / "state").mkdir(parents=True)
    if elsewhere:
        LastKnownGood(root / "state", "postgresql://db:5432/m").save(snapshot(bare_spec(1)))
    (root / "registry.db").write_bytes(b"damaged " * 1000)
    async with running(engine, root) as rig:
        assert not rig.standing.ready
        assert rig.standing.degraded()


async def test_a_registry_that_can_only_be_read_is_served_from_and_nothing_else_is_said(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def beat(membership: Membership) -> None:
        raise RegistryUnavailable("the disk is full")

    monkeypatch.setattr(Membership, "beat", beat)
    async with running(engine, tmp_path / "data") as rig:
        assert rig.standing.ready
        assert "it could not be used: the disk is full" in caplog.text
        assert "nothing can be served" not in caplog.text


# --- a control process meets a worker that was there before it ---


async def test_a_candidate_that_a_predecessor_left_behind_is_dropped(rig: Rig, tmp_path: Path) -> None:
    await rig.promote(await rig.add())
    await rig.workers.close()  # the predecessor ends, after it had this prepared and before it committed it
    assert rig.catalog.prepare(version_spec(tmp_path, 7), 10.0).state is ServableState.READY
    (old,) = rig.workers._workers
    successor = Workers(
        [WorkerLink("worker-0", old.link._socket_path)],
        rig.replica.snapshot,
        apply_timeout_s=30.0,
        prepare_timeout_s=10.0,
    )
    successor.start()
    await eventually_async(lambda: [each.spec.version for each in rig.catalog.servables()] == [1], "it is dropped")
    assert rig.catalog.resolve(ModelRef("m")).servable.state is ServableState.READY
    assert successor.restarts == 0
    await successor.close()
    await successor.close()


async def test_a_worker_that_is_away_is_named_as_lagging_and_prepares_nothing(tmp_path: Path) -> None:
    workers = Workers(
        [WorkerLink("worker-0", str(tmp_path / "none.sock"))],
        lambda: snapshot(bare_spec(1)),
        apply_timeout_s=1.0,
        prepare_timeout_s=1.0,
    )
    try:
        assert await workers.sync() == ("worker-0",)
        with pytest.raises(WorkerUnavailable, match="no serving worker answers"):
            await workers.prepare(bare_spec(1))
        assert not workers.reported.any_reachable and not workers.reported.settled
        assert not workers.resident(VersionKey("m", 1))
        assert workers.serving(ModelRef("m")) is False
        assert workers.serving(ModelRef("other")) is None
        assert [status.reachable for status in workers.reported.statuses] == [False]
        assert await workers.metrics() == b""
    finally:
        await workers.close()


@pytest.mark.parametrize("stopping", [False, True])
async def test_a_worker_that_ends_is_missed_unless_the_server_stops(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    (worker,) = rig.workers._workers
    await rig.workers.close()
    monkeypatch.setattr(rig.workers, "_stopping", lambda: stopping)
    monkeypatch.setattr(worker, "link", WorkerLink("worker-9", "/nowhere/w.sock"))
    report = worker.report
    assert report is not None
    await rig.workers._probe(worker)
    worker.report = report
    await rig.workers._apply(worker, rig.replica.snapshot())
    assert not worker.reachable
    assert caplog.text.count("worker-9 does not answer") == (0 if stopping else 2)
    await worker.link.close()


async def test_nobody_is_switched_before_there_is_a_picture(tmp_path: Path) -> None:
    workers = Workers(
        [WorkerLink("worker-0", str(tmp_path / "none.sock"))], lambda: None, apply_timeout_s=1.0, prepare_timeout_s=1.0
    )
    assert await workers.sync() == ()
    assert workers.serving(ModelRef("m")) is None
    await workers.close()


async def test_a_link_tells_a_worker_that_is_gone_from_one_that_hangs(rig: Rig, tmp_path: Path) -> None:
    gone = WorkerLink("worker-9", str(tmp_path / "none.sock"))
    with pytest.raises(WorkerUnavailable, match="worker-9 does not answer"):
        await gone.report(5.0)
    assert gone.listener() == 0
    await gone.close()
    (worker,) = rig.workers._workers
    stuck = await rig.add_stuck()
    spec = rig.replica.spec(await rig.database.read(lambda registry: registry.desired_version("m", stuck)))
    with pytest.raises(DeadlineExceeded):
        await worker.link.prepare(spec, 0.2)


async def test_a_worker_that_stops_while_it_is_switched_is_gone_and_not_wedged() -> None:
    """gRPC answers a call that comes in the instant of a stop with CANCELLED: often, so here it is asked often."""

    class Stopping(worker_pb2_grpc.WorkerServiceServicer):
        async def Apply(self, request: object, context: object) -> worker_pb2.ApplyResponse:
            return worker_pb2.ApplyResponse(report=worker_pb2.ReportResponse())

        async def Report(self, request: object, context: object) -> worker_pb2.ReportResponse:
            await asyncio.sleep(0.05)  # what a stop waits for
            return worker_pb2.ReportResponse()

        def Prepare(self, request: object, context: object) -> AsyncIterator[worker_pb2.PrepareResponse]:
            raise AssertionError("nobody prepares here")

        async def Ask(self, request: object, context: object) -> worker_pb2.AskResponse:
            raise AssertionError("nobody asks here")

    outcomes: list[object] = []
    for _ in range(10):
        with tempfile.TemporaryDirectory(prefix="rig-") as sockets:  # a unix socket's path must be short
            worker = grpc.aio.server()
            worker_pb2_grpc.add_WorkerServiceServicer_to_server(Stopping(), worker)
            for path in (f"{sockets}/w.sock", switch_socket(f"{sockets}/w.sock")):
                worker.add_insecure_port(f"unix:{path}")
            await worker.start()
            link = WorkerLink("worker-0", f"{sockets}/w.sock")
            reporting = asyncio.create_task(link.report(10.0))
            switches = [asyncio.create_task(link.apply(snapshot(bare_spec(1)), 10.0)) for _ in range(10)]
            await switches[0]
            stopping = asyncio.create_task(worker.stop(1.0))
            for _ in range(20):
                switches.append(asyncio.create_task(link.apply(snapshot(bare_spec(1)), 10.0)))
                await asyncio.sleep(0)
            outcomes += await asyncio.gather(*switches, reporting, return_exceptions=True)
            await stopping
            await link.close()
    failures = [each for each in outcomes if not isinstance(each, WorkerReport)]
    assert failures and {type(each) for each in failures} == {WorkerUnavailable}


async def test_metrics_of_a_replica_are_its_own_and_its_workers(rig: Rig) -> None:
    await rig.promote(await rig.add())
    text = rig.metrics.text().decode() + (await rig.workers.metrics()).decode()
    assert 'interlock_mutations_total{action="promote",code="OK"} 1.0' in text
    assert "interlock_ready 1.0" in text and "interlock_registry_up 1.0" in text
    assert 'interlock_servable_state{model="m",state="READY",version="1"} 1.0' in text
